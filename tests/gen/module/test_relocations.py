"""Single relocations: where the value is stored, and its range."""

from __future__ import annotations

import pytest
from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs
from capstone.arm64 import ARM64_OP_IMM, ARM64_OP_MEM
from elftools.elf import enums
from vmtgen.kobj import Machine, elf
from vmtgen.kobj.relocations import RULES, RelocationRefusedError, apply

_PLACE = 0xFFFFC000_03000000
_ARM = Cs(CS_ARCH_ARM64, CS_MODE_ARM)
_ARM.detail = True
# ELF for the Arm 64-bit Architecture: relocation numbers, and instructions that carry them.
_ADR_PREL_PG_HI21, _ADD_ABS_LO12_NC, _LDST64_ABS_LO12_NC, _CALL26 = 275, 277, 286, 283
_ADRP, _ADD, _LDR, _BL = 0x90000000, 0x91000000, 0xF9400000, 0x94000000
# The value's bits of those that the kernel checks: 1, 2 and 4 bytes relative to the place.
_CHECKED = {260: 64, 261: 32, 262: 16}
_UNCHECKED = {257: 64, 258: 32, 259: 16}


def _word(number: int, instruction: int, target: int) -> int:
    image = bytearray(instruction.to_bytes(4, "little"))
    _apply(Machine.AARCH64, number, image, target)
    return int.from_bytes(image, "little")


def _apply(machine: Machine, number: int, image: bytearray, target: int) -> None:
    apply(
        RULES[machine][number],
        image,
        0,
        place=_PLACE,
        symbol=target,
        addend=0,
        base=_PLACE,
        section_offset=0,
    )


def _operand(word: int) -> int:
    """The number in an instruction, as a disassembler reads it."""
    (instruction,) = _ARM.disasm(word.to_bytes(4, "little"), _PLACE)
    last = instruction.operands[-1]
    if last.type == ARM64_OP_MEM:
        return int(last.mem.disp)
    assert last.type == ARM64_OP_IMM
    return int(last.imm) & (1 << 64) - 1


@pytest.mark.parametrize("distance", [0, 0x1000, 0x5432000, 0x7FFFF000, -0x1000, -0x12345000])
def test_adrp_selects_page(distance: int) -> None:
    target = _PLACE + distance + 0x678
    assert _operand(_word(_ADR_PREL_PG_HI21, _ADRP, target)) == _PLACE + distance


@pytest.mark.parametrize("low", [0, 8, 0x7F8, 0xFF8])
def test_low_12_bits_follow_adrp(low: int) -> None:
    assert _operand(_word(_ADD_ABS_LO12_NC, _ADD, _PLACE + 0x5000 + low)) == low
    assert _operand(_word(_LDST64_ABS_LO12_NC, _LDR, _PLACE + 0x5000 + low)) == low


@pytest.mark.parametrize("distance", [4, 0x7FFFFFC, -4, -0x8000000])
def test_branch_reaches_forward_and_back(distance: int) -> None:
    assert _operand(_word(_CALL26, _BL, _PLACE + distance)) == _PLACE + distance


def test_misaligned_place_is_refused() -> None:
    for number, instruction in ((_LDST64_ABS_LO12_NC, _LDR), (_CALL26, _BL)):
        with pytest.raises(RelocationRefusedError, match="unaligned"):
            _word(number, instruction, _PLACE + 2)


@pytest.mark.parametrize(("number", "width"), _CHECKED.items())
def test_relative_overflow_is_refused(number: int, width: int) -> None:
    # The kernel's check lets one bit more pass than fits a signed value.
    image = bytearray(8)
    _apply(Machine.AARCH64, number, image, _PLACE + (1 << min(width, 62)) - 1)
    _apply(Machine.AARCH64, number, image, _PLACE - 1)
    assert image[: width // 8] == b"\xff" * (width // 8)
    assert image[width // 8 :] == bytes(8 - width // 8)
    if width < 64:
        with pytest.raises(RelocationRefusedError, match=f"for {width}bit"):
            _apply(Machine.AARCH64, number, image, _PLACE + (1 << width))


@pytest.mark.parametrize(("number", "width"), _UNCHECKED.items())
def test_absolute_value_is_truncated_silently(number: int, width: int) -> None:
    image = bytearray(8)
    _apply(Machine.AARCH64, number, image, 0x0123456789ABCDEF)
    assert image == 0x0123456789ABCDEF.to_bytes(8, "little")[: width // 8].ljust(8, b"\0")


def test_page_out_of_adrp_range_is_refused() -> None:
    with pytest.raises(RelocationRefusedError, match="for 21bit x 4k"):
        _word(_ADR_PREL_PG_HI21, _ADRP, _PLACE + (1 << 33))


def test_relocation_names_match_pyelftools() -> None:
    tables = {Machine.AMD64: enums.ENUM_RELOC_TYPE_x64, Machine.I386: enums.ENUM_RELOC_TYPE_i386,
              Machine.AARCH64: enums.ENUM_RELOC_TYPE_AARCH64}  # fmt: skip
    for machine, table in tables.items():
        written = {name: number for number, name in elf.RELOCATION_TYPES[machine].items()}
        unknown = {name for name in written if table.get(name) != written[name]}
        assert unknown <= {"R_X86_64_GOTPCRELX", "R_386_GOT32X"}
        for name, number in table.items():
            if isinstance(number, int) and name.startswith("R_"):
                assert elf.relocation_name(machine, number) in {
                    other for other, same in table.items() if same == number
                }
    for number, name in elf.SECTION_TYPES.items():
        assert enums.ENUM_SH_TYPE_BASE[f"SHT_{name}"] == number
    assert elf.section_type_name(Machine.AMD64, 0x70000001) == "AMD64_UNWIND"
    assert elf.section_type_name(Machine.I386, 0x12345) == "0x12345"
    assert elf.relocation_name(Machine.I386, 999) == "999"
