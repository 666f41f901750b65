"""The relocations that the kernel applies, machine by machine.

From NetBSD sys/arch/{amd64/amd64,i386/i386,aarch64/aarch64}/kobj_machdep.c (10.99.12).
The kernel refuses all other types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.twos import signed
from vmtgen.kobj.model import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal[
    "none",  # nothing to do
    "absolute",  # S + A
    "relative",  # S + A - P
    "symbol",  # S
    "base",  # B + A, B being the section's address
    "low12",  # (S + A) bits 11..0, scaled, into an instruction
    "page21",  # page(S + A) - page(P) into ADRP
    "branch26",  # (S + A - P) / 4 into B or BL
]


@dataclass(frozen=True)
class Rule:
    """How one relocation type is applied.

    `width` is the number of bits stored; `addend_width` how many bits of an in-place
    addend the kernel reads; `shift` scales a low12; `checked` says that the kernel
    refuses a value that does not fit (on x86 it never checks).
    """

    kind: Kind
    width: int = 0
    addend_width: int = 64
    shift: int = 0
    checked: bool = False


_AMD64 = {
    0: Rule("none"),
    1: Rule("absolute", 64),
    2: Rule("relative", 32, 32),
    4: Rule("relative", 32),  # PLT32, taken as PC32
    6: Rule("symbol", 64),  # GLOB_DAT
    7: Rule("symbol", 64),  # JUMP_SLOT
    8: Rule("base", 64),  # RELATIVE
    10: Rule("absolute", 32, 32),
    11: Rule("absolute", 32, 32),  # 32S
}
_I386 = {
    0: Rule("none"),
    1: Rule("absolute", 32, 32),
    2: Rule("relative", 32, 32),
    6: Rule("symbol", 32, 32),  # GLOB_DAT
    8: Rule("base", 32, 32),  # RELATIVE
}
_AARCH64 = {
    0: Rule("none"),
    256: Rule("none"),
    257: Rule("absolute", 64),
    258: Rule("absolute", 32),
    259: Rule("absolute", 16),
    260: Rule("relative", 64, checked=True),
    261: Rule("relative", 32, checked=True),
    262: Rule("relative", 16, checked=True),
    275: Rule("page21", 21, checked=True),
    276: Rule("page21", 21),
    277: Rule("low12"),  # ADD_ABS_LO12_NC
    278: Rule("low12"),  # LDST8
    282: Rule("branch26", 26, checked=True),
    283: Rule("branch26", 26, checked=True),
    284: Rule("low12", shift=1),  # LDST16
    285: Rule("low12", shift=2),  # LDST32
    286: Rule("low12", shift=3),  # LDST64
}
RULES: Mapping[Machine, Mapping[int, Rule]] = {
    Machine.AMD64: _AMD64,
    Machine.I386: _I386,
    Machine.AARCH64: _AARCH64,
}


class RelocationRefusedError(Exception):
    """The kernel's kobj_reloc() refuses it; str() is the line that it prints."""


def bytes_touched(rule: Rule) -> int:
    """Return how many bytes at the relocated place the rule writes."""
    if rule.kind == "none":
        return 0
    return 4 if rule.kind in ("low12", "page21", "branch26") else rule.width // 8


def in_place_addend(rule: Rule, image: bytearray, offset: int, machine: Machine) -> int:
    """Read the addend of a REL relocation from the place itself, as the kernel does."""
    size = 4 if machine is Machine.I386 or rule.addend_width == 32 else 8
    return int.from_bytes(image[offset : offset + size], "little")


def apply(
    rule: Rule,
    image: bytearray,
    offset: int,
    *,
    place: int,
    symbol: int,
    addend: int,
    base: int,
    section_offset: int,
) -> None:
    """Relocate `image` at `offset`, which has the address `place`.

    `symbol` is the symbol's address, `base` the section's, `section_offset` the
    relocation's r_offset (it appears in messages).  Raises RelocationRefusedError.
    """
    kind = rule.kind
    if kind == "none":
        return
    target = symbol + addend
    if kind in ("absolute", "relative", "symbol", "base"):
        if kind == "absolute":
            value = target
        elif kind == "relative":
            value = target - place
        else:
            value = symbol if kind == "symbol" else base + addend
        if rule.checked:
            _check_range(value, rule.width, target, "", place, section_offset)
        size = rule.width // 8
        image[offset : offset + size] = (value & ((1 << rule.width) - 1)).to_bytes(size, "little")
        return
    instruction = int.from_bytes(image[offset : offset + 4], "little")
    if kind == "low12":
        _check_alignment(target, 1 << rule.shift, place, section_offset)
        field = (target & 0xFFF) >> rule.shift
        instruction = instruction & ~(0xFFF << 10) | field << 10
    elif kind == "page21":
        pages = ((target & _MASK64) >> 12) - (place >> 12)
        if rule.checked:
            page = target & ~0xFFF
            _check_range(pages, 21, page, " x 4k", place, section_offset)
        instruction &= ~(0x3 << 29 | 0x7FFFF << 5)
        instruction |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    else:
        distance = signed(target - place, 64)
        _check_alignment(distance, 4, place, section_offset)
        _check_range(distance >> 2, 26, target, " word", place, section_offset)
        instruction = instruction & ~0x3FFFFFF | (distance >> 2) & 0x3FFFFFF
    image[offset : offset + 4] = instruction.to_bytes(4, "little")


_MASK64 = (1 << 64) - 1


def _check_range(
    value: int, width: int, target: int, scale: str, place: int, section_offset: int
) -> None:
    """checkoverflow(): all bits above `width` must be equal.

    The kernel's mask leaves bit width - 1 free, so it takes values up to 2^width - 1.
    """
    mask = _MASK64 & ~((1 << width) - 1)
    high = value & mask
    if high not in (0, mask):
        raise RelocationRefusedError(
            f"kobj_reloc: Relocation {target & _MASK64:#x} too far from {place:#x} "
            f"(base+{section_offset:#x}) for {width}bit{scale}"
        )


def _check_alignment(value: int, alignment: int, place: int, section_offset: int) -> None:
    if value & (alignment - 1):
        raise RelocationRefusedError(
            f"kobj_reloc: Relocation {value & _MASK64:#x} unaligned at {place:#x} "
            f"(base+{section_offset:#x}). must be aligned {alignment}"
        )
