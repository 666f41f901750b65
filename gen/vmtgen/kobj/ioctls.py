"""The ioctl(2) commands that a module's code compares with, found by disassembly.

A command carries a direction, the size of its argument, a group and a number (sys/sys/ioccom.h), so
that few other numbers look like one.  The object file has no list of them: this module finds the
constants of compare instructions and of a compiled switch.  It does not find a command that is
compared in another way, or that a called module handles.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.kobj.instructions import disassembler
from vmtgen.kobj.model import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj.model import Module

IOC_VOID, IOC_OUT, IOC_IN = 0x20000000, 0x40000000, 0x80000000
_DIRECTIONS = {IOC_OUT, IOC_IN, IOC_OUT | IOC_IN}
_LARGEST = 4096  # IOCPARM_MAX
_MASK = 0xFFFFFFFF
_NUMBER = re.compile(r"(-?)\s*(?:0x([0-9a-f]+)|#(?:0x)?([0-9a-f]+))")
# A compiler subtracts the first number of a switch with add or lea of its two's complement: the
# constants of these two are negated.
_TAKEN_OFF = frozenset(["add", "lea"])
_X86 = frozenset(["cmp", "mov", "movabs", "sub", "xor", *_TAKEN_OFF])


def size_of(command: int) -> int:
    """Return how many bytes the argument of a command has."""
    return command >> 16 & 0x1FFF


def is_command(number: int) -> bool:
    """Return whether a number can be an ioctl command of some header."""
    if not 0 <= number <= _MASK or not 0x21 <= (number >> 8 & 0xFF) <= 0x7E:
        return False
    direction = number & 0xE0000000
    if not size_of(number):
        return direction == IOC_VOID
    return direction in _DIRECTIONS and size_of(number) <= _LARGEST


def ioctl_commands(module: Module) -> tuple[int, ...]:
    """Return the ioctl commands in the code of a module, in ascending order."""
    tool = disassembler(module.machine)
    numbers = _of_arm if module.machine is Machine.AARCH64 else _of_x86
    found = set()
    for section in module.sections:
        if section.region == "text" and section.type == "PROGBITS" and section.size:
            lines = ((name, text) for _at, _size, name, text in tool.disasm_lite(section.data, 0))
            found |= {number for number in numbers(lines) if is_command(number)}
    return tuple(sorted(found))


def _of_x86(lines: Iterator[tuple[str, str]]) -> Iterator[int]:
    for mnemonic, operands in lines:
        if mnemonic not in _X86:
            continue
        for match in _NUMBER.finditer(operands):
            value = int(match[2] or match[3], 16)
            value = -value if match[1] else value
            yield (-value if mnemonic in _TAKEN_OFF else value) & _MASK


def _of_arm(lines: Iterator[tuple[str, str]]) -> Iterator[int]:
    """Yield the constants that two instructions make: the low half, then the high one."""
    halves: dict[str, int] = {}
    for mnemonic, operands in lines:
        match = re.match(r"[wx](\d+), #(-?)(?:0x)?([0-9a-f]+)(, lsl #16)?$", operands)
        if match is None or mnemonic not in {"mov", "movz", "movn", "movk"}:
            continue
        register, value = match[1], int(match[3], 16) << (16 if match[4] else 0)
        value = -value if match[2] else value
        if mnemonic == "movk":
            value |= halves.get(register, 0) & (0xFFFF if match[4] else 0xFFFF0000)
        elif mnemonic == "movn":
            value = ~value
        halves[register] = value & _MASK
        yield halves[register]
