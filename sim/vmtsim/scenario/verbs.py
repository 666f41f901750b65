"""The vocabulary of scenarios: each verb with its check, and what it does or waits for."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from vmtgen.common.located import Node, Problems, listed, nearest

from vmtsim.core.trace import printable, unprintable
from vmtsim.host.backup import quiesce_parameters
from vmtsim.host.faults import FAULTS, POINTS
from vmtsim.host.options import NANOSECONDS, HostOptions
from vmtsim.host.power import OPERATIONS

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
        problems.add(node, f"text is wanted, not {node.described}")
        return ""
    return node.scalar


def _text_or_nothing(node: Node, problems: Problems) -> str:
    return "" if node.kind == "scalar" and node.scalar is None else _text(node, problems)


def _number(node: Node, problems: Problems) -> float:
    value = node.scalar
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        problems.add(node, f"a number is wanted, not {node.described}")
        return 0
    return value


def _flag(node: Node, problems: Problems) -> bool:
    if not isinstance(node.scalar, bool):
        problems.add(node, f"true or false is wanted, not {node.described}")
    return bool(node.scalar)


def _anything(node: Node, problems: Problems) -> Any:  # noqa: ARG001
    return node.plain()


def _one_of(names: Any) -> Callable[[Node, Problems], str]:
    known = tuple(names)

    def check(node: Node, problems: Problems) -> str:
        text = _text(node, problems)
        if text and text not in known:
            problems.add(
                node, f"{text!r} is none of {listed(known, limit=40)}", hint=nearest(text, known)
            )
        return text

    return check


def _mapping(
    checks: Mapping[str, Callable[[Node, Problems], Any]],
) -> Callable[[Node, Problems], dict[str, Any]]:
    def check(node: Node, problems: Problems) -> dict[str, Any]:
        if node.kind != "mapping":
            problems.add(node, f"a mapping with {listed(checks)} is wanted, not {node.described}")
        found = {}
        for name, value in node.entries.items():
            if name in checks:
                found[name] = checks[name](value, problems)
            else:
                problems.add(
                    value.key or value,
                    f"no key {name!r} here: {listed(checks)}",
                    hint=nearest(name, checks),
                )
        return found

    return check


def _scalars(node: Node, problems: Problems) -> dict[str, Any]:
    if node.kind != "mapping" or not node.entries:
        problems.add(node, f"names with their values are wanted, not {node.described}")
    for value in node:
        if value.kind != "scalar" or value.scalar is None:
            problems.add(value, f"a value is wanted, not {value.described}")
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
            problems.add(node, f"`{key}` is missing")
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


def _fault(node: Node, problems: Problems) -> dict[str, dict[str, Any]]:
    """Check ``NAME`` or ``{NAME: {times: 2, at: sendpayload, ...}}``."""
    if node.kind == "scalar":
        return {_one_of((*FAULTS, "none"))(node, problems): {}}
    found: dict[str, dict[str, Any]] = {}
    arguments = _mapping(
        {
            "times": _number,
            "skip": _number,
            "at": _one_of(POINTS),
            "protocol": _one_of(("rpci", "tclo")),
            "command": _text,
            "reply": _text,
            "size": _number,
            "seconds": _number,
        }
    )
    for name, value in node.entries.items():
        if name not in FAULTS:
            problems.add(
                value.key or value,
                f"no fault {name!r}: {listed(FAULTS, limit=40)}",
                hint=nearest(name, FAULTS),
            )
            continue
        found[name] = {} if value.scalar is None and value.kind == "scalar" else arguments(
            value, problems
        )  # fmt: skip
        at, possible = found[name].get("at"), FAULTS[name].effect.POINTS
        if at in POINTS and at not in possible:
            problems.add(value["at"], f"{name} has no effect at {at}: expected {listed(possible)}")
    return found


# Actions.


def _arm(stage: Stage, faults: dict[str, dict[str, Any]]) -> None:
    for name, arguments in faults.items():
        if name == "none":
            stage.host.faults.disarm()
            stage.host.faults.enabled = False
        else:
            stage.host.faults.arm(name, **arguments)


def _power(stage: Stage, argument: dict[str, Any]) -> None:
    operation = argument["operation"]
    if operation == "suspend" and "seconds" in argument:
        stage.host.suspend(argument["seconds"], lose_channels=argument.get("lose_channels", False))
    else:
        stage.host.power.request(operation)


def _clock(stage: Stage, argument: dict[str, Any]) -> None:
    clock = stage.host.clock
    if "set" in argument:
        clock.set(round(argument["set"] * NANOSECONDS))
    if "jump" in argument:
        clock.jump(round(argument["jump"] * NANOSECONDS))
    if "drift_ppm" in argument:
        clock.drift(round(argument["drift_ppm"]))
    if "lag_us" in argument or "max_lag_us" in argument:
        highest = argument.get("max_lag_us")
        clock.lag(
            round(argument.get("lag_us", clock.interrupt_lag_us)),
            None if highest is None else round(highest),
        )


def _options(stage: Stage, argument: dict[str, Any]) -> None:
    for name, value in argument.items():
        text = str(int(value)) if isinstance(value, bool) else str(value)
        stage.host.tclo.set_option(name, text)


def _backup(stage: Stage, argument: dict[str, Any]) -> None:
    if argument["do"] == "abort":
        stage.host.backup.abort()
        return
    parameters = None
    if "version" in argument or "timeout" in argument:
        parameters = quiesce_parameters(
            version=round(argument.get("version", 1)), timeout=round(argument.get("timeout", 0))
        )
    stage.host.backup.start(
        manifest=round(argument.get("manifest", 1)),
        volumes=argument.get("volumes", ""),
        parameters=parameters,
        snapshot=argument.get("snapshot", 2.0),
    )


def _lose(stage: Stage, which: str) -> None:
    stage.host.lose_channel(which)


def _variables(stage: Stage, argument: dict[str, Any]) -> None:
    for name, value in argument.items():
        stage.host.guestinfo.set_variable(name, str(value).encode())


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
    "powerd": (_flag, "powerd starts (true) or dies (false)"),
    "clock": (_number, "the guest's clock is set off by SECONDS"),
    "suspend": (_anything, "the guest's own power management: suspend"),
    "resume": (_anything, "the guest's own power management: resume"),
    "shutdown": (_anything, "the guest goes down: shutdown hooks run"),
    "rpc": (_message, "the administrator sends an RPCI command through the driver"),
}

ACTIONS: dict[str, Verb] = {
    "host.tclo": Verb(_message, lambda s, a: s.host.send(a), "send a TCLO message"),
    "host.power": Verb(
        _text_or(
            "operation",
            {
                "operation": _one_of(OPERATIONS),
                "seconds": _number,
                "lose_channels": _flag,
            },
        ),
        _power,
        "ask for a power operation; suspend with `seconds` really suspends",
    ),
    "host.fault": Verb(_fault, _arm, "let a fault strike at its next opportunity"),
    "host.lose": Verb(_one_of(("tclo", "rpci", "all")), _lose, "forget channels, now"),
    "host.close": Verb(
        _one_of(("tclo", "rpci")), lambda s, a: s.host.close_channel(a), "close channels, now"
    ),
    "host.steal": Verb(
        _number, lambda s, a: s.host.steal_channel(a), "another client is toolbox for SECONDS"
    ),
    "host.checkpoint": Verb(
        _anything, lambda s, _: s.host.checkpoint(), "interrupt messages that are half way"
    ),
    "host.migrate": Verb(_anything, lambda s, _: s.host.migrate(), "vMotion"),
    "host.revert": Verb(
        _number, lambda s, a: s.host.snapshot_revert(a), "back to a snapshot SECONDS old"
    ),
    "host.clock": Verb(
        _mapping(
            {
                "set": _number,
                "jump": _number,
                "drift_ppm": _number,
                "lag_us": _number,
                "max_lag_us": _number,
            }
        ),
        _clock,
        "set, jump, drift or lag the host's clock",
    ),
    "host.options": Verb(_scalars, _options, "send Set_Option for each name"),
    "host.synctime": Verb(
        _flag, lambda s, a: s.host.set_synctime(on=a), "switch the machine's time synchronisation"
    ),
    "host.backup": Verb(
        _text_or(
            "do",
            {
                "do": _one_of(("start", "abort")),
                "manifest": _number,
                "volumes": _text,
                "version": _number,
                "timeout": _number,
                "snapshot": _number,
            },
        ),
        _backup,
        "start or abort a quiesced snapshot",
    ),
    "host.guestinfo": Verb(_scalars, _variables, "set guestinfo.* variables"),
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
        problems.add(node, f"host options are a mapping, not {node.described}")
        return defaults
    names = [each.name for each in fields(HostOptions)]
    chosen: dict[str, Any] = {}
    for name, value in node.entries.items():
        if name not in names:
            problems.add(
                value.key or value,
                f"no host option {name!r}: {listed(names, limit=60)}",
                hint=nearest(name, names),
            )
            continue
        chosen[name] = _option(name, getattr(defaults, name), value, problems)
    try:
        return HostOptions(**{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        problems.add(node, str(error))
        return defaults


def _option(name: str, default: Any, node: Node, problems: Problems) -> Any:
    if name == "option_burst":
        pairs = [str(item.scalar or "").partition(" ") for item in node.elements]
        if node.kind != "sequence" or not all(value for _, _, value in pairs):
            problems.add(node, "a list of texts `NAME VALUE` is wanted")
        return tuple((key, value) for key, _, value in pairs)
    if isinstance(default, (tuple, frozenset)):
        if node.kind != "sequence" or any(item.kind != "scalar" for item in node.elements):
            problems.add(node, f"a list is wanted, not {node.described}")
        return type(default)(item.scalar for item in node.elements)
    if type(node.scalar) is not type(default):
        wanted = {bool: "true or false", int: "a whole number", str: "text"}[type(default)]
        problems.add(node, f"{wanted} is wanted, not {node.described}")
        return None
    return node.scalar
