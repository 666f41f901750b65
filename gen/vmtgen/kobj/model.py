"""A kernel module as data: sections, symbols, relocations, module information."""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from pathlib import Path

Region = Literal["text", "data", "rodata"]
REGIONS: tuple[Region, ...] = ("text", "data", "rodata")
PAGE_SIZE = 4096

# Section header flags (System V ABI, chapter "Sections").
SHF_WRITE = 0x1
SHF_ALLOC = 0x2
SHF_EXECINSTR = 0x4
# The kernel can read the heap after a string table without a fault.  In a test, a name 1 MB
# after the table was read (no such section), one 2 GB after it caused a page fault.
_HEAP_BEHIND = 16 << 20


class Machine(Enum):
    """A machine whose kobj_machdep.c is known; the value is NetBSD's name for it."""

    AMD64 = "amd64"
    I386 = "i386"
    AARCH64 = "aarch64"

    def __str__(self) -> str:
        return self.value

    @property
    def pointer_size(self) -> int:
        """Size of a pointer in bytes."""
        return 4 if self is Machine.I386 else 8

    @property
    def elf_numbers(self) -> tuple[int, ...]:
        """The e_machine values its kernel takes (ELFxx_MACHDEP_ID_CASES)."""
        return {Machine.AMD64: (62,), Machine.I386: (3, 6), Machine.AARCH64: (183,)}[self]


@dataclass(frozen=True)
class Section:
    """One section header and its bytes.

    `type` is the name without SHT_, or a hexadecimal number.  `region` is where kobj
    puts the section (None: not loaded) and `offset` its place in that region in bytes,
    for a region that begins on a page boundary.  `name_inside` is False where sh_name
    leads out of the table of names: the kernel reads other memory there.
    `file` is the whole file and `file_offset` the section's place in it.
    """

    index: int
    name: str
    type: str
    flags: int
    align: int
    size: int
    region: Region | None
    offset: int
    file: bytes = field(repr=False, compare=False)
    file_offset: int
    link: int = 0
    info: int = 0
    name_offset: int = 0
    name_inside: bool = True

    @property
    def data(self) -> bytes:
        """The section's bytes in the file: b'' for NOBITS, whose `size` still counts.

        Each call slices the file again, so that many headers for the same bytes take no
        memory.
        """
        if self.type in ("NOBITS", "NULL"):
            return b""
        return self.file[self.file_offset : self.file_offset + self.size]

    @property
    def loaded(self) -> bool:
        """Whether the kernel gives it memory: any PROGBITS or NOBITS, ALLOC or not."""
        return self.region is not None


@dataclass(frozen=True)
class Symbol:
    """One symbol table entry; `value` is as in the file, relative to its section.

    `special` is one of the reserved section indexes; then `section` is None.
    `name_offset` is st_name; `name_inside` is False where the name does not end within
    the string table, so that the kernel reads beyond it.
    """

    index: int
    name: str
    value: int
    size: int
    binding: str
    kind: str
    section: int | None
    special: Literal["UNDEF", "ABS", "COMMON", "RESERVED"] | None
    name_offset: int = 0
    name_inside: bool = True


@dataclass(frozen=True)
class Relocation:
    """One relocation of a loaded section; `addend` is None where it is read in place (REL)."""

    section: int
    offset: int
    type: int
    type_name: str
    symbol: Symbol
    addend: int | None


@dataclass(frozen=True)
class RelocationTable:
    """One REL or RELA section that kobj applies, in the order in which it does so.

    `number` counts the tables of its kind as ko_reltab and ko_relatab do; `section` is the
    table's own, `target` the section that it is for.
    """

    section: int
    target: int
    number: int
    addends: bool
    entries: tuple[Relocation, ...] = field(repr=False)


@dataclass(frozen=True)
class ModInfo:
    """The modinfo_t that MODULE(class, name, required) makes (NetBSD sys/sys/module.h).

    `module_class` is signed, as the kernel prints it.  `required` are the names that
    module_do_load() takes from the list; `ignored` is the text after an empty name,
    where it stops reading.  `name_length` is mi_name's length in bytes; `required_fault`
    describes an mi_required that points outside the module, '' where it is valid.
    """

    version: int
    module_class: int
    name: str
    required: tuple[str, ...]
    ignored: str = ""
    name_length: int = 0
    required_text: str = ""
    required_fault: str = ""

    @property
    def version_text(self) -> str:
        """The release as uname(1) writes it: '11.0', or '11.99.5' for current."""
        major, rest = divmod(self.version, 100_000_000)
        minor, rest = divmod(rest, 1_000_000)
        patch = rest % 10_000 // 100
        return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"

    @property
    def class_name(self) -> str:
        """The module class without MODULE_CLASS_, in lower case."""
        names = ("any", "misc", "vfs", "driver", "exec", "secmodel", "bufq")
        known = 0 <= self.module_class < len(names)
        return names[self.module_class] if known else "invalid"

    @property
    def version_signed(self) -> int:
        """The version as the kernel prints it, with %d."""
        return signed(self.version, 32)

    def accepted_by(self, kernel_version: int) -> bool:
        """Whether a kernel of that __NetBSD_Version__ loads it unforced.

        A kernel whose minor number is 99 requires the same version, any other one
        that the numbers differ by less than 10000 (module_compatible() in
        sys/kern/kern_module.c).
        """
        if kernel_version // 1_000_000 % 100 == 99:
            return self.version == kernel_version
        return abs(self.version - kernel_version) < 10_000


@dataclass(frozen=True)
class Module:
    """A relocatable object that the kernel's loader accepts.

    `sizes` are the bytes of each region before rounding to pages.  `skipped` lists
    relocations (section, offset, symbol index) whose symbol index lies outside the
    symbol table: kobj skips them without a message.
    """

    path: Path
    machine: Machine
    sections: tuple[Section, ...] = field(repr=False)
    symbols: tuple[Symbol, ...] = field(repr=False)
    tables: tuple[RelocationTable, ...] = field(repr=False)
    sizes: Mapping[Region, int]
    skipped: tuple[tuple[int, int, int], ...]
    # module_fetch_info() as the loader does it: vmtgen.kobj.link.module_info.
    fetch: Callable[[Module], ModInfo] = field(repr=False, compare=False)

    @cached_property
    def relocations(self) -> tuple[Relocation, ...]:
        """Every relocation that kobj applies, in its order."""
        return tuple(entry for table in self.tables for entry in table.entries)

    @cached_property
    def relocated(self) -> dict[Hashable, Mapping[Region, bytes]]:
        """The linker's cache: the regions after relocation, by all that the result depends on."""
        return {}

    @cached_property
    def imports(self) -> tuple[str, ...]:
        """Names that the kernel must supply, sorted."""
        return tuple(
            sorted({s.name for s in self.symbols if s.special == "UNDEF" and s.name and s.index})
        )

    @cached_property
    def globals(self) -> tuple[str, ...]:
        """Names of the global symbols that the module itself defines, sorted."""
        return tuple(
            sorted(
                {
                    s.name
                    for s in self.symbols
                    if s.binding == "GLOBAL" and s.special != "UNDEF" and s.name
                }
            )
        )

    @cached_property
    def modinfo(self) -> ModInfo:
        """MODULE()'s information; raises KobjError where module_fetch_info() refuses it."""
        return self.fetch(self)

    def section(self, name: str) -> Section:
        """Return the first loaded section of that name, else KeyError."""
        for section in self.sections:
            if section.name == name and section.loaded:
                return section
        raise KeyError(name)

    def symbol(self, name: str) -> Symbol:
        """Return the symbol of that name, global before local; KeyError for none or several."""
        found = [s for s in self.symbols if s.name == name and s.kind not in ("SECTION", "FILE")]
        exported = [s for s in found if s.binding == "GLOBAL"]
        candidates = exported or found
        if len(candidates) != 1:
            count = len(candidates) or "no"
            raise KeyError(f"{count} symbols are called '{name}' in {self.path.name}")
        return candidates[0]

    def describe(self, symbol: Symbol) -> str:
        """Return a name for messages: the symbol's own, or its section's."""
        if symbol.name:
            return symbol.name
        if symbol.section is not None:
            return self.sections[symbol.section].name
        return f"symbol {symbol.index}"


def aligned(value: int, align: int, machine: Machine) -> int:
    """Return `value` as kobj_load() aligns it: the mask is sh_addralign - 1 as an int."""
    mask = (align - 1) & 0xFFFFFFFF
    if mask >> 31:
        mask -= 1 << 32
    return (value + mask) & ~mask & ((1 << 8 * machine.pointer_size) - 1)


def name_is_readable(section: Section) -> bool:
    """Whether the kernel can read a name outside its table without a page fault."""
    return section.name_inside or section.name_offset < _HEAP_BEHIND
