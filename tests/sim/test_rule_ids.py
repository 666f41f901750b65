"""Every rule of the simulator has a row, is used, and is violated in a test that names it."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.host.context import RULES as PROTOCOL
from vmtsim.kernel.rule_table import RULES, by_id

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT = Path(__file__).resolve().parents[2]
SIMULATOR = ROOT / "sim" / "vmtsim"
TABLES = (SIMULATOR / "kernel" / "rule_table.py", SIMULATOR / "host" / "context.py")


@cache
def strings(top: Path, without: tuple[Path, ...]) -> set[str]:
    """All string literals of the Python files below a directory."""
    return {
        node.value
        for path in sorted(top.rglob("*.py"))
        if path not in without
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def unnamed(rules: Collection[str], messages: set[str]) -> list[str]:
    """The rules that are not a string, nor at the start of a message."""
    named = {text.partition(":")[0] for text in messages}
    return sorted(set(rules) - named)


def test_every_rule_has_violation_test() -> None:
    missing = unnamed({*RULES, *PROTOCOL}, strings(ROOT / "tests", (Path(__file__).resolve(),)))
    assert not missing, (
        "no test names these rules; let guest code break each, as tests/sim/kernel/"
        f"test_broken_rules.py does, or delete a rule that none can reach: {', '.join(missing)}"
    )


def test_every_row_belongs_to_checked_rule() -> None:
    assert len(RULES) + len(PROTOCOL) > 150
    assert unnamed({*RULES, *PROTOCOL}, strings(SIMULATOR, TABLES)) == []


def test_every_row_has_statement_remedy_and_source() -> None:
    for rule in RULES.values():
        assert rule.holds, rule.id
        assert rule.remedy, rule.id
        assert "sys/" in rule.source or rule.source.split()[0] in {
            "ISO", "the", "common/lib/libprop/prop_dictionary.c", "docs/campaigns.md:"
        }, rule.id  # fmt: skip


def test_rule_without_row_is_internal_error() -> None:
    with pytest.raises(LookupError, match="'no-such-rule' has no row"):
        by_id("no-such-rule")


def test_rules_command_lists_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules"]) == 0
    listed = capsys.readouterr().out
    assert "    mutex-double-enter " in listed
    assert "    protocol: cookie " in listed
    assert listed.endswith(f"{len(RULES) + len(PROTOCOL)} rules\n")
    assert cli.main(["rules", "--explain", "mutex-double-enter"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mutex-double-enter",
        "    a thread does not enter a mutex that it holds.",
        "    fix: split the function into one that locks and one that expects the lock",
        "    source: sys/kern/kern_mutex.c, sys/kern/subr_lockdebug.c",
        "    enforced by: every kernel",
    ]
    assert cli.main(["rules", "--explain", "all", "--json"]) == 0
    assert {row["id"] for row in json.loads(capsys.readouterr().out)} == {
        *RULES, *(f"protocol: {name}" for name in PROTOCOL)
    }  # fmt: skip


def test_misspelt_rule_gets_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["rules", "--explain", "mutex-double-entr"]) == 64
    printed = capsys.readouterr().err
    assert "no rule 'mutex-double-entr' (did you mean 'mutex-double-enter'?)" in printed
    assert "hint: `vmtsim rules` lists all of them" in printed


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
def test_new_rule_without_test_is_refused(tmp_path: Path, test: str, named: bool) -> None:
    (tmp_path / "test_new.py").write_text(test, encoding="utf-8")
    assert unnamed({"new-rule"}, strings(tmp_path, ())) == ([] if named else ["new-rule"])
