"""Each refusal of the kernel's loader is tested with a file that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from refusal_cases import CASES, CORRUPTIONS, UNDEFINED, anything, of_symbol
from vmtgen.kobj import KobjError, KobjPanicError, inspect_module, read_module
from vmtgen.lint.check import lint_file

if TYPE_CHECKING:
    from pathlib import Path

Edit = Callable[..., Any]


def _first_refusal(path: Path) -> KobjError:
    refusals = inspect_module(path).refusals
    assert refusals, "the loader accepts it"
    return refusals[0]


@pytest.mark.parametrize(("rule", "machine", "change", "errno", "text"), CASES)
def test_loader_refuses_with_kernel_message(
    edit: Edit, rule: str, machine: str, change: Callable[[Any], object], errno: str, text: str
) -> None:
    editor = edit(machine)
    change(editor)
    error = _first_refusal(editor.write())
    assert error.errno == errno
    assert str(error).startswith(text)


@pytest.mark.parametrize(("rule", "machine", "change", "errno", "text"), CASES)
def test_linter_names_rule_and_remedy(
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
def test_kernel_crash_is_an_error(
    edit: Edit, rule: str, machine: str, change: Callable[[Any], object]
) -> None:
    editor = edit(machine)
    change(editor)
    path = editor.write()
    assert rule in {finding.rule for finding in lint_file(path) if finding.severity == "error"}
    with pytest.raises(KobjPanicError):
        _ = read_module(path).modinfo


def test_relocation_is_reported_by_section_type_and_symbol(edit: Edit) -> None:
    editor = edit("amd64")
    offset = editor.relocation(".rela.text", of_symbol(editor, UNDEFINED), type=9)
    (finding,) = [f for f in lint_file(editor.write()) if f.rule == "relocation-type"]
    assert finding.where == f".text+{offset:#x}"
    assert finding.message.startswith("R_X86_64_GOTPCREL against hz:")


@pytest.mark.parametrize(
    ("machine", "section", "kind", "line"),
    [
        ("amd64", ".relalink_set_modules", "rela", 1134),
        ("i386", ".rellink_set_modules", "rel", 1097),
    ],
)
def test_invalid_relocation_makes_module_unreadable(
    edit: Edit, machine: str, section: str, kind: str, line: int
) -> None:
    editor = edit(machine)
    offset = editor.relocation(section, anything, type=9)
    with pytest.raises(KobjError) as caught:
        read_module(editor.write())
    last = caught.value.messages[-1]
    assert last.text.startswith(f"unresolved {kind} relocation @{offset:#x} type=9 ")
    assert (last.function, last.line) == ("kobj_relocate", line)


def test_empty_section_name_table_is_accepted(edit: Edit) -> None:
    editor = edit("amd64")
    editor.section(editor.layout.unpack_header(editor.data).shstrndx, size=0)
    assert {section.name for section in inspect_module(editor.write()).module.sections} == {
        "",
        "<<PROGBITS>>",
    }


def test_out_of_range_symbol_index_is_skipped(edit: Edit) -> None:
    editor = edit("amd64")
    editor.relocation(".rela.text", anything, symbol=9999)
    path = editor.write()
    assert len(read_module(path).skipped) == 1
    assert "relocation-symbol" in {finding.rule for finding in lint_file(path)}


def test_console_shows_function_line_and_name(edit: Edit) -> None:
    editor = edit("amd64")
    editor.header(type=2)
    (line,) = _first_refusal(editor.write()).console("%Mvmt.kmod")
    assert line == "kobj_load, 202: [%Mvmt.kmod]: linker error: unsupported file type 2"


def test_module_for_another_machine_is_refused_by_number(edit: Edit) -> None:
    from vmtgen.kobj import Machine

    path = edit("i386").write()
    with pytest.raises(KobjError, match="unsupported machine 3"):
        read_module(path, Machine.AMD64)
