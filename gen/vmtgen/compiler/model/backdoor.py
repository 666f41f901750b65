"""The backdoor: ports, registers and commands (backdoor.yaml)."""

from typing import Annotated, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Named, Range, Record, Reference, Report, Unique
from vmtgen.compiler.spec.words import U8, U16, U32, Doc, Member, Name, Printable

Register = Annotated[Named, Reference("register", "backdoor.registers")]


@dataclass(frozen=True, slots=True)
class Ports(Record):
    """The two I/O ports."""

    low: U16
    high: U16


@dataclass(frozen=True, slots=True)
class RegisterNames(Record):
    """A register that carries an argument: its x86 name is the key."""

    name: Member
    argument: Annotated[int, Range(0, 6), Unique()]
    aarch64: Annotated[Member, Unique()]


@dataclass(frozen=True, slots=True)
class Arm(Record):
    """The operation words of the aarch64 trap."""

    magic: U8
    low: U8
    high_in: U8
    high_out: U8


@dataclass(frozen=True, slots=True)
class Cpuid(Record):
    """Where CPUID shows that the hypervisor is VMware."""

    feature_leaf: U32
    hypervisor_bit: Annotated[int, Range(0, 31)]
    vendor_leaf: U32
    vendor: Printable

    def check(self, node: Node, report: Report) -> None:
        """Compare the vendor with the size of EBX, ECX and EDX."""
        if len(self.vendor) != 12:
            report(node["vendor"], f"expected 12 characters, not {len(self.vendor)}")


@dataclass(frozen=True, slots=True)
class Input(Record):
    """A register that a command needs in addition to magic, command and port."""

    register: Register
    value: U32
    half: Literal["low", "high"] | None = None

    def check(self, node: Node, report: Report) -> None:
        """Compare the value with the 16 bits of half a register."""
        if self.half is not None and self.value > 0xFFFF:
            report(node["value"], f"{self.value:#x} does not fit half a register")


@dataclass(frozen=True, slots=True)
class Output(Record):
    """A result and the registers that carry it, upper word first."""

    name: Annotated[Member, Unique()]
    registers: tuple[Register, ...]

    def check(self, node: Node, report: Report) -> None:
        """Expect one word or two."""
        if not 1 <= len(self.registers) <= 2:
            report(node["registers"], f"expected 1 or 2 registers, not {len(self.registers)}")


@dataclass(frozen=True, slots=True)
class Success(Record):
    """How to detect that a command worked: the register equals, or differs from, a value."""

    register: Register
    equals: U32 | None = None
    differs: U32 | None = None

    def check(self, node: Node, report: Report) -> None:
        """Expect exactly one of the two tests."""
        if (self.equals is None) == (self.differs is None):
            report(node, "expected either 'equals' or 'differs'")


@dataclass(frozen=True, slots=True)
class Command(Record):
    """A backdoor command. ``inputs`` and ``outputs`` are the keys ``in`` and ``out``."""

    name: Name
    # Hosts look at bits 6:0 (Linux arch/x86/include/asm/vmware.h).
    number: Annotated[int, Range(0, 0x7F), Unique()]
    doc: Doc
    in_: tuple[Input, ...]
    out: tuple[Output, ...]
    success: Success | None = None
    expect_version: U32 | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The registers to set."""
        return self.in_

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The results."""
        return self.out


@dataclass(frozen=True, slots=True)
class Backdoor(Record):
    """All of backdoor.yaml."""

    spec: Literal["backdoor"]
    doc: Doc
    magic: U32
    ports: Ports
    registers: Entries[RegisterNames]
    arm: Arm
    cpuid: Cpuid
    commands: Entries[Command]
