"""Clang's and gcc's analyzers on the driver's C, and that they find planted defects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.targets import load_targets

from . import c_checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtgen.build.toolchain import CompilerName

DEFECTS = Path(__file__).parent / "checks" / "defects.c"
# How deep clang looks at the driver. `make analyze` looks deeper, for four times as long.
NODES = 40_000
_EXPECTED = re.compile(r"(zig|gcc) ([\w.-]+)")


def _listed(findings: list[c_checks.Finding]) -> str:
    return "\n".join(finding.text for finding in findings)


def _for_analysis(machine: str) -> list[Path]:
    """The files that an analyzer sees for a machine; ``make analyze`` shows it all for each.

    The files without an ``#if`` for a machine are looked at on amd64: aarch64 is LP64 as well.
    """
    files = c_checks.driver(machine)
    if machine == "amd64":
        return files
    own = re.compile(r"^#\s*(?:el)?if.*__(?:aarch64|x86_64|i386)__", re.MULTILINE)
    chosen = [
        file
        for file in files
        if file.stem == f"vmt_{machine}" or own.search(file.read_text(encoding="utf-8"))
    ]
    assert chosen
    return chosen


@pytest.mark.parametrize("machine", c_checks.MACHINES)
def test_weverything_reports_only_explained_warnings(machine: str) -> None:
    findings = c_checks.enabled(c_checks.everything(c_checks.driver(machine), machine))
    assert not findings, _listed(findings)


def test_enabled_warning_is_reported_and_disabled_is_not(tmp_path: Path) -> None:
    source = tmp_path / "warned.c"
    source.write_text(
        "int vmt_f(long);\n"
        "int\nvmt_f(long x)\n{\n\tint y = x;\n\n"
        "\tswitch (y) {\n\tcase 1:\n\t\treturn 2;\n\t}\n\treturn y;\n}\n"
    )
    findings = c_checks.everything([source], "amd64")
    received = {(finding.line, finding.check) for finding in findings}
    assert received == {(5, "shorten-64-to-32"), (7, "switch-default")}
    assert [finding.check for finding in c_checks.enabled(findings)] == ["shorten-64-to-32"]


def test_uncompilable_file_is_not_reported_clean(tmp_path: Path) -> None:
    source = tmp_path / "bad.c"
    source.write_text("int x = ;\n")
    with pytest.raises(c_checks.CannotCheckError, match="expected expression"):
        c_checks.everything([source], "amd64")


@pytest.mark.parametrize("machine", ["amd64", "aarch64"])
def test_clang_analyzer_finds_nothing(machine: str) -> None:
    findings = c_checks.analyzed(_for_analysis(machine), machine, "zig", nodes=NODES)
    assert not findings, _listed(findings)


@pytest.mark.parametrize("machine", ["amd64", "aarch64"])
def test_gcc_analyzer_finds_nothing(machine: str, require_tool: Callable[[str], str]) -> None:
    require_tool(load_targets().machine(machine).gcc_command)
    findings = c_checks.analyzed(_for_analysis(machine), machine, "gcc")
    assert not findings, _listed(findings)


@pytest.mark.parametrize("machine", ["amd64", "aarch64"])
@pytest.mark.parametrize("compiler", ["zig", "gcc"])
def test_analyzer_finds_exactly_the_planted_defects(
    machine: str, compiler: CompilerName, require_tool: Callable[[str], str]
) -> None:
    if compiler == "gcc":
        require_tool(load_targets().machine(machine).gcc_command)
    expected = [
        (number, check)
        for number, line in enumerate(DEFECTS.read_text(encoding="utf-8").splitlines(), 1)
        for name, check in _EXPECTED.findall(line)
        if name == compiler
    ]
    assert expected
    found = c_checks.analyzed([DEFECTS], machine, compiler)
    assert [(finding.line, finding.check) for finding in found] == expected, _listed(found)


def test_analyzer_detects_leak_in_driver(tmp_path: Path) -> None:
    freed = "\tkmem_free(text, VMT_DISK_TEXT);\n"
    text = (c_checks.ROOT / "kmod" / "vmt" / "vmt_info.c").read_text(encoding="utf-8")
    assert text.count(freed) == 1
    leaking = tmp_path / "vmt_info.c"
    leaking.write_text(text.replace(freed, ""), encoding="utf-8")
    (finding,) = c_checks.analyzed([leaking], "amd64", "zig", nodes=NODES)
    assert finding.check == "unix.Malloc"
    assert "'text'" in finding.text
