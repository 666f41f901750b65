"""Expectations of a scenario: one row for each kind of event, with the fields that must match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import listed, nearest
from vmtgen.common.schema import NotEmpty, Range, Record, keys_of

from vmtsim.core.trace import printable
from vmtsim.core.verb import Scalar, Verb
from vmtsim.host.faults import FAULTS

if TYPE_CHECKING:
    from vmtgen.common.located import Node, Problems
    from vmtgen.common.schema import Report

    from vmtsim.core.trace import Event

# Facts of the guest that an expectation may name as ${FACT}: a simulated guest has those of the
# scenario's `guest:` section, and a real guest has its own.
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

Times = Annotated[int, Range(1, 1_000_000)]


@dataclass(frozen=True)
class Pattern(Record):
    """Text in which ``*`` matches anything, and ``${FACT}`` is a fact of the guest."""

    SHORTHAND: ClassVar[str] = "text"
    text: str

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of the facts in it."""
        return tuple(_FACT.findall(self.text))

    def check(self, node: Node, report: Report) -> None:
        """Reject an unknown fact."""
        for name in self.facts:
            if name not in FACTS:
                report(
                    node,
                    f"${{{name}}} is not a fact of a guest: {listed(FACTS)}",
                    hint=nearest(name, FACTS),
                )

    def with_facts(self, values: Mapping[str, str]) -> Pattern:
        """Return the pattern with the facts' values in it."""
        return Pattern(_FACT.sub(lambda match: values[match.group(1)], self.text))

    def matches(self, value: Any) -> bool:
        """Return whether ``value`` (text, or bytes as ``printable`` text) matches as a whole."""
        if isinstance(value, bytes):
            value = printable(value.removesuffix(b"\0"))
        if "*" not in self.text:
            return str(value) == self.text
        return _expression(self.text).fullmatch(str(value)) is not None


@lru_cache(maxsize=1024)
def _expression(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


@dataclass(frozen=True)
class Request(Record):
    """An RPCI command of the guest, and the host's reply."""

    SHORTHAND: ClassVar[str] = "request"
    request: Pattern
    reply: Pattern | None = None
    times: Times = 1


@dataclass(frozen=True)
class Reply(Record):
    """The guest's reply to a TCLO message."""

    SHORTHAND: ClassVar[str] = "message"
    message: Pattern
    reply: Pattern | None = None
    times: Times = 1


@dataclass(frozen=True)
class PowerEvent(Record):
    """An event of powerd(8): its script, its name, and the device that raised it."""

    script: Pattern | None = None
    name: Pattern | None = None
    driver: Pattern | None = None
    times: Times = 1


@dataclass(frozen=True)
class ConsoleLine(Record):
    """A line on the guest's console."""

    SHORTHAND: ClassVar[str] = "text"
    text: Pattern
    times: Times = 1


@dataclass(frozen=True)
class InjectedFault(Record):
    """A fault that the host injects."""

    SHORTHAND: ClassVar[str] = "name"
    name: Pattern
    times: Times = 1

    def check(self, node: Node, report: Report) -> None:
        """Reject the name of an unknown fault."""
        name = self.name.text
        if "*" not in name and name not in FAULTS:
            report(
                node["name"],
                f"unknown fault {name!r}: expected one of {listed(FAULTS, limit=40)}",
                hint=nearest(name, FAULTS),
            )


@dataclass(frozen=True)
class Expectation(Verb):
    """A verb that waits for events of the kind ``event`` whose fields match the arguments.

    ``fields`` names the event's field for an argument with another name.
    """

    event: str
    fields: Mapping[str, str]

    def check(self, node: Node, problems: Problems) -> Any:
        """Report problems of the argument; return its patterns, and ``times``, by name."""
        value = self.read(node, problems)
        if value is None:
            return {}
        named = {key.name: value[key.name] for key in keys_of(self.arguments)}
        return {
            name: each
            for name, each in named.items()
            if isinstance(each, Pattern) or (name == "times" and each != 1)
        }

    def kind(self, argument: Any) -> str:
        """Return the kind of the expected event; "" for none."""
        del argument
        return self.event

    @staticmethod
    def times(argument: Any) -> int:
        """Return how often it is expected."""
        return int(argument.get("times", 1))

    def matches(self, argument: Any, event: Event) -> bool:
        """Return whether ``event`` is the expected one."""
        for name, pattern in self._patterns(argument).items():
            value = event.get(self.fields.get(name, name))
            if isinstance(value, bool):
                value = str(value).lower()
            if not pattern.matches(value):
                return False
        return True

    def seen(self, argument: Any, event: Event) -> str:
        """Return the values of an event that did not match, of the fields that should have."""
        names = [self.fields.get(name, name) for name in self._patterns(argument)]
        return " -> ".join(_short(printable(_plain(event.get(name)))) for name in names)

    def text_of(self, argument: Any) -> str:
        """Return a description of the expectation."""
        patterns = {name: each for name, each in argument.items() if isinstance(each, Pattern)}
        expected = [
            f"{value.text!r}" if len(argument) == 1 else f"{name} {value.text!r}"
            for name, value in patterns.items()
        ]
        return f"{self.text} {', '.join(expected)}"

    def _patterns(self, argument: Any) -> dict[str, Pattern]:
        """Return the arguments that fields of an event must match."""
        return {name: each for name, each in argument.items() if isinstance(each, Pattern)}


class _AnyEvent(Expectation):
    """Events of any kind, with fields that the user chooses."""

    def check(self, node: Node, problems: Problems) -> Any:
        """Report problems of the argument; return its patterns, and ``times``, by name."""
        given = self.read(node, problems)
        if given is None:
            return {"kind": Pattern("")}
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name == "times":
                found[name] = value
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = Pattern(text)
            found[name].check(node[name], problems.add)
        times = node.get("times")
        if times is not None and not (type(times.scalar) is int and times.scalar >= 1):
            problems.add(times, f"expected an integer from 1, not {times.described}")
        if "kind" not in found:
            problems.add(node, "the key 'kind' is missing: expected the kind of event")
            found["kind"] = Pattern("")
        return found

    def kind(self, argument: Any) -> str:
        """Return the kind of the expected event."""
        return str(argument["kind"].text)

    def _patterns(self, argument: Any) -> dict[str, Pattern]:
        return {name: each for name, each in super()._patterns(argument).items() if name != "kind"}


class _Node(Expectation):
    """Values of sysctl nodes: there is no event, they are read at the time of the step."""

    def check(self, node: Node, problems: Problems) -> Any:
        """Report problems of the argument; return the values by name."""
        return self.read(node, problems) or {}

    @staticmethod
    def times(argument: Any) -> int:
        """Return 1: they are read once."""
        del argument
        return 1


def _short(text: str) -> str:
    """Return a payload for a message: quoted, and cut if it is long."""
    if len(text) <= _LONGEST:
        return repr(text)
    return f"{text[: _LONGEST - 10]!r}... ({len(text)} characters)"


def _plain(value: Any) -> str | bytes:
    return value if isinstance(value, (str, bytes)) else str(value)


_Values = Annotated[Mapping[str, Scalar], NotEmpty()]
_TABLE = (
    Expectation("rpci", Request, "RPCI command", "rpci", {}),
    Expectation("reply", Reply, "reply to", "tclo.reply", {}),
    Expectation("event", PowerEvent, "power event with", "powerd", {"driver": "device"}),
    Expectation("console", ConsoleLine, "console line", "console", {}),
    Expectation("fault", InjectedFault, "fault", "fault", {}),
    _AnyEvent("trace", _Values, "event with", "", {}),
    _Node("sysctl", _Values, "sysctl", "", {}),
)
EXPECTATIONS: Mapping[str, Expectation] = {f"expect.{each.name}": each for each in _TABLE}
