"""The stub's machine: registers by name, and which of them carry a call.

Register lists come from the stub (GDB manual, appendix "Target Descriptions").  The order of a
call's registers: open-vm-tools lib/include/backdoor_types.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from vmtgen.common.dataclass import dataclass

from vmtsim.gdb.rsp import Client, StubRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_INCLUDE = "include"


@dataclass(frozen=True)
class Register:
    """Its number for the stub, and its offset in the bytes of ``g``."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class Machine:
    """How a machine calls the backdoor.

    ``arguments`` are the seven registers of a call in the host's order, ``operation`` the one that
    identifies the kind of call if the instruction does not.
    """

    name: str
    arguments: tuple[str, str, str, str, str, str, str]
    pc: str
    operation: str = ""

    @property
    def x86(self) -> bool:
        """Whether it has I/O ports."""
        return not self.operation


AMD64 = Machine("amd64", ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"), "rip")
I386 = Machine("i386", ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp"), "eip")
AARCH64 = Machine("aarch64", ("x0", "x1", "x2", "x3", "x4", "x5", "x6"), "pc", "x7")
MACHINES = {machine.name: machine for machine in (AMD64, I386, AARCH64)}


@dataclass(frozen=True)
class Target:
    """The stub's machine, and the places of its registers."""

    machine: Machine
    registers: dict[str, Register]

    def value(self, data: bytes, name: str) -> int | None:
        """Return a register from the bytes of ``g``; None if the stub does not provide it."""
        register = self.registers.get(name)
        if register is None or len(data) < register.offset + register.size:
            return None
        return int.from_bytes(data[register.offset : register.offset + register.size], "little")

    def set(self, name: str, value: int) -> bytes:
        """Return the command that writes a register."""
        register = self.registers[name]
        return Client.set_register(
            register.number, value & ((1 << (8 * register.size)) - 1), register.size
        )


def describe(client: Client) -> Target:
    """Return the target of ``client``; raises StubRefusedError for an unknown machine."""
    registers: dict[str, Register] = {}
    offset = number = 0
    for element in _elements(client, "target.xml", depth=0):
        number = int(element.get("regnum", str(number)))
        size = int(element.get("bitsize", "0")) // 8
        registers[element.get("name", "")] = Register(number, offset, size)
        offset += size
        number += 1
    for machine in MACHINES.values():
        if registers.keys() >= {*machine.arguments, machine.pc}:
            return Target(machine, registers)
    raise StubRefusedError("the machine behind the GDB stub is not amd64, i386 or aarch64", -1)


def _elements(client: Client, name: str, depth: int) -> Iterator[ET.Element]:
    try:
        # QEMU uses the prefix without declaring its namespace, which is invalid XML.
        root = ET.fromstring(client.document(name).replace("<xi:", "<").replace("</xi:", "</"))
    except ET.ParseError as error:
        raise StubRefusedError(f"the GDB stub's {name} is not XML: {error}", -1) from error
    for element in root.iter():
        if element.tag == "reg":
            yield element
        elif element.tag == _INCLUDE and depth < 4:
            yield from _elements(client, element.get("href", ""), depth + 1)
