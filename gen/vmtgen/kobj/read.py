"""kobj_load(): which files the loader accepts, and where it places their sections.

The order of the checks is that of NetBSD sys/kern/subr_kobj.c 1.78, so that a file with
several errors is refused for the same reason.  The line numbers are those that a
10.99.12 kernel printed.  Every size is checked before memory of that size is allocated.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vmtgen.common.dataclass import dataclass
from vmtgen.kobj import elf
from vmtgen.kobj.errors import KobjError, KobjPanicError, Message
from vmtgen.kobj.link import Loading, link_as_pretended, local_refusals, module_info
from vmtgen.kobj.model import (
    PAGE_SIZE,
    SHF_EXECINSTR,
    SHF_WRITE,
    Machine,
    Module,
    Region,
    Relocation,
    RelocationTable,
    Section,
    Symbol,
    aligned,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_EINVAL = 22
_PROGBITS, _SYMTAB, _STRTAB, _RELA, _NOBITS, _REL = 1, 2, 3, 4, 8, 9

# The limit of the kernel's map for modules: uvm_km_alloc(module_map, ...) fails above it.
# amd64: from the kernel's end to KERNBASE + NKL2_KIMG_ENTRIES * NBPD_L2 (64 * 2 MB, NetBSD
# sys/arch/amd64/amd64/machdep.c); aarch64: MODULE_RESERVED_MAX (sys/arch/aarch64/aarch64/
# aarch64_machdep.c); i386 has no map of its own: the limit of the other two is large enough.
MODULE_MAP_SIZE = 128 << 20
# kmem_alloc(KM_SLEEP) of more memory than the machine has never returns (observed with 2^40).
_NEVER_ALLOCATED = 1 << 32
# A larger file is no module: the map above is smaller, and debug sections are about as large.
_LARGEST_FILE = 512 << 20


@dataclass(frozen=True)
class Inspection:
    """A module, or the reasons why the kernel refuses it.

    `module` is None when the file's structure is refused, which ends the reading.
    Refusals of single relocations are all listed; for these every import is assumed to exist.
    `loading` is the module linked at pretended addresses as far as possible (None: its sections
    cannot be placed).
    """

    module: Module | None
    refusals: tuple[KobjError, ...]
    loading: Loading | None = None


def read_module(path: str | os.PathLike[str], machine: Machine | None = None) -> Module:
    """Read a module as the kernel of `machine` would (None: as the file's own machine's).

    Raises KobjError where kobj_load() refuses, OSError where the file cannot be read.
    """
    module = load(path, machine)
    for refusal in local_refusals(module):
        raise refusal
    return module


def inspect_module(path: str | os.PathLike[str], machine: Machine | None = None) -> Inspection:
    """Read a module like read_module(), but return the refusals instead of raising."""
    try:
        module = load(path, machine)
    except KobjError as error:
        return Inspection(None, (error,))
    try:
        loading, refused = link_as_pretended(module)
    except KobjPanicError as error:
        return Inspection(module, (error,))
    return Inspection(module, refused, loading)


def load(path: str | os.PathLike[str], expected: Machine | None = None) -> Module:
    """Read a module as kobj_load() does before it links anything.

    Raises KobjError where it refuses, OSError where the file cannot be read.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST_FILE:
        raise KobjError(Message(f"the file has more than {_LARGEST_FILE} bytes"))
    data = path.read_bytes()
    return _parse(path, data, *_header(data, expected))


# A campaign boots thousands of kernels, and each loads the same file.
@lru_cache(maxsize=8)
def _parse(path: Path, data: bytes, machine: Machine, header: elf.Header) -> Module:
    headers = _section_headers(data, machine, header)
    table = _one_symbol_table(headers)
    symbols_raw, strings = _symbol_bytes(data, machine, headers, table)
    names = _section_names(data, header, headers)
    sections, sizes = _sections(data, machine, headers, names)
    if sizes["text"] == 0:
        _refuse("no text", 418)
    _expect_room(sizes)
    _expect_contents(data, machine, headers)
    symbols = _symbols(elf.LAYOUTS[machine].unpack_symbol(symbols_raw), strings, headers)
    tables, skipped = _relocations(data, machine, headers, symbols)
    return Module(path, machine, sections, symbols, tables, sizes, skipped, fetch=module_info)


def _refuse(text: str, line: int, errno: str = "ENOEXEC") -> NoReturn:
    raise KobjError(Message(text, "kobj_load", line), errno=errno)


def _slice(data: bytes, offset: int, size: int, line: int) -> bytes:
    """Read as kobj_read_vfs() does: allocate that size, and read all of it."""
    if size >= _NEVER_ALLOCATED:
        raise KobjPanicError(
            f"modctl(2) does not return: kmem_alloc({size:#x}, KM_SLEEP) waits for memory that "
            "the machine does not have"
        )
    if offset + size > len(data):
        _refuse(f"read failed {_EINVAL}", line, "EINVAL")
    return data[offset : offset + size]


def _header(data: bytes, expected: Machine | None) -> tuple[Machine, elf.Header]:
    smallest = elf.LAYOUTS[expected or Machine.I386].header.size
    if len(data) < smallest:
        _refuse(f"read failed {_EINVAL}", 185, "EINVAL")
    ident, file_type, number, version = elf.COMMON_HEADER.unpack_from(data)
    if ident[:4] != b"\x7fELF":
        _refuse("not an ELF object", 189)
    if ident[6] != 1 or version != 1:
        _refuse(f"unsupported file version {ident[6]}", 196)
    if file_type != 1:  # ET_REL
        _refuse(f"unsupported file type {file_type}", 202)
    machines = [m for m in Machine if number in m.elf_numbers and expected in (None, m)]
    if not machines:
        _refuse(f"unsupported machine {number}", 215)
    (machine,) = machines
    layout = elf.LAYOUTS[machine]
    if len(data) < layout.header.size:
        _refuse(f"read failed {_EINVAL}", 185, "EINVAL")
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
    return tuple(elf.SectionHeader(*fields) for fields in layout.iter_unpack(raw))


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
    """Return the section name table; None where the loader works without it."""
    if header.shstrndx == elf.SHN_UNDEF:
        return None
    if header.shstrndx >= header.shnum:
        _refuse("bad shstrndx", 373)
    table = headers[header.shstrndx]
    if table.size == 0 or table.type != _STRTAB:
        return None
    return _slice(data, table.offset, table.size, 384)


def _region(header: elf.SectionHeader) -> Region | None:
    """Return which of the three maps holds a section; only its type and flags decide."""
    if header.type not in (_PROGBITS, _NOBITS):
        return None
    if header.flags & SHF_EXECINSTR:
        return "text"
    return "data" if header.flags & SHF_WRITE else "rodata"


def _sections(
    data: bytes, machine: Machine, headers: Sequence[elf.SectionHeader], names: bytes | None
) -> tuple[tuple[Section, ...], dict[Region, int]]:
    """Place the sections in the three regions as the loader does.

    The sums wrap round as the kernel's do: its alignment mask is an int, its sizes are size_t.
    """
    sizes: dict[Region, int] = {"text": 0, "data": 0, "rodata": 0}
    sections = []
    for index, header in enumerate(headers):
        region = _region(header)
        name, inside = {_PROGBITS: "<<PROGBITS>>", _NOBITS: "<<NOBITS>>"}.get(header.type, ""), True
        if names is not None and header.name != 0:
            name, inside = elf.read_string(names, header.name)
        offset = 0
        if region is not None:
            offset = aligned(sizes[region], header.align, machine)
            sizes[region] = (offset + header.size) % (1 << 8 * machine.pointer_size)
        sections.append(
            Section(
                index,
                name,
                elf.section_type_name(machine, header.type),
                header.flags,
                header.align,
                header.size,
                region,
                offset,
                data,
                header.offset,
                header.link,
                header.info,
                header.name,
                inside,
            )
        )
    return tuple(sections), sizes


def _expect_room(sizes: dict[Region, int]) -> None:
    """Refuse a module that does not fit module_map, in the order of the three allocations."""
    left = MODULE_MAP_SIZE
    for region, line in (("data", 428), ("rodata", 443), ("text", 458)):
        size = sizes[region]  # type: ignore[index]
        left -= (size + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE
        if left < 0:
            _refuse("out of memory", line, "ENOMEM")


def _expect_contents(data: bytes, machine: Machine, headers: Sequence[elf.SectionHeader]) -> None:
    """Refuse a section that ends after the file's end, in the order of the section headers.

    Relocation tables together cannot be larger than the file, where no two of them share
    bytes: no linker makes such a file, and it would cost the square of its size to read.
    """
    forms = {_REL: elf.LAYOUTS[machine].rel, _RELA: elf.LAYOUTS[machine].rela}
    total = 0
    for header in headers:
        if header.type == _PROGBITS and header.offset + header.size > len(data):
            _refuse(f"read failed {_EINVAL}", 501, "EINVAL")
        if header.type in forms and _target_type(headers, header) == _PROGBITS:
            line = 541 if header.type == _REL else 563
            size = header.size - header.size % forms[header.type].size
            # The kernel allocates whole entries of REL, and all of RELA.
            whole = size if header.type == _REL else header.size
            if size:
                _slice(data, header.offset, whole, line)
            total += size
    if total > len(data):
        raise KobjError(
            Message("the relocation tables share bytes: together they are larger than the file")
        )


def _target_type(headers: Sequence[elf.SectionHeader], header: elf.SectionHeader) -> int | None:
    """Return the type of the section that relocations are for, None beyond the headers.

    The kernel does not compare sh_info with the number of sections: it would read the
    memory after the table.
    """
    return headers[header.info].type if header.info < len(headers) else None


def _symbols(
    entries: Sequence[tuple[int, int, int, int, int]],
    strings: bytes,
    headers: Sequence[elf.SectionHeader],
) -> tuple[Symbol, ...]:
    found = []
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
        text, inside = elf.read_string(strings, name)
        found.append(
            Symbol(index, text, value, size, binding, kind, section, special, name, inside)  # type: ignore[arg-type]
        )
    return tuple(found)


def _relocations(
    data: bytes,
    machine: Machine,
    headers: Sequence[elf.SectionHeader],
    symbols: Sequence[Symbol],
) -> tuple[tuple[RelocationTable, ...], tuple[tuple[int, int, int], ...]]:
    """Read the relocations of PROGBITS sections: REL tables first, then RELA tables."""
    layout = elf.LAYOUTS[machine]
    tables: list[RelocationTable] = []
    skipped: list[tuple[int, int, int]] = []
    names: dict[int, str] = {}  # a module has many relocations of few types
    for kind, form in ((_REL, layout.rel), (_RELA, layout.rela)):
        number = 0
        for own, header in enumerate(headers):
            if header.type != kind or _target_type(headers, header) != _PROGBITS:
                continue
            whole = header.size - header.size % form.size
            found: list[Relocation] = []
            for fields in form.iter_unpack(data[header.offset : header.offset + whole]):
                index, type_ = layout.split_info(fields[1])
                if index >= len(symbols):
                    skipped.append((header.info, fields[0], index))
                    continue
                if type_ not in names:
                    names[type_] = elf.relocation_name(machine, type_)
                found.append(
                    Relocation(
                        header.info,
                        fields[0],
                        type_,
                        names[type_],
                        symbols[index],
                        fields[2] if kind == _RELA else None,
                    )
                )
            if whole:
                tables.append(
                    RelocationTable(own, header.info, number, kind == _RELA, tuple(found))
                )
            number += 1
    return tuple(tables), tuple(skipped)
