"""Finds instructions that access memory atomically, by their bytes.

Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, 325462, volume 2, LOCK and
XCHG; Arm Architecture Reference Manual, DDI 0487, C4.1, "Loads and Stores".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.cpu import Cpu

_LOCK = 0xF0
_PREFIXES = frozenset({0x66, 0x67, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65})
_EXCHANGES = frozenset({0x86, 0x87})  # xchg with memory is locked without a prefix


def is_locked(cpu: Cpu, pc: int) -> bool:
    """Whether the instruction at ``pc`` is locked (x86), or exclusive or ordered (aarch64)."""
    if cpu.machine == "aarch64":
        word = int.from_bytes(cpu.read(pc, 4), "little")
        exclusive = word & 0x3F000000 == 0x08000000  # ldxr stxr ldar stlr cas
        return exclusive or word & 0x3B200C00 == 0x38200000  # ldadd ... swp
    code = cpu.read(pc, 8)
    at = 0
    while code[at] in _PREFIXES:
        at += 1
    if code[at] == _LOCK:
        return True
    if cpu.pointer_size == 8 and code[at] & 0xF0 == 0x40:
        at += 1
    return code[at] in _EXCHANGES
