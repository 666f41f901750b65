"""Rules about sections: how kobj_load() handles each, and which it skips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj.model import PAGE_SIZE, SHF_ALLOC
from vmtgen.lint.findings import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj import Module, Region, Section
    from vmtgen.lint.findings import Finding

# Sections whose name has a meaning in the System V ABI ("Special Sections"): their valid types,
# and the region in which the loader must put them.
_USUAL: dict[str, tuple[tuple[str, ...], Region | None]] = {
    ".text": (("PROGBITS",), "text"),
    ".data": (("PROGBITS",), "data"),
    ".bss": (("NOBITS", "PROGBITS"), "data"),
    ".rodata": (("PROGBITS",), None),
}
# Lists of functions that a C runtime calls at the start and at the end of a program.
_CONSTRUCTORS = ("INIT_ARRAY", "FINI_ARRAY", "PREINIT_ARRAY")


def section_findings(module: Module) -> Iterator[Finding]:
    """Yield the problems of the module's sections."""
    yield from _debug_sections(module)
    for section in module.sections[1:]:
        yield from _one(module, section)
    entry = 16 if module.machine.pointer_size == 4 else 24  # Elf32_Sym, Elf64_Sym
    for section in module.sections:
        if section.type == "SYMTAB" and section.size % entry:
            message = f"{section.size} bytes are no multiple of {entry}"
            yield finding("symbol-table-size", section.name, message)


def is_debug(section: Section) -> bool:
    """Whether strip -g would remove this loaded section."""
    return section.loaded and section.name.startswith(".debug") and section.size > 0


def _debug_sections(module: Module) -> Iterator[Finding]:
    debug = [section for section in module.sections if is_debug(section)]
    if debug:
        total = sum(section.size for section in debug)
        message = f"{len(debug)} debug sections, {total} bytes, would be loaded"
        yield finding("debug-sections", debug[0].name, message)


def _one(module: Module, section: Section) -> Iterator[Finding]:
    where = section.name or f"section {section.index}"
    if section.loaded and not section.name_inside:
        message = f"section {section.index}: sh_name is {section.name_offset:#x}"
        yield finding("section-name", where, message)
    yield from _kind(module, section, where)
    if not section.loaded or section.size == 0:
        return
    if section.align == 0 or section.align > PAGE_SIZE:
        yield finding("section-align", where, f"sh_addralign is {section.align:#x}")
    message = f"{section.size} bytes would be loaded as {section.region}"
    if is_debug(section):
        return
    if section.name.startswith(".eh_frame"):
        yield finding("eh-frame", where, message)
    elif not section.flags & SHF_ALLOC:
        yield finding("stray-section", where, message)


def _in_file(module: Module, section: Section) -> bool:
    """Return whether no other section uses the file bytes of a NOBITS section: it once had data."""
    start, end = section.file_offset, section.file_offset + section.size
    return not any(
        other.file_offset < end and other.file_offset + other.size > start
        for other in module.sections
        if other.type not in {"NOBITS", "NULL"} and other.size
    )


def _kind(module: Module, section: Section, where: str) -> Iterator[Finding]:
    if section.size == 0:
        return
    if section.type in _CONSTRUCTORS:
        yield finding("section-ignored", where, f"{section.type}: the kernel calls no constructors")
    elif section.type == "NULL":
        message = f"type NULL, {section.size} bytes: a disabled header"
        yield finding("section-ignored", where, message)
    if section.region == "text" and section.type == "NOBITS":
        yield finding("section-kind", where, "executable and NOBITS: its code is all zeros")
        return
    for name, (types, region) in _USUAL.items():
        if section.name != name and not section.name.startswith(f"{name}."):
            continue
        if section.type == "NOBITS" and region == "data" and not _in_file(module, section):
            continue  # variables that are all zero: a linker turns .bss alone into .data
        if section.loaded and section.type not in types:
            message = f"is {section.type}: its contents in the file are not loaded"
            yield finding("section-kind", where, message)
        elif section.loaded and region not in (None, section.region):
            message = f"would be loaded as {section.region}, with that protection, not as {region}"
            yield finding("section-kind", where, message)
