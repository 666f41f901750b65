"""Files that the loader refuses, each made by one change to the good module of hello.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

UNDEFINED = "hz"  # hello.c imports it
_GLOBAL, _WEAK = 1 << 4, 2 << 4  # st_info: binding << 4 | type


def anything(_: dict[str, int]) -> bool:
    return True


def _truncate(editor: Any) -> None:
    del editor.data[10:]


def _cut_section_table(editor: Any) -> None:
    del editor.data[-100:]
    editor.header(shoff=len(editor.data) - 8)


def _magic(editor: Any) -> None:
    editor.data[0] = 0


def _elf_version(editor: Any) -> None:
    editor.data[6] = 2


def _no_contents(editor: Any) -> None:
    for index, header in enumerate(editor.sections):
        if header.type in (1, 8):
            editor.section(index, type=7)


def _second_table(editor: Any) -> None:
    editor.section(0, type=2)


def of_symbol(editor: Any, name: str) -> Callable[[dict[str, int]], bool]:
    index = editor.symbol_index(name)
    return lambda relocation: relocation["symbol"] == index


def _type(number: int) -> Callable[[dict[str, int]], bool]:
    return lambda relocation: relocation["type"] == number


def _tables_share_bytes(editor: Any) -> None:
    for name in (".rela.text", ".rela.rodata"):
        editor.section(name, offset=0, size=len(editor.data) // 24 * 24)


def _name_with_a_blank(editor: Any) -> None:
    place = editor.data.index(b"\0hello\0")
    editor.data[place + 3] = ord(" ")


def _no_data(editor: Any) -> None:
    """Relocations for a section of a region without a byte."""
    editor.section(".data", size=0)
    editor.section(".rela.text", info=editor.index(".data"))


def _offset(number: int) -> Callable[[dict[str, int]], bool]:
    return lambda relocation: relocation["offset"] == number


def _clash(editor: Any) -> None:
    """Give the module's own function the name of one of the kernel's."""
    name = editor.symbol("printf")["name"]
    editor.symbol("hello_modcmd", name=name, info=_GLOBAL | 2)


def _info_elsewhere(editor: Any) -> None:
    editor.relocation(".relalink_set_modules", anything, symbol=editor.symbol_index(UNDEFINED))


# (rule, machine, the change, the errno, the kernel's message)
CASES: list[tuple[str, str, Callable[[Any], object], str, str]] = [
    ("elf-short", "amd64", _truncate, "EINVAL", "read failed 22"),
    ("elf-short", "amd64", _cut_section_table, "EINVAL", "read failed 22"),
    ("elf-magic", "amd64", _magic, "ENOEXEC", "not an ELF object"),
    ("elf-version", "amd64", _elf_version, "ENOEXEC", "unsupported file version 2"),
    ("elf-type", "amd64", lambda e: e.header(type=2), "ENOEXEC", "unsupported file type 2"),
    ("elf-machine", "amd64", lambda e: e.header(machine=8), "ENOEXEC", "unsupported machine 8"),
    ("section-table", "amd64", lambda e: e.header(shnum=0), "ENOEXEC", "bad sizes"),
    ("section-table", "amd64", lambda e: e.header(shoff=0), "ENOEXEC", "bad sizes"),
    ("section-table", "i386", lambda e: e.header(shentsize=64), "ENOEXEC", "bad sizes"),
    ("no-contents", "amd64", _no_contents, "ENOEXEC", "file has no contents"),
    ("symbol-table", "amd64", lambda e: e.section(".symtab", type=0), "ENOEXEC",
     "file has no valid symbol table"),
    ("symbol-table", "amd64", _second_table, "ENOEXEC", "file has no valid symbol table"),
    ("symbol-strings", "amd64", lambda e: e.section(".symtab", link=0), "ENOEXEC",
     "file has invalid symbol strings"),
    ("symbol-table-empty", "amd64", lambda e: e.section(".symtab", size=0), "ENOEXEC",
     "no symbol table"),
    ("symbol-strings-empty", "amd64", lambda e: e.section(".strtab", size=0), "ENOEXEC",
     "no symbol strings"),
    ("section-names", "amd64", lambda e: e.header(shstrndx=999), "ENOEXEC", "bad shstrndx"),
    ("module-size", "amd64", lambda e: e.section(".rodata", size=1 << 40), "ENOMEM",
     "out of memory"),
    ("module-size", "i386", lambda e: e.section(".text", size=1 << 31), "ENOMEM",
     "out of memory"),
    ("no-text", "amd64", lambda e: e.section(".text", flags=2), "ENOEXEC", "no text"),
    ("relocation-type", "amd64", lambda e: e.relocation(".rela.text", anything, type=9), "ENOEXEC",
     "kobj_reloc: unexpected relocation type 9"),
    ("relocation-type", "i386", lambda e: e.relocation(".rel.text", anything, type=4), "ENOEXEC",
     "kobj_reloc: unexpected relocation type 4"),
    ("relocation-type", "aarch64", lambda e: e.relocation(".rela.text", anything, type=299),
     "ENOEXEC", "kobj_reloc: unsupported relocation type 299"),
    ("relocation-rel", "aarch64", lambda e: e.section(".rela.text", type=9), "ENOEXEC",
     "kobj_reloc: REL relocations not supported"),
    ("relocation-align", "aarch64",
     lambda e: e.relocation(".rela.text", _type(285), addend=1), "ENOEXEC",
     "kobj_reloc: Relocation 0x"),
    ("relocation-range", "aarch64",
     lambda e: e.relocation(".rela.text", _type(283), addend=1 << 40), "ENOEXEC",
     "kobj_reloc: Relocation 0x"),
    ("symbol-local", "amd64", lambda e: e.symbol(UNDEFINED, info=0), "ENOEXEC",
     "local symbol @"),
    ("symbol-name", "amd64", lambda e: e.symbol(UNDEFINED, name=0), "ENOEXEC", "bad symbol @"),
    ("symbol-weak", "amd64", lambda e: e.symbol(UNDEFINED, info=_WEAK), "ENOEXEC",
     "weak symbol @"),
    ("symbol-binding", "amd64", lambda e: e.symbol(UNDEFINED, info=5 << 4), "ENOEXEC",
     "bad binding 0x5 for symbol @"),
]  # fmt: skip

# Errors that the kernel does not check, and that would crash it.
CORRUPTIONS: list[tuple[str, str, Callable[[Any], object]]] = [
    ("section-align", "amd64", lambda e: e.section(".rodata", align=0)),
    ("relocation-outside", "amd64", lambda e: e.relocation(".rela.text", anything, offset=1 << 40)),
    ("relocation-base", "amd64", _no_data),
    ("section-name", "amd64", lambda e: e.section(".text", name=0x7FFFFFFF)),
    ("module-size", "amd64", lambda e: e.section(".symtab", size=1 << 40)),
    ("module-info-local", "amd64", _info_elsewhere),
]

# Modules that the loader accepts and the linter does not.
HARMFUL: list[tuple[str, str, Callable[[Any], object]]] = [
    ("section-align", "amd64", lambda e: e.section(".data", align=0x4000)),
    ("section-kind", "amd64", lambda e: e.section(".text", type=8)),
    ("section-kind", "amd64", lambda e: e.section(".data", flags=2)),
    ("section-ignored", "amd64", lambda e: e.section(".rela.text", type=0)),
    ("section-overlap", "amd64", _tables_share_bytes),
    ("module-name-odd", "amd64", _name_with_a_blank),
    ("symbol-common", "amd64", lambda e: e.symbol(UNDEFINED, shndx=0xFFF2, value=4)),
    ("symbol-table-size", "amd64", lambda e: e.section(".symtab", size=e.size(".symtab") - 4)),
    ("symbol-text", "amd64", lambda e: e.symbol(UNDEFINED, name=1 << 20)),
    ("symbol-unloaded", "amd64", lambda e: e.section(".rodata.str1.1", type=7)),
    ("symbol-unloaded", "amd64", lambda e: e.section(".data", type=7)),
    ("module-info-size", "amd64", lambda e: e.section("link_set_modules", size=16)),
    (
        "module-info-place",
        "amd64",
        lambda e: e.section(".rodata.str1.1", size=1),
    ),
    ("module-modcmd", "amd64", lambda e: e.relocation(".rela.rodata", _offset(8), addend=5)),
    ("module-modcmd", "amd64", lambda e: e.relocation(".rela.rodata", _offset(8), type=10)),
    ("module-modcmd", "amd64", lambda e: e.relocation(".rela.rodata", _offset(8), type=0)),
    ("relocation-lost", "amd64", lambda e: e.section(".rela.text", info=999)),
    ("relocation-lost", "amd64", lambda e: e.section(".rela.text", info=e.index(".symtab"))),
    ("relocation-lost", "amd64", lambda e: e.section(".rela.text", size=e.size(".rela.text") - 8)),
    ("relocation-symbol", "amd64", lambda e: e.relocation(".rela.text", anything, symbol=9999)),
    ("relocation-none", "amd64", lambda e: e.relocation(".rela.text", anything, type=0)),
    ("relocation-target", "amd64", lambda e: e.relocation(".rela.rodata", anything, symbol=0)),
    ("relocation-width", "amd64", lambda e: e.relocation(".rela.text", _type(4), type=1)),
    ("code-unrelocated", "amd64", lambda e: e.section(".rela.text", size=0)),
]
