"""Every rule that the simulator can tell of is broken by a test that names it."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtsim.host.context import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
# Rules that no test names, and why that is right.
EXCEPTIONS: dict[str, str] = {}
# Functions and exceptions whose first argument is a rule.
TELLERS = ("panic", "violation", "KernelPanic")


class Finder:
    """Reads rules off the calls that tell of them, also through functions that pass one on."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.rules: dict[str, str] = {}  # rule -> file:line, the first that was found
        self.unread: list[str] = []  # file:line: argument
        calls: dict[str, list[tuple[ast.Call, tuple[ast.AST, ...], str]]] = defaultdict(list)
        for name, text in sources.items():
            tree = ast.parse(text)
            for called, call, scopes in _calls(tree, (tree,)):
                calls[called].append((call, scopes, f"{name}:{call.lineno}"))
        waiting = [(teller, 0) for teller in TELLERS]
        self._known = set(waiting)
        while waiting:
            function, index = waiting.pop()
            for call, scopes, place in calls[function]:
                if len(call.args) > index:
                    waiting += self._read(call.args[index], scopes, place)

    def _read(
        self, argument: ast.expr, scopes: tuple[ast.AST, ...], place: str
    ) -> Iterator[tuple[str, int]]:
        """Take in what an argument can be; yields the functions that got it from their callers."""
        match argument:
            case ast.Constant(value=str(rule)):
                self.rules.setdefault(rule, place)
            case ast.IfExp(body=one, orelse=other):
                yield from self._read(one, scopes, place)
                yield from self._read(other, scopes, place)
            case ast.Name(id=name):
                yield from self._variable(name, scopes, place)
            case _:
                self.unread.append(f"{place}: {ast.unparse(argument)}")

    def _variable(
        self, name: str, scopes: tuple[ast.AST, ...], place: str
    ) -> Iterator[tuple[str, int]]:
        for scope in reversed(scopes):
            if isinstance(scope, ast.FunctionDef):
                names = [each.arg for each in scope.args.args if each.arg != "self"]
                if name in names:
                    found = (scope.name, names.index(name))
                    if found not in self._known:
                        self._known.add(found)
                        yield found
                    return
            values = [
                node.value
                for node in ast.walk(scope)
                if isinstance(node, ast.Assign)
                and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
            ]
            if values:
                for value in values:
                    yield from self._read(value, scopes, place)
                return
        self.unread.append(f"{place}: {name}")


def _calls(
    node: ast.AST, scopes: tuple[ast.AST, ...]
) -> Iterator[tuple[str, ast.Call, tuple[ast.AST, ...]]]:
    """Name of the function or method, call and the scopes around it, outermost first."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called)):
                yield called, child, scopes
        inner = (*scopes, child) if isinstance(child, ast.FunctionDef) else scopes
        yield from _calls(child, inner)


@cache
def simulator() -> Finder:
    """What the simulator's source tells of, but for the host: it has a table of its rules."""
    top = ROOT / "sim" / "vmtsim"
    paths = [path for path in sorted(top.rglob("*.py")) if top / "host" not in path.parents]
    return Finder({str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths})


def all_rules() -> dict[str, str]:
    """Every rule of kernel, campaign and host, and where it is."""
    return {**dict.fromkeys(RULES, "sim/vmtsim/host/context.py"), **simulator().rules}


@cache
def strings(tests: Path) -> set[str]:
    """All string literals of the tests in a directory, but for those of this file."""
    return {
        node.value
        for path in sorted(tests.rglob("*.py"))
        if path != Path(__file__).resolve()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def unnamed(rules: Mapping[str, str], said: set[str]) -> list[str]:
    """'rule (file:line)' of the rules that are no string, nor stand at the start of a message."""
    named = {text.partition(":")[0] for text in said}
    return sorted(f"{rule} ({place})" for rule, place in rules.items() if rule not in named)


def test_every_rule_is_broken_by_a_test_that_names_it() -> None:
    rules = {rule: place for rule, place in all_rules().items() if rule not in EXCEPTIONS}
    missing = unnamed(rules, strings(ROOT / "tests"))
    assert not missing, (
        "no test names these rules; let guest code break each, as tests/sim/kernel/"
        f"test_broken_rules.py does, or delete a rule that none can reach: {', '.join(missing)}"
    )


def test_every_rule_can_be_read_off_the_source() -> None:
    assert simulator().unread == []
    told = {"callback-with-mutex", "page-fault", "pswitch-with-mutex", "channel-abandoned"}
    assert told <= set(simulator().rules)
    assert len(all_rules()) > 150


def test_every_exception_is_needed() -> None:
    said = strings(ROOT / "tests")
    for rule in EXCEPTIONS:
        place = all_rules().get(rule)
        assert place is not None, f"{rule} is no rule any more: take it out of EXCEPTIONS"
        assert unnamed({rule: place}, said), f"a test names {rule}: take it out of EXCEPTIONS"


SOURCE = """
LATE = "too-late"

class Things:
    def _say(self, function, rule):
        self.kernel.violation(rule, f"{function} went wrong")

    def go(self, far):
        kernel.panic("too-far" if far else "too-near", "text")
        self._say("go", "gone")
        simulation.kernel.violation(LATE, "text")
        rule = "one"
        if far:
            rule = "other"
        raise KernelPanic(rule, "text")

    def tell(self, problem):
        kernel.panic(f"rule-{far}", "text")
"""


def test_rules_are_found_in_variables_choices_and_what_is_passed_on() -> None:
    found = Finder({"things.py": SOURCE})
    assert set(found.rules) == {"too-far", "too-near", "gone", "too-late", "one", "other"}
    assert found.rules["gone"] == "things.py:10"
    assert found.unread == ["things.py:18: f'rule-{far}'"]


@pytest.mark.parametrize(
    ("test", "named"),
    [
        ('assert panic.rule == "new-rule"', True),
        ('assert text.startswith("new-rule: by")', True),
        ('assert text.startswith(f"new-rule: {function} by")', True),
        ('assert "new-rule-of-another-name" in text', False),
        ("# new-rule", False),
        ("def test_new_rule(): ...", False),
    ],
)
def test_a_new_rule_without_a_test_is_refused(tmp_path: Path, test: str, named: bool) -> None:
    (tmp_path / "test_new.py").write_text(test, encoding="utf-8")
    missing = unnamed({"new-rule": "new.py:7"}, strings(tmp_path))
    assert missing == ([] if named else ["new-rule (new.py:7)"])
