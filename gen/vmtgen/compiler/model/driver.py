"""The driver's interface to administrator and kernel (driver.yaml)."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from vmtgen.common.dataclass import dataclass, replace
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Named, Range, Record, Reference, Report, Valued, derived
from vmtgen.compiler.spec.text import Text
from vmtgen.compiler.spec.words import Count, Doc, Member, Name, Printable


@dataclass(frozen=True, slots=True)
class Property(Record):
    """A property that modload(8) can pass to the module."""

    name: Member
    type: Literal["bool", "int", "string"]
    doc: Doc


@dataclass(frozen=True, slots=True)
class Module(Record):
    """The data for module(9)."""

    name: Member
    class_: Literal["driver", "misc"]
    requires: tuple[Member, ...]
    properties: Entries[Property]
    machines: tuple[Annotated[Named, Reference("machine", "netbsd.machines")], ...] | None = None

    def unsupported(self, machine: str) -> str | None:
        """Return why there is no module for a machine, None where there is one."""
        if self.machines is None or machine in self.machines:
            return None
        return f"{self.name} is for {' and '.join(self.machines)}"


@dataclass(frozen=True, slots=True)
class Device(Record):
    """The data for autoconf(9)."""

    driver: Member
    attachment: Member
    bus: Member
    parent: Member
    unit: Annotated[int, Range(0, 255)]
    feature: Member
    priority: Annotated[int, Range(1, 255)]


@dataclass(frozen=True, slots=True)
class Switch(Record):
    """A sysmon_pswitch(9) and the event that it raises."""

    name: Name
    # NetBSD sys/sys/power.h, PSWITCH_TYPE_* and PSWITCH_EVENT_*
    type: Literal["power", "reset", "sleep", "lid", "acadapter", "hotkey", "radio"]
    event: Literal["pressed", "released"]
    doc: Doc


@dataclass(frozen=True, slots=True)
class Action(Valued):
    """A C function of the driver that a spec may name."""

    SHORTHAND: ClassVar[str] = "doc"
    name: Name
    doc: Doc


@dataclass(frozen=True, slots=True)
class Log(Record):
    """A log text; without ``console`` only syslogd(8) gets it, with ``host`` the host too."""

    name: Name
    # the levels of syslog(3)
    level: Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
    console: bool
    text: Text
    host: bool = False

    def check(self, node: Node, report: Report) -> None:
        """Refuse fields that cannot be printed, and all fields in a text for the host."""
        if self.host and self.text.fields:
            report(node["text"], "a text for the host's log cannot have fields")
        for field in self.text.fields:
            if field.type == "bytes":
                report(node["text"], f"the field {{{field.name}:bytes}} cannot be printed")


@dataclass(frozen=True, slots=True)
class Clock(Record):
    """Seconds, samples, microseconds and percent of the clock."""

    period: Annotated[int, Range(0, 2147483)]
    samples: Annotated[int, Range(1, 100)]
    sample_window_us: Count
    step_us: Count
    slew_floor_us: Annotated[int, Range(0, 0x7FFFFFFF)]
    slew_percent: Annotated[int, Range(1, 100)]


@dataclass(frozen=True, slots=True)
class RequestState(Valued):
    """The name of a state of a command to the host."""

    SHORTHAND: ClassVar[str] = "doc"
    name: Member
    doc: Doc


@dataclass(frozen=True, slots=True)
class Rpc(Record):
    """Commands to the host at a time, how long each lives (seconds), and its states."""

    pending: Annotated[int, Range(1, 64)]
    lifetime: Annotated[int, Range(1, 3600)]
    states: Entries[RequestState]


@dataclass(frozen=True, slots=True)
class Counter(Valued):
    """A counter of the driver."""

    SHORTHAND: ClassVar[str] = "doc"
    name: Member
    doc: Doc


STACK = 256
"""Bytes of a string that a sysctl handler may make."""

_NO_NODES: "Entries[SysctlNode]" = Entries()
_NO_SWITCHES: "Entries[Switch]" = Entries()
_NO_ACTIONS: "Entries[Action]" = Entries()


@dataclass(frozen=True, slots=True)
class SysctlNode(Record):
    """A node of sysctl(7); its value comes from a handler, a member of the softc, or both."""

    name: Member
    type: Literal["node", "string", "int", "bool", "quad"]
    doc: Doc
    access: Literal["read", "write", "root", "root-read"] | None = None
    handler: Member | None = None
    data: Printable | None = None
    size: Annotated[int, Range(1, 131072)] | None = None
    range: tuple[int, ...] | None = None
    unit: Printable | None = None
    children: "Entries[SysctlNode]" = _NO_NODES
    each: Literal["statistics"] | None = None
    path: str = derived("")
    depth: int = derived(0)
    counter: bool = derived(False)

    def check(self, node: Node, report: Report) -> None:
        """Expect children of a node, access and value of a leaf, the size of a string."""
        if self.type == "node":
            for key in ("access", "handler", "data", "size", "range", "unit"):
                if self[key] is not None:
                    report(node[key], f"a node of type node has no {key}")
            if bool(self.children) == bool(self.each):
                report(node, "a node of type node needs either 'children' or 'each'")
            return
        if self.children or self.each:
            report(node, f"a node of type {self.type} has no children")
        if self.access is None:
            report(node, "the key 'access' is missing: expected read, write, root or root-read")
        if self.handler is None and self.data is None:
            report(node, "expected 'handler', 'data' or both")
        if (self.handler == "number") != (self.range is not None):
            report(node, "a number that can be set needs a range, and nothing else has one")
        if self.type == "string" and self.size is None:
            report(node, "the key 'size' is missing: a string needs its size in bytes")
        if (
            self.size is not None
            and self.handler not in {None, "request", "reply", "text"}
            and self.size > STACK
        ):
            report(node["size"], f"the handler has it on the kernel's stack: at most {STACK}")
        if self.range is not None and (len(self.range) != 2 or self.range[0] > self.range[1]):
            report(node["range"], "expected two integers, the lower one first")
        elif self.unit == "seconds" and self.range and self.range[1] * 1000 > 0x7FFFFFFF:
            message = f"{self.range[1]} seconds in milliseconds overflow an int"
            report(node["range"], message)


@dataclass(frozen=True, slots=True)
class Driver(Record):
    """All of driver.yaml."""

    spec: Literal["driver"]
    doc: Doc
    module: Module
    device: Device
    logs: Entries[Log]
    statistics: Entries[Counter]
    sysctl: Entries[SysctlNode]
    switches: Entries[Switch] = _NO_SWITCHES
    actions: Entries[Action] = _NO_ACTIONS
    clock: Clock | None = None
    rpc: Rpc | None = None

    def completed(self) -> "Driver":
        """Return the driver with the path of every sysctl node and with ``each`` expanded."""
        return replace(self, sysctl=self._completed("", self.sysctl))

    def _completed(self, above: str, nodes: Entries[SysctlNode]) -> Entries[SysctlNode]:
        completed: list[SysctlNode] = []
        for node in nodes:
            path = f"{above}{node.name}"
            children = node.children
            if node.each is not None:
                children = Entries(
                    SysctlNode(
                        counter.name,
                        "quad",
                        counter.doc,
                        "read",
                        data=f"{path}.{counter.name}",
                        counter=True,
                    )
                    for counter in self.statistics
                )
            below = self._completed(f"{path}.", children)
            completed.append(replace(node, path=path, depth=path.count("."), children=below))
        return Entries(completed)

    def sysctl_nodes(self) -> tuple[SysctlNode, ...]:
        """Return every node in file order, without those that ``each`` expands to."""
        return tuple(_nodes(self.sysctl))

    def sysctl_leaves(self) -> Iterator[SysctlNode]:
        """Iterate over every node that holds a value, in file order."""
        yield from _leaves(self.sysctl)


def _nodes(nodes: Entries[SysctlNode]) -> Iterator[SysctlNode]:
    for node in nodes:
        yield node
        if node.each is None:
            yield from _nodes(node.children)


def _leaves(nodes: Entries[SysctlNode]) -> Iterator[SysctlNode]:
    for node in nodes:
        if node.type == "node":
            yield from _leaves(node.children)
        else:
            yield node
