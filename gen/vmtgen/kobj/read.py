"""kobj_load(): which files the loader takes, and where it puts their sections.

The order of the checks is that of NetBSD sys/kern/subr_kobj.c 1.78, so that a file with
several faults is refused for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vmtgen.kobj import elf
from vmtgen.kobj.errors import KobjCorruptionError, KobjError, Message
from vmtgen.kobj.link import local_refusals, refusals
from vmtgen.kobj.model import (
    SHF_EXECINSTR,
    SHF_WRITE,
    Machine,
    Module,
    Region,
    Relocation,
    Section,
    Symbol,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

_EINVAL = 22
_PROGBITS, _SYMTAB, _STRTAB, _RELA, _NOBITS, _REL = 1, 2, 3, 4, 8, 9


@dataclass(frozen=True)
class Inspection:
    """A module, or what is wrong with it.

    `module` is None when the file's structure is refused, which ends the reading;
    refusals of single relocations, for which every import is taken to exist, are listed
    all together.
    """

    module: Module | None
    refusals: tuple[KobjError, ...]


def read_module(path: str | os.PathLike[str], machine: Machine | None = None) -> Module:
    """Read a module as the kernel of `machine` would (None: as the file's own machine's).

    Raises KobjError where kobj_load() refuses, OSError where the file cannot be read.
    """
    module = _load(Path(path), machine)
    for refusal in local_refusals(module):
        raise refusal
    return module


def inspect_module(path: str | os.PathLike[str], machine: Machine | None = None) -> Inspection:
    """Read a module like read_module(), but hand back the refusals instead of raising."""
    try:
        module = _load(Path(path), machine)
    except KobjError as error:
        return Inspection(None, (error,))
    return Inspection(module, tuple(refusals(module)))


def _refuse(text: str, line: int, errno: str = "ENOEXEC") -> NoReturn:
    raise KobjError(Message(text, "kobj_load", line), errno=errno)


def _short(line: int) -> NoReturn:
    """Refuse a file that ends before what the loader wants to read (kobj_read_vfs())."""
    _refuse(f"read failed {_EINVAL}", line, "EINVAL")


def _slice(data: bytes, offset: int, size: int, line: int) -> bytes:
    if offset + size > len(data):
        _short(line)
    return data[offset : offset + size]


def _load(path: Path, wanted: Machine | None) -> Module:
    data = path.read_bytes()
    machine, header = _header(data, wanted)
    headers = _section_headers(data, machine, header)
    table = _one_symbol_table(headers)
    symbols_raw, strings = _symbol_bytes(data, machine, headers, table)
    names = _section_names(data, header, headers)
    sections, sizes = _sections(data, machine, headers, names)
    if sizes["text"] == 0:
        _refuse("no text", 418)
    symbols = tuple(_symbols(elf.LAYOUTS[machine].unpack_symbol(symbols_raw), strings, headers))
    relocations, skipped = _relocations(data, machine, headers, symbols)
    return Module(path, machine, sections, symbols, relocations, sizes, skipped)


def _header(data: bytes, wanted: Machine | None) -> tuple[Machine, elf.Header]:
    smallest = elf.LAYOUTS[wanted or Machine.I386].header.size
    if len(data) < smallest:
        _short(185)
    ident, file_type, number, version = elf.COMMON_HEADER.unpack_from(data)
    if ident[:4] != b"\x7fELF":
        _refuse("not an ELF object", 189)
    if ident[6] != 1 or version != 1:
        _refuse(f"unsupported file version {ident[6]}", 197)
    if file_type != 1:  # ET_REL
        _refuse(f"unsupported file type {file_type}", 202)
    machines = [m for m in Machine if number in m.elf_numbers and wanted in (None, m)]
    if not machines:
        _refuse(f"unsupported machine {number}", 215)
    (machine,) = machines
    layout = elf.LAYOUTS[machine]
    if len(data) < layout.header.size:
        _short(185)
    header = layout.unpack_header(data)
    if (
        not 0 < header.shnum <= elf.MAXIMUM_SECTIONS
        or header.shoff == 0
        or header.shentsize != layout.section.size
    ):
        _refuse("bad sizes", 230)
    return machine, header


def _section_headers(
    data: bytes, machine: Machine, header: elf.Header
) -> tuple[elf.SectionHeader, ...]:
    layout = elf.LAYOUTS[machine].section
    raw = _slice(data, header.shoff, header.shnum * layout.size, 238)
    headers = tuple(elf.SectionHeader._make(fields) for fields in layout.iter_unpack(raw))
    for index, section in enumerate(headers):
        if section.type in (_REL, _RELA) and section.info >= len(headers):
            raise KobjCorruptionError(
                f"relocation section {index} is for section {section.info}, but there are only "
                f"{len(headers)}: the kernel would read beyond its section table"
            )
    return headers


def _one_symbol_table(headers: Sequence[elf.SectionHeader]) -> elf.SectionHeader:
    if not any(h.type in (_PROGBITS, _NOBITS) for h in headers):
        _refuse("file has no contents", 274)
    tables = [h for h in headers if h.type == _SYMTAB]
    if len(tables) != 1:
        _refuse("file has no valid symbol table", 280)
    (table,) = tables
    if not 0 < table.link < len(headers) or headers[table.link].type != _STRTAB:
        _refuse("file has invalid symbol strings", 289)
    return table


def _symbol_bytes(
    data: bytes,
    machine: Machine,
    headers: Sequence[elf.SectionHeader],
    table: elf.SectionHeader,
) -> tuple[bytes, bytes]:
    entry = elf.LAYOUTS[machine].symbol.size
    count = table.size // entry
    if count == 0:
        _refuse("no symbol table", 330)
    symbols = _slice(data, table.offset, count * entry, 338)
    strings = headers[table.link]
    if strings.size == 0:
        _refuse("no symbol strings", 347)
    return symbols, _slice(data, strings.offset, strings.size, 354)


def _section_names(
    data: bytes, header: elf.Header, headers: Sequence[elf.SectionHeader]
) -> bytes | None:
    """Return the section name table; None where the loader does without it."""
    if header.shstrndx == elf.SHN_UNDEF:
        return None
    if header.shstrndx >= header.shnum:
        _refuse("bad shstrndx", 373)
    table = headers[header.shstrndx]
    if table.size == 0 or table.type != _STRTAB:
        return None
    return _slice(data, table.offset, table.size, 384)


def _region(header: elf.SectionHeader) -> Region | None:
    if header.type not in (_PROGBITS, _NOBITS):
        return None
    if header.flags & SHF_EXECINSTR:
        return "text"
    return "data" if header.flags & SHF_WRITE else "rodata"


def _sections(
    data: bytes, machine: Machine, headers: Sequence[elf.SectionHeader], names: bytes | None
) -> tuple[tuple[Section, ...], dict[Region, int]]:
    """Pack the sections into the three regions as the loader does.

    The offsets hold for regions that start on a page boundary, as the kernel's do.
    """
    sizes: dict[Region, int] = {"text": 0, "data": 0, "rodata": 0}
    sections = []
    for index, header in enumerate(headers):
        region = _region(header)
        if names is not None and header.name != 0:
            name = elf.string_at(names, header.name)
        else:
            name = {_PROGBITS: "<<PROGBITS>>", _NOBITS: "<<NOBITS>>"}.get(header.type, "")
        offset = 0
        if region is not None:
            if header.align == 0:
                raise KobjCorruptionError(
                    f"section {index} ({name}) has sh_addralign 0: the loader's alignment mask "
                    "becomes all ones and it would load the section at address 0"
                )
            mask = header.align - 1
            offset = (sizes[region] + mask) & ~mask
            sizes[region] = offset + header.size
        content = b""
        if header.type != _NOBITS and index != 0:
            end = header.offset + header.size
            if header.type == _PROGBITS and end > len(data):
                _short(501)
            content = data[header.offset : end]
        sections.append(
            Section(
                index,
                name,
                elf.section_type_name(machine, header.type),
                header.flags,
                header.align,
                header.size,
                content,
                region,
                offset,
            )
        )
    return tuple(sections), sizes


def _symbols(
    entries: Sequence[tuple[int, int, int, int, int]],
    strings: bytes,
    headers: Sequence[elf.SectionHeader],
) -> Iterator[Symbol]:
    for index, (name, value, size, info, shndx) in enumerate(entries):
        section: int | None = None
        special = None
        if shndx == elf.SHN_UNDEF:
            special = "UNDEF"
        elif shndx == elf.SHN_ABS:
            special = "ABS"
        elif shndx == elf.SHN_COMMON:
            special = "COMMON"
        elif shndx >= min(elf.SHN_LORESERVE, len(headers)):
            special = "RESERVED"
        else:
            section = shndx
        binding = elf.BINDINGS.get(info >> 4, f"{info >> 4:#x}")
        kind = elf.KINDS.get(info & 15, f"{info & 15:#x}")
        text = elf.string_at(strings, name)
        yield Symbol(index, text, value, size, binding, kind, section, special)  # type: ignore[arg-type]


def _relocations(
    data: bytes,
    machine: Machine,
    headers: Sequence[elf.SectionHeader],
    symbols: Sequence[Symbol],
) -> tuple[tuple[Relocation, ...], tuple[tuple[int, int, int], ...]]:
    """Read the relocations of PROGBITS sections: REL tables first, then RELA tables."""
    layout = elf.LAYOUTS[machine]
    found: list[Relocation] = []
    skipped: list[tuple[int, int, int]] = []
    for kind, form, line in ((_REL, layout.rel, 541), (_RELA, layout.rela, 563)):
        for header in headers:
            if header.type != kind or headers[header.info].type != _PROGBITS:
                continue
            raw = _slice(data, header.offset, header.size, line)
            usable = raw[: len(raw) - len(raw) % form.size]
            for fields in form.iter_unpack(usable):
                index, number = layout.split_info(fields[1])
                if index >= len(symbols):
                    skipped.append((header.info, fields[0], index))
                    continue
                found.append(
                    Relocation(
                        header.info,
                        fields[0],
                        number,
                        elf.relocation_name(machine, number),
                        symbols[index],
                        fields[2] if kind == _RELA else None,
                    )
                )
    return tuple(found), tuple(skipped)
