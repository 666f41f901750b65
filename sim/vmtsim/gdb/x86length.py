"""How long x86 instructions are: enough to walk through a function without a disassembler.

``ed`` inside another instruction is no ``in``; only a walk from the function's beginning tells.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and the
opcode maps of appendix A.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))


class Instruction(NamedTuple):
    """Where it starts, how long it is, its opcode (0x0Fxx for two bytes), a REP prefix or 0."""

    offset: int
    length: int
    opcode: int
    repeat: int


def _numbers(*spans: int | tuple[int, int]) -> frozenset[int]:
    found: set[int] = set()
    for span in spans:
        first, last = span if isinstance(span, tuple) else (span, span)
        found.update(range(first, last + 1))
    return frozenset(found)


# One-byte opcodes with a ModRM byte, with an immediate byte, with one of the operand's size.
_MODRM = _numbers(
    *((row + low, row + low + 3) for row in range(0, 0x40, 0x10) for low in (0, 8)),
    (0x62, 0x63), 0x69, 0x6B, (0x80, 0x8F), (0xC0, 0xC1), (0xC4, 0xC7), (0xD0, 0xD3),
    (0xD8, 0xDF), (0xF6, 0xF7), (0xFE, 0xFF),
)  # fmt: skip
_BYTE = _numbers(
    *(row + low for row in range(0, 0x40, 0x10) for low in (4, 0xC)),
    0x6A, 0x6B, (0x70, 0x7F), 0x80, 0x82, 0x83, 0xA8, (0xB0, 0xB7), 0xC0, 0xC1, 0xC6, 0xCD,
    0xD4, 0xD5, (0xE0, 0xE7), 0xEB,
)  # fmt: skip
_WORD = _numbers(
    *(row + low for row in range(0, 0x40, 0x10) for low in (5, 0xD)),
    0x68, 0x69, 0x81, 0xA9, (0xB8, 0xBF), 0xC7, 0xE8, 0xE9,
)  # fmt: skip
_OTHER = {0xC2: 2, 0xCA: 2, 0xC8: 3}
# The same for 0F xx; most of them have a ModRM byte.
_NO_MODRM_0F = _numbers(
    (0x05, 0x09), 0x0B, 0x0E, (0x30, 0x37), 0x77, (0x80, 0x8F), (0xA0, 0xA2), (0xA8, 0xAA),
    (0xC8, 0xCF),
)  # fmt: skip
_BYTE_0F = _numbers(0x0F, (0x70, 0x73), 0xA4, 0xAC, 0xBA, 0xC2, (0xC4, 0xC6))


def instructions(code: bytes, *, wide: bool) -> Iterator[Instruction]:
    """Yield the instructions of ``code``, for 64 bits where ``wide``; ends where it makes no sense.

    The walk may run past an instruction that is cut off by the end of ``code``; it is not yielded.
    """
    offset = 0
    while offset < len(code):
        try:
            found = _decode(code, offset, wide=wide)
        except IndexError:
            return
        if found.offset + found.length > len(code):
            return
        yield found
        offset += found.length


def _decode(code: bytes, start: int, *, wide: bool) -> Instruction:
    at = start
    repeat = 0
    operand, address = 4, 4
    while code[at] in _PREFIXES:
        if code[at] in {0xF2, 0xF3}:
            repeat = code[at]
        elif code[at] == 0x66:
            operand = 2
        elif code[at] == 0x67:
            address = 2
        at += 1
    rex_w = False
    if wide and code[at] & 0xF0 == 0x40:
        rex_w = bool(code[at] & 8)
        at += 1
    opcode = code[at]
    at += 1
    if opcode in {0xC4, 0xC5, 0x62} and (wide or code[at] >= 0xC0):
        return _vector(code, start, at, opcode, wide=wide)
    if opcode == 0x0F:
        return _two_bytes(code, start, at, repeat, operand, wide=wide)
    end = at
    if opcode in _MODRM:
        end = _after_modrm(code, at, short=address == 2 and not wide)
    if opcode in _BYTE or (opcode == 0xF6 and code[at] & 0x30 == 0):
        end += 1
    elif opcode in {0xE8, 0xE9} and wide:
        end += 4
    elif 0xB8 <= opcode <= 0xBF and rex_w:
        end += 8
    elif opcode in _WORD or (opcode == 0xF7 and code[at] & 0x30 == 0):
        end += operand
    elif opcode in _OTHER:
        end += _OTHER[opcode]
    elif 0xA0 <= opcode <= 0xA3:
        end += 8 if wide and address == 4 else address
    elif opcode in {0x9A, 0xEA}:
        end += operand + 2
    return Instruction(start, end - start, opcode, repeat)


def _two_bytes(
    code: bytes, start: int, at: int, repeat: int, operand: int, *, wide: bool
) -> Instruction:
    opcode = code[at]
    at += 1
    end = at
    if opcode in {0x38, 0x3A}:
        end = _after_modrm(code, at + 1) + (opcode == 0x3A)
    elif opcode not in _NO_MODRM_0F:
        end = _after_modrm(code, at) + (opcode in _BYTE_0F)
    elif 0x80 <= opcode <= 0x8F:
        end = at + (4 if wide else operand)
    return Instruction(start, end - start, 0x0F00 | opcode, repeat)


def _vector(code: bytes, start: int, at: int, opcode: int, *, wide: bool) -> Instruction:
    """Return an instruction with a VEX or EVEX prefix; its opcode does not matter here."""
    del wide
    table = 1 if opcode == 0xC5 else code[at] & (0x07 if opcode == 0x62 else 0x1F)
    at += {0xC5: 1, 0xC4: 2, 0x62: 3}[opcode]
    number = code[at]
    at += 1
    if table == 1 and number == 0x77:
        end = at
    else:
        end = _after_modrm(code, at) + (table == 3 or (table == 1 and number in _BYTE_0F))
    return Instruction(start, end - start, opcode, 0)


def _after_modrm(code: bytes, at: int, *, short: bool = False) -> int:
    """Return where the ModRM byte at ``at``, its SIB byte and its displacement end."""
    modrm = code[at]
    at += 1
    mode, base = modrm >> 6, modrm & 7
    if mode == 3:
        return at
    if short:
        return at + (mode or 2 * (base == 6))
    if base == 4:
        base = code[at] & 7
        at += 1
        if mode == 0 and base == 5:
            return at + 4
    elif mode == 0 and base == 5:
        return at + 4
    return at + (0, 1, 4)[mode]
