"""The memory balloon: its port, commands, statuses and batches (balloon.yaml)."""

from typing import Annotated, ClassVar, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Range, Record, Report, Unique, Valued
from vmtgen.compiler.model.backdoor import Cpuid
from vmtgen.compiler.spec.words import U8, U16, U32, Count, Doc, Milliseconds, Name

Register = Literal["bx", "si"]


@dataclass(frozen=True, slots=True)
class Argument(Valued):
    """An argument of a command, by the register that carries it."""

    SHORTHAND: ClassVar[str] = "register"
    name: Name
    register: Annotated[Register, Unique()]


@dataclass(frozen=True, slots=True)
class Command(Record):
    """A command; ``target`` says whether EBX has the target after success."""

    name: Name
    number: Annotated[U8, Unique()]
    doc: Doc
    arguments: Entries[Argument]
    target: bool


@dataclass(frozen=True, slots=True)
class Status(Record):
    """The host's status of a call or a page."""

    name: Name
    number: Annotated[U32, Unique()]
    doc: Doc


@dataclass(frozen=True, slots=True)
class Capability(Record):
    """A capability on which host and guest agree."""

    name: Name
    bit: Annotated[int, Range(0, 31), Unique()]
    doc: Doc


@dataclass(frozen=True, slots=True)
class Batch(Record):
    """A page of entries: the status in the lowest bits, the number of a page above ``shift``."""

    entries: Annotated[int, Range(1, 512)]
    shift: Annotated[int, Range(1, 31)]
    status_bits: Annotated[int, Range(1, 12)]

    def check(self, node: Node, report: Report) -> None:
        """Refuse a status that reaches into the number of the page."""
        if self.status_bits > self.shift:
            report(node["status_bits"], f"expected at most the {self.shift} bits below the number")


@dataclass(frozen=True, slots=True)
class Policy(Record):
    """Settings of the driver: milliseconds, pages, polls, megabytes."""

    poll_ms: Milliseconds
    slow: Count
    fast: Count
    back_off: Annotated[int, Range(1, 3600)]
    floor: Annotated[int, Range(1, 1 << 20)]

    def check(self, node: Node, report: Report) -> None:
        """Expect a start that is not faster than the rest."""
        if self.slow > self.fast:
            report(node["slow"], f"{self.slow} is more than fast")


@dataclass(frozen=True, slots=True)
class Balloon(Record):
    """All of balloon.yaml."""

    spec: Literal["balloon"]
    doc: Doc
    magic: U32
    port: U16
    guest: U8
    cpuid: Cpuid
    commands: Entries[Command]
    status: Entries[Status]
    capabilities: Entries[Capability]
    batch: Batch
    policy: Policy
