"""The ELF structures, field by field.

This module unpacks them itself, because the loader's checks need the raw numbers of
files that pyelftools rightly refuses to open.  The names of
numbers that any module has are here, the others come from pyelftools, which is slow to import.
"""

from __future__ import annotations

import struct
from functools import cache

from vmtgen.common.dataclass import dataclass
from vmtgen.kobj.model import Machine

SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHN_ABS = 0xFFF1
SHN_COMMON = 0xFFF2
MAXIMUM_SECTIONS = 32768  # ELF_MAXSHNUM, NetBSD sys/sys/exec_elf.h

BINDINGS = {0: "LOCAL", 1: "GLOBAL", 2: "WEAK"}
KINDS = {
    0: "NOTYPE",
    1: "OBJECT",
    2: "FUNC",
    3: "SECTION",
    4: "FILE",
    5: "COMMON",
    6: "TLS",
}


@dataclass(frozen=True, slots=True)
class Header:
    """Elf32_Ehdr or Elf64_Ehdr without the program header fields."""

    ident: bytes
    type: int
    machine: int
    version: int
    shoff: int
    shentsize: int
    shnum: int
    shstrndx: int


@dataclass(frozen=True, slots=True)
class SectionHeader:
    """Elf32_Shdr or Elf64_Shdr."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The structures of one ELF class, little-endian."""

    header: struct.Struct
    section: struct.Struct
    symbol: struct.Struct
    rel: struct.Struct
    rela: struct.Struct
    symbol_shift: int

    def unpack_header(self, data: bytes | bytearray) -> Header:
        """Unpack the ELF header at the start of `data`."""
        f = self.header.unpack_from(data)
        return Header(f[0], f[1], f[2], f[3], f[6], f[11], f[12], f[13])

    def unpack_symbol(self, data: bytes) -> list[tuple[int, int, int, int, int]]:
        """Unpack a symbol table as (name, value, size, info, section index)."""
        if self.symbol_shift == 8:  # ELF32 has the value before the info byte
            return [
                (name, value, size, info, shndx)
                for name, value, size, info, _, shndx in self.symbol.iter_unpack(data)
            ]
        return [
            (name, value, size, info, shndx)
            for name, info, _, shndx, value, size in self.symbol.iter_unpack(data)
        ]

    def split_info(self, info: int) -> tuple[int, int]:
        """Split r_info into (symbol index, type)."""
        return info >> self.symbol_shift, info & ((1 << self.symbol_shift) - 1)


def _layout(bits: int) -> Layout:
    if bits == 32:
        header, section, symbol = "<16sHHIIIIIHHHHHH", "<10I", "<IIIBBH"
        rel, rela = "<II", "<IIi"
    else:
        header, section, symbol = "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IBBHQQ"
        rel, rela = "<QQ", "<QQq"
    make = struct.Struct
    return Layout(
        make(header), make(section), make(symbol), make(rel), make(rela), 8 if bits == 32 else 32
    )


LAYOUTS = {
    Machine.AMD64: _layout(64),
    Machine.I386: _layout(32),
    Machine.AARCH64: _layout(64),
}

# e_ident, e_type, e_machine and e_version lie at the same place in both classes.
COMMON_HEADER = struct.Struct("<16sHHI")


SECTION_TYPES = {
    0: "NULL",
    1: "PROGBITS",
    2: "SYMTAB",
    3: "STRTAB",
    4: "RELA",
    7: "NOTE",
    8: "NOBITS",
    9: "REL",
}
RELOCATION_TYPES = {
    Machine.AMD64: {
        0: "R_X86_64_NONE",
        1: "R_X86_64_64",
        2: "R_X86_64_PC32",
        4: "R_X86_64_PLT32",
        10: "R_X86_64_32",
        11: "R_X86_64_32S",
        41: "R_X86_64_GOTPCRELX",  # a relaxable form of the psABI without a name in pyelftools
    },
    Machine.I386: {0: "R_386_NONE", 1: "R_386_32", 2: "R_386_PC32", 4: "R_386_PLT32",
                   43: "R_386_GOT32X"},
    Machine.AARCH64: {
        257: "R_AARCH64_ABS64",
        258: "R_AARCH64_ABS32",
        261: "R_AARCH64_PREL32",
        275: "R_AARCH64_ADR_PREL_PG_HI21",
        277: "R_AARCH64_ADD_ABS_LO12_NC",
        278: "R_AARCH64_LDST8_ABS_LO12_NC",
        282: "R_AARCH64_JUMP26",
        283: "R_AARCH64_CALL26",
        284: "R_AARCH64_LDST16_ABS_LO12_NC",
        285: "R_AARCH64_LDST32_ABS_LO12_NC",
        286: "R_AARCH64_LDST64_ABS_LO12_NC",
    },
}  # fmt: skip


@cache
def _other_names(table: str, prefix: str) -> dict[int, str]:
    """Return the names of pyelftools' ENUM_``table`` by number, without ``prefix``."""
    from elftools.elf import enums  # noqa: PLC0415 - slow, and few files have other types

    return {
        number: name.removeprefix(prefix)
        for name, number in getattr(enums, f"ENUM_{table}").items()
        if isinstance(number, int) and name.startswith(prefix)
    }


def section_type_name(machine: Machine, number: int) -> str:
    """Return the section type's name without SHT_, or its number in hexadecimal."""
    if number in SECTION_TYPES:
        return SECTION_TYPES[number]
    suffix = {Machine.AMD64: "AMD64", Machine.I386: "BASE", Machine.AARCH64: "AARCH64"}[machine]
    return _other_names(f"SH_TYPE_{suffix}", "SHT_").get(number, f"{number:#x}")


def relocation_name(machine: Machine, number: int) -> str:
    """Return the relocation type's name, or its number in decimal."""
    if number in RELOCATION_TYPES[machine]:
        return RELOCATION_TYPES[machine][number]
    suffix = {Machine.AMD64: "x64", Machine.I386: "i386", Machine.AARCH64: "AARCH64"}[machine]
    return _other_names(f"RELOC_TYPE_{suffix}", "").get(number, str(number))


# Longer names are cut: no linker makes them, and a table without NULs would take quadratic time.
_LONGEST_NAME = 4096


def read_string(table: bytes, offset: int) -> tuple[str, bool]:
    """Return the NUL-terminated string at `offset`, and whether it ends inside the table.

    Outside of the table the string is ''.
    """
    if offset >= len(table):
        return "", False
    end = table.find(b"\0", offset, offset + _LONGEST_NAME)
    inside = end >= 0
    if not inside:
        end = min(len(table), offset + _LONGEST_NAME)
    return table[offset:end].decode("utf-8", "backslashreplace"), inside


def string_at(table: bytes, offset: int) -> str:
    """Return the NUL-terminated string at `offset`, '' outside the table."""
    return read_string(table, offset)[0]
