"""The message channel behind the backdoor (transport.yaml)."""

from typing import Annotated, ClassVar, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Range, Record, Report, Unique, Valued
from vmtgen.compiler.spec.words import U16, U32, Doc, Milliseconds, Name


@dataclass(frozen=True, slots=True)
class Protocol(Valued):
    """The purpose of a channel; the value is four characters, the first in bits 7:0."""

    SHORTHAND: ClassVar[str] = "value"
    name: Name
    value: Annotated[U32, Unique()]

    @property
    def characters(self) -> str:
        """The value as text."""
        return self.value.to_bytes(4, "little").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Subcommand(Record):
    """A step of a conversation."""

    name: Name
    # Hosts look at bits 19:16 (Linux arch/x86/include/asm/vmware.h).
    number: Annotated[int, Range(0, 0xF), Unique()]
    doc: Doc


@dataclass(frozen=True, slots=True)
class ReceiveTypes(Record):
    """The kind of a message that the host sends."""

    size: U16
    payload: U16


@dataclass(frozen=True, slots=True)
class Status(Record):
    """A bit of the status that ends each step."""

    name: Name
    bit: Annotated[U16, Unique()]
    doc: Doc

    def check(self, node: Node, report: Report) -> None:
        """Expect a single bit."""
        if self.bit.bit_count() != 1:
            report(node["bit"], f"expected a single bit, not {self.bit:#06x}")


@dataclass(frozen=True, slots=True)
class Limits(Record):
    """Sizes in bytes."""

    message: Annotated[int, Range(1024, 0x100000)]
    piece: Annotated[int, Range(1, 4)]


@dataclass(frozen=True, slots=True)
class Policy(Record):
    """Settings of the driver: retries, milliseconds, bytes."""

    checkpoint_retries: Annotated[int, Range(1, 1000)]
    reopen_ms: Milliseconds
    reopen_max_ms: Milliseconds
    buffer: Annotated[int, Range(64, 0x10000)]

    def check(self, node: Node, report: Report) -> None:
        """Refuse a back-off that shrinks, and a size that is no power of two."""
        if self.reopen_ms > self.reopen_max_ms:
            report(node["reopen_ms"], f"{self.reopen_ms} is more than reopen_max_ms")
        if self.buffer & (self.buffer - 1):
            report(node["buffer"], f"{self.buffer} is no power of two: buffers grow by doubling")


@dataclass(frozen=True, slots=True)
class Transport(Record):
    """All of transport.yaml."""

    spec: Literal["transport"]
    doc: Doc
    command: Annotated[int, Range(0, 0x7F)]
    protocols: Entries[Protocol]
    cookie_flag: U32
    subcommands: Entries[Subcommand]
    receive_types: ReceiveTypes
    status: Entries[Status]
    high_command: U16
    limits: Limits
    policy: Policy

    def check(self, node: Node, report: Report) -> None:
        """Refuse buffers whose first size is above the largest: a message and its NUL."""
        most = self.limits.message + 1
        if self.policy.buffer > most:
            text = f"{self.policy.buffer} is more than a message and its NUL: at most {most}"
            report(node["policy"]["buffer"], text)
