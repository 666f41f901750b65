"""Each refusal of the kernel's loader has a file here that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.kobj import KobjCorruptionError, KobjError, inspect_module, read_module
from vmtgen.lint import lint_file
from vmtgen.lint_rules import RULES

if TYPE_CHECKING:
    from pathlib import Path

Edit = Callable[..., Any]
UNDEFINED = "hz"  # hello.c imports it
_GLOBAL, _WEAK = 1 << 4, 2 << 4


def _any(_: dict[str, int]) -> bool:
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


def _of(editor: Any, name: str) -> Callable[[dict[str, int]], bool]:
    index = editor.symbol_index(name)
    return lambda relocation: relocation["symbol"] == index


def _type(number: int) -> Callable[[dict[str, int]], bool]:
    return lambda relocation: relocation["type"] == number


def _clash(editor: Any) -> None:
    """Give the module's own function the name of one of the kernel's."""
    name = editor.symbol("printf")["name"]
    editor.symbol("hello_modcmd", name=name, info=_GLOBAL | 2)


def _info_elsewhere(editor: Any) -> None:
    editor.relocation(".relalink_set_modules", _any, symbol=editor.symbol_index(UNDEFINED))


# (rule, machine, what to change, the errno, the kernel's words)
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
    ("no-text", "amd64", lambda e: e.section(".text", flags=2), "ENOEXEC", "no text"),
    ("relocation-type", "amd64", lambda e: e.relocation(".rela.text", _any, type=9), "ENOEXEC",
     "kobj_reloc: unexpected relocation type 9"),
    ("relocation-type", "i386", lambda e: e.relocation(".rel.text", _any, type=4), "ENOEXEC",
     "kobj_reloc: unexpected relocation type 4"),
    ("relocation-type", "aarch64", lambda e: e.relocation(".rela.text", _any, type=299),
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

# What the kernel does not look at, and would crash from.
CORRUPTIONS: list[tuple[str, str, Callable[[Any], object]]] = [
    ("section-align-zero", "amd64", lambda e: e.section(".rodata", align=0)),
    ("relocation-section", "amd64", lambda e: e.section(".rela.text", info=999)),
    ("relocation-outside", "amd64", lambda e: e.relocation(".rela.text", _any, offset=1 << 20)),
    ("module-info-local", "amd64", _info_elsewhere),
]


def _first_refusal(path: Path) -> KobjError:
    refusals = inspect_module(path).refusals
    assert refusals, "the loader takes it"
    return refusals[0]


@pytest.mark.parametrize(("rule", "machine", "change", "errno", "text"), CASES)
def test_the_loader_refuses_it_in_the_kernels_words(
    edit: Edit, rule: str, machine: str, change: Callable[[Any], object], errno: str, text: str
) -> None:
    editor = edit(machine)
    change(editor)
    error = _first_refusal(editor.write())
    assert error.errno == errno
    assert str(error).startswith(text)


@pytest.mark.parametrize(("rule", "machine", "change", "errno", "text"), CASES)
def test_the_linter_names_the_rule_and_says_what_to_do(
    edit: Edit, rule: str, machine: str, change: Callable[[Any], object], errno: str, text: str
) -> None:
    editor = edit(machine)
    change(editor)
    findings = {finding.rule: finding for finding in lint_file(editor.write())}
    assert rule in findings
    assert findings[rule].severity == "error"
    assert text in findings[rule].kernel
    assert findings[rule].remedy


@pytest.mark.parametrize(("rule", "machine", "change"), CORRUPTIONS)
def test_what_would_crash_the_kernel_is_an_error(
    edit: Edit, rule: str, machine: str, change: Callable[[Any], object]
) -> None:
    editor = edit(machine)
    change(editor)
    path = editor.write()
    assert rule in {finding.rule for finding in lint_file(path) if finding.severity == "error"}
    with pytest.raises(KobjCorruptionError):
        _ = read_module(path).modinfo


def test_every_refusal_of_the_loader_has_its_file(edit: Edit) -> None:
    """The table of the linter's rules beside the kernel's words; shown with pytest -rP."""
    elsewhere = {  # tried in test_lint.py, from C
        "section-align-page", "symbol-clash", "import-missing", "module-info", "module-info-size",
        "module-name", "module-class", "module-requires", "module-version",
    }  # fmt: skip
    tried = {rule for rule, *_ in CASES} | {rule for rule, *_ in CORRUPTIONS} | elsewhere
    for rule in RULES:
        if rule.kernel:
            print(f"{rule.id:<22}{rule.severity:<9}{rule.kernel}")
    assert {rule.id for rule in RULES if rule.kernel} == tried


def test_a_relocation_is_told_by_section_type_and_symbol(edit: Edit) -> None:
    editor = edit("amd64")
    offset = editor.relocation(".rela.text", _of(editor, UNDEFINED), type=9)
    (finding,) = [f for f in lint_file(editor.write()) if f.rule == "relocation-type"]
    assert finding.where == f".text+{offset:#x}"
    assert finding.message.startswith("R_X86_64_GOTPCREL against hz:")


def test_a_symbol_index_out_of_range_is_passed_over(edit: Edit) -> None:
    editor = edit("amd64")
    editor.relocation(".rela.text", _any, symbol=9999)
    path = editor.write()
    assert len(read_module(path).skipped) == 1
    assert "relocation-symbol" in {finding.rule for finding in lint_file(path)}


def test_the_console_shows_function_line_and_name(edit: Edit) -> None:
    editor = edit("amd64")
    editor.header(type=2)
    (line,) = _first_refusal(editor.write()).console("%Mvmt.kmod")
    assert line == "kobj_load, 202: [%Mvmt.kmod]: linker error: unsupported file type 2"


def test_a_module_for_another_machine_is_refused_by_number(edit: Edit) -> None:
    from vmtgen.kobj import Machine

    path = edit("i386").write()
    with pytest.raises(KobjError, match="unsupported machine 3"):
        read_module(path, Machine.AMD64)
