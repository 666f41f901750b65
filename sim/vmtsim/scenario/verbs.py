"""The vocabulary of scenarios: each verb with its check, and what it does or waits for."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from vmtgen.common.construct import value_of
from vmtgen.common.located import Node, Problems, listed, nearest

from vmtsim.core.trace import printable, unprintable
from vmtsim.host.operator import OPERATIONS, Operation, RefusedError
from vmtsim.host.options import HostOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.core.trace import Event
    from vmtsim.scenario.script import Stage


# Facts of the guest that an expectation may name as ${FACT}: the guest of a scenario's `guest:`
# section has them, and a real guest has its own.
FACTS = {
    "hostname": "the host name",
    "release": "the release, as uname -r prints it",
    "address": "the first IPv4 address",
    "prefix": "the length of its network's prefix",
    "address6": "the first IPv6 address that is not link-local",
    "prefix6": "the length of its network's prefix",
}
_FACT = re.compile(r"\$\{(\w*)\}")


_LONGEST = 72  # characters of a payload in a message


@dataclass(frozen=True)
class Pattern:
    """Text in which ``*`` stands for anything, and ``${FACT}`` for a fact of the guest."""

    text: str

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of the facts in it."""
        return tuple(_FACT.findall(self.text))

    def with_facts(self, values: Mapping[str, str]) -> Pattern:
        """Return the pattern with the facts' values in it."""
        return Pattern(_FACT.sub(lambda match: values[match.group(1)], self.text))

    def matches(self, value: Any) -> bool:
        """Return whether ``value`` (text, or bytes as ``printable`` shows them) fits as a whole."""
        if isinstance(value, bytes):
            value = printable(value.removesuffix(b"\0"))
        expression = ".*".join(re.escape(part) for part in self.text.split("*"))
        return re.fullmatch(expression, str(value), re.DOTALL) is not None


# Checks: each returns the argument in plain form, or notes what is wrong with it.


def _text(node: Node, problems: Problems) -> str:
    if not isinstance(node.scalar, str):
        problems.add(node, f"expected a string, not {node.described}")
        return ""
    return node.scalar


def _text_or_nothing(node: Node, problems: Problems) -> str:
    return "" if node.kind == "scalar" and node.scalar is None else _text(node, problems)


def _number(node: Node, problems: Problems) -> float:
    value = node.scalar
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        problems.add(node, f"expected a number, not {node.described}")
        return 0
    return value


def _pair(node: Node, problems: Problems) -> list[int]:
    found = node.plain()
    if not isinstance(found, list) or [type(each) for each in found] != [int, int]:
        problems.add(node, f"expected two whole numbers, not {node.described}")
        return [0, 1]
    return found


def _flag(node: Node, problems: Problems) -> bool:
    if not isinstance(node.scalar, bool):
        problems.add(node, f"expected true or false, not {node.described}")
    return bool(node.scalar)


def _anything(node: Node, problems: Problems) -> Any:  # noqa: ARG001
    return node.plain()


def _one_of(names: Any) -> Callable[[Node, Problems], str]:
    known = tuple(names)

    def check(node: Node, problems: Problems) -> str:
        text = _text(node, problems)
        if text and text not in known:
            problems.add(
                node,
                f"expected one of {listed(known, limit=40)}, not {node.described}",
                hint=nearest(text, known),
            )
        return text

    return check


def _mapping(
    checks: Mapping[str, Callable[[Node, Problems], Any]],
) -> Callable[[Node, Problems], dict[str, Any]]:
    def check(node: Node, problems: Problems) -> dict[str, Any]:
        if node.kind != "mapping":
            problems.add(
                node, f"expected a mapping with the keys {listed(checks)}, not {node.described}"
            )
        found = {}
        for name, value in node.entries.items():
            if name in checks:
                found[name] = checks[name](value, problems)
            else:
                problems.add(
                    value.key or value,
                    f"unknown key {name!r}: expected {listed(checks)}",
                    hint=nearest(name, checks),
                )
        return found

    return check


def _scalars(node: Node, problems: Problems) -> dict[str, Any]:
    if node.kind != "mapping" or not node.entries:
        problems.add(node, f"expected a mapping of names to values, not {node.described}")
    for value in node:
        if value.kind != "scalar" or value.scalar is None:
            problems.add(value, f"expected a value, not {value.described}")
    return {name: value.scalar for name, value in node.entries.items()}


def _text_or(
    key: str, checks: Mapping[str, Callable[[Node, Problems], Any]]
) -> Callable[[Node, Problems], dict[str, Any]]:
    """Accept plain text for ``{key: text}``."""
    whole = _mapping(checks)

    def check(node: Node, problems: Problems) -> dict[str, Any]:
        if node.kind == "scalar":
            return {key: checks[key](node, problems)}
        found = whole(node, problems)
        if key not in found:
            problems.add(node, f"the key {key!r} is missing")
        return found

    return check


def _pattern(node: Node, problems: Problems) -> Pattern:
    return _with_known_facts(Pattern(_text(node, problems)), node, problems)


def _with_known_facts(pattern: Pattern, node: Node, problems: Problems) -> Pattern:
    for name in pattern.facts:
        if name not in FACTS:
            problems.add(
                node,
                f"${{{name}}} is no fact of a guest: {listed(FACTS)}",
                hint=nearest(name, FACTS),
            )
    return pattern


def _message(node: Node, problems: Problems) -> bytes:
    text = _text(node, problems)
    try:
        return unprintable(text)
    except (ValueError, IndexError):
        problems.add(node, r"a backslash is written \\, another byte \xNN")
        return b""


@dataclass(frozen=True)
class Verb:
    """One verb: ``check`` reads its argument, ``run`` does it (nothing, for expectations)."""

    check: Callable[[Node, Problems], Any]
    run: Callable[[Stage, Any], object]
    text: str


def _in_guest(verb: str) -> Callable[[Stage, Any], None]:
    return lambda stage, argument: stage.guest(verb, argument)


_GUEST_VERBS: dict[str, tuple[Callable[[Node, Problems], Any], str]] = {
    "hostname": (_text, "the administrator changes the host name"),
    "detach": (_text, "drvctl -d DEVICE"),
    "rescan": (_text, "drvctl -r on BUS: what fits is attached again"),
    "load": (_text_or_nothing, "modload of the module under test, or of a path"),
    "unload": (_text, "modunload NAME"),
    "sysctl": (_scalars, "sysctl -w NAME=VALUE"),
    "addresses": (_anything, "network interfaces get these addresses"),
    "ifconfig": (
        _mapping(
            {
                "interface": _text,
                "do": _one_of(("create", "destroy", "up", "down")),
                "alias": _text,
                "delete": _text,
                "flags": _number,
                "reading": _pair,
            }
        ),
        "ifconfig INTERFACE; `reading: [CALLS, INSTRUCTIONS]` while the driver reads the lists",
    ),
    "write": (_text, "a user writes to the file system that is mounted on DIRECTORY"),
    "powerd": (_flag, "powerd starts (true) or dies (false)"),
    "clock": (_number, "the guest's clock is set off by SECONDS"),
    "suspend": (_anything, "the guest's own power management: suspend"),
    "resume": (_anything, "the guest's own power management: resume"),
    "shutdown": (_anything, "the guest goes down: shutdown hooks run"),
    "rpc": (_message, "the administrator sends an RPCI command through the driver"),
}


def _by_operator(operation: Operation) -> Callable[[Stage, Any], None]:
    def run(stage: Stage, argument: Any) -> None:
        with suppress(RefusedError):  # what the host does not offer does not happen
            operation.carry_out(stage.host, argument)

    return run


ACTIONS: dict[str, Verb] = {
    **{
        f"host.{name}": Verb(each.check, _by_operator(each), each.text)
        for name, each in OPERATIONS.items()
    },
    **{
        f"guest.{name}": Verb(check, _in_guest(name), text)
        for name, (check, text) in _GUEST_VERBS.items()
    },
}


@dataclass(frozen=True)
class Expectation:
    """What to wait for: events of one kind whose fields fit."""

    check: Callable[[Node, Problems], Any]
    event: str
    # Argument name -> event field that it must match.
    match: Mapping[str, str]
    text: str

    def kind(self, argument: Any) -> str:
        """Return the kind of event that is waited for; "" for none."""
        return str(argument["kind"].text) if self.event == "*" else self.event

    @staticmethod
    def times(argument: Any) -> int:
        """Return how often it must be seen."""
        return round(argument.get("times", 1)) if isinstance(argument, dict) else 1

    def matches(self, argument: Any, event: Event) -> bool:
        """Return whether ``event`` is what is waited for."""
        for name, pattern in argument.items():
            if name == "times" or (self.event == "*" and name == "kind"):
                continue
            value = event.get(self.match.get(name, name))
            if isinstance(value, bool):
                value = str(value).lower()
            if not pattern.matches(value):
                return False
        return True

    def seen(self, argument: Any, event: Event) -> str:
        """Return what an event that did not fit holds where it should have fitted."""
        names = [self.match.get(name, name) for name in argument if name not in {"times", "kind"}]
        return " -> ".join(_short(printable(_plain(event.get(name)))) for name in names)

    def text_of(self, argument: Any) -> str:
        """Return what is waited for, in words."""
        wanted = [
            f"{value.text!r}" if len(argument) == 1 else f"{name} {value.text!r}"
            for name, value in argument.items()
            if isinstance(value, Pattern)
        ]
        return f"{self.text} {', '.join(wanted)}"


def _short(text: str) -> str:
    """Return a payload for a message: quoted, and cut where it is long."""
    if len(text) <= _LONGEST:
        return repr(text)
    return f"{text[: _LONGEST - 10]!r}... ({len(text)} characters)"


def _plain(value: Any) -> str | bytes:
    return value if isinstance(value, (str, bytes)) else str(value)


def _free(node: Node, problems: Problems) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _scalars(node, problems).items():
        if name == "times":
            found[name] = value
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = _with_known_facts(Pattern(text), node[name], problems)
    if "kind" not in found and node.kind == "mapping":
        problems.add(node, "`kind` is missing: the kind of event that is waited for")
        found["kind"] = Pattern("")
    return found


EXPECTATIONS: dict[str, Expectation] = {
    "expect.rpci": Expectation(
        _text_or("request", {"request": _pattern, "reply": _pattern, "times": _number}),
        "rpci",
        {"request": "request", "reply": "reply"},
        "RPCI command",
    ),
    "expect.reply": Expectation(
        _text_or("message", {"message": _pattern, "reply": _pattern, "times": _number}),
        "tclo.reply",
        {"message": "message", "reply": "reply"},
        "reply to",
    ),
    "expect.event": Expectation(
        _mapping(
            {
                "script": _pattern,
                "name": _pattern,
                "driver": _pattern,
                "times": _number,
            }
        ),
        "powerd",
        {"script": "script", "name": "name", "driver": "device"},
        "power event with",
    ),
    "expect.console": Expectation(
        _text_or("text", {"text": _pattern, "times": _number}),
        "console",
        {"text": "text"},
        "console line",
    ),
    "expect.fault": Expectation(
        _text_or("name", {"name": _pattern, "times": _number}), "fault", {"name": "name"}, "fault"
    ),
    "expect.trace": Expectation(_free, "*", {}, "event with"),
    "expect.sysctl": Expectation(_scalars, "", {}, "sysctl"),
}

VERBS: dict[str, Verb] = {
    **ACTIONS,
    **{
        name: Verb(each.check, lambda _stage, _argument: None, f"wait for: {each.text}")
        for name, each in EXPECTATIONS.items()
    },
}


# Host options.


def host_options(node: Node | None, problems: Problems) -> HostOptions:
    """Return HostOptions from a mapping of option names; notes what is wrong."""
    defaults = HostOptions()
    if node is None:
        return defaults
    if node.kind != "mapping":
        problems.add(node, f"expected a mapping of host options, not {node.described}")
        return defaults
    hints = get_type_hints(HostOptions)
    chosen: dict[str, Any] = {}
    for name, value in node.entries.items():
        if name not in hints:
            problems.add(
                value.key or value,
                f"unknown key {name!r}: expected {listed(hints, limit=60)}",
                hint=nearest(name, hints),
            )
        elif name == "option_burst":
            chosen[name] = _burst(value, problems)
        else:
            chosen[name] = value_of(hints[name], value, problems)
    try:
        return HostOptions(**{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        problems.add(node, str(error))
        return defaults


def _burst(node: Node, problems: Problems) -> tuple[tuple[str, str], ...] | None:
    """Return the options that the host sends at once, which a scenario writes as NAME VALUE."""
    texts = value_of(tuple[str, ...], node, problems)
    pairs = [text.partition(" ") for text in texts or ()]
    for (_, _, value), item in zip(pairs, node.elements, strict=False):
        if not value:
            problems.add(item, f"expected NAME VALUE, not {item.described}")
    return tuple((key, value) for key, _, value in pairs)
