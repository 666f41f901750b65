"""Modules of others, and files that are no modules: findings, and never a crash."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen import resources
from vmtgen.common.errors import MissingInputError
from vmtgen.common.located import LocatedErrors
from vmtgen.kobj import read_module
from vmtgen.kobj.exported import KERNEL, exported_names
from vmtgen.lint.check import lint_file
from vmtgen.targets import ExportedNames, load_targets

if TYPE_CHECKING:
    from collections.abc import Callable

SIMULATED = sorted((Path(__file__).parents[2] / "sim" / "modules").glob("*.c"))


@pytest.mark.parametrize("machine", ["amd64", "i386", "aarch64"])
@pytest.mark.parametrize("path", SIMULATED, ids=lambda path: path.stem)
def test_simulator_test_modules_are_loadable(build: Any, path: Path, machine: str) -> None:
    """Drivers in other styles: callout(9), a task queue, the classic autoconf glue."""
    findings = lint_file(build(str(path), machine).path)
    # The classic glue has global names, as ioconf.c does; that is what symbol-clash is for.
    refused = {f.rule for f in findings if f.severity == "error"} - {"symbol-clash"}
    # rules.c breaks the simulator's rules on purpose, and one of them can be seen in the file.
    expected = {"code-read-only"} if path.stem == "rules" else set[str]()
    assert refused == expected, findings


def test_all_zero_variables_are_no_error(build: Any) -> None:
    """A linker makes a NOBITS .data of .bss alone; the kernel clears it (kobj_load)."""
    module = build(str(next(path for path in SIMULATED if path.stem == "seven")), "amd64")
    data = next(s for s in module.module.sections if s.name == ".data")
    assert data.type == "NOBITS"
    assert lint_file(module.path) == ()


def test_simulator_test_modules_exist() -> None:
    assert len(SIMULATED) >= 3


def test_module_without_linker_script_is_reported_in_detail(build: Any, tmp_path: Path) -> None:
    """With the defaults of a compiler for programs, and without a linker script."""
    targets = load_targets()
    gcc = shutil.which(targets.machine("i386").gcc_command)
    if gcc is None:
        pytest.skip("no gcc that makes x86 code")
    source = tmp_path / "plain.c"
    source.write_text(
        "extern int hz;\nint answer(void);\nint answer(void) { return hz * 2; }\n"
        "struct { unsigned v; int c; int (*f)(void); char *n, *r; } static const info = "
        '{ 1100000000, 3, answer, "plain", 0 };\n'
        'static const void *const set __attribute__((section("link_set_modules"), used)) = &info;\n'
    )
    made = tmp_path / "plain.kmod"
    flags = ["-m32", "-O2", "-g", "-fPIC", "-c", str(source), "-o", str(made)]
    subprocess.run([gcc, *flags], check=True)
    found = {finding.rule: finding for finding in lint_file(made)}
    assert {"debug-sections", "stray-section", "eh-frame", "relocation-type"} <= set(found)
    assert found["relocation-type"].message.startswith("R_386_")
    assert "hz" in found["relocation-type"].message or "GLOBAL" in found["relocation-type"].message


def test_module_other_than_vmt_needs_no_name_prefix(build: Any) -> None:
    """A name without the prefix is no fault of a module that is not vmt."""
    findings = lint_file(build("hello.c").path)
    assert [f.rule for f in findings] == []


def _mutants(data: bytes, count: int) -> list[tuple[str, bytes]]:
    """Files with one byte changed or cut short, chosen by a fixed sequence."""
    state, out = 12345, []
    header = 4096
    for number in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        # Half of them in the header and at the start of the tables, which have the most effect.
        place = (state >> 8) % (64 if number % 4 == 0 else len(data))
        if number % 5 == 4:
            out.append((f"cut at {place}", data[:place]))
            continue
        if number % 4 == 1:
            place = len(data) - 1 - (place % min(header, len(data)))
        changed = bytearray(data)
        changed[place] ^= 1 << (state >> 5 & 7)
        out.append((f"bit {state >> 5 & 7} of byte {place:#x}", bytes(changed)))
    return out


@pytest.mark.parametrize("machine", ["amd64", "i386", "aarch64"])
def test_damaged_files_get_findings_without_traceback(
    build: Callable[..., Any], machine: str, tmp_path: Path
) -> None:
    data = build("hello.c", machine).path.read_bytes()
    path = tmp_path / "damaged.kmod"
    reported = 0
    for name, mutant in _mutants(data, 100):
        path.write_bytes(mutant)
        try:
            reported += bool(lint_file(path))
        except Exception as error:
            raise AssertionError(f"{machine}, {name}: {type(error).__name__}: {error}") from error
    assert reported > 20


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"#!/bin/sh\n", bytes(200), b"\x7fELF" + bytes(60)]
)
def test_non_module_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no.kmod"
    path.write_bytes(content)
    (finding, *_) = lint_file(path)
    assert finding.severity == "error"
    assert finding.remedy


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="is a directory"):
        lint_file(tmp_path)


def test_accepted_kernels_are_read_from_module(build: Any) -> None:
    """The rule of module_compatible(): see kern_module.c, and kobj.ModInfo.accepted_by."""
    info = read_module(build("hello.c", release="11.0").path).modinfo
    assert [v for v in (1_000_000_000, 1_100_000_000, 1_100_009_900, 1_101_000_000, 1_199_000_500)
            if info.accepted_by(v)] == [1_100_000_000, 1_100_009_900]  # fmt: skip
    current = read_module(build("hello.c", release="11.99.5").path).modinfo
    assert [v for v in (1_199_000_400, 1_199_000_500, 1_199_000_600, 1_100_000_000)
            if current.accepted_by(v)] == [1_199_000_500]  # fmt: skip


def test_no_kernel_symbol_has_driver_prefix() -> None:
    targets = load_targets()
    table = ExportedNames(targets.exports).table
    assert table
    assert [name for name in table | {*targets.builtin_globals} if name.startswith("vmtk_")] == []


def test_kernel_without_symbol_table_is_refused_by_name(tmp_path: Path) -> None:
    spec = (resources.directory("specs") / "netbsd.yaml").read_text(encoding="utf-8")
    (tmp_path / "netbsd.yaml").write_text(spec.replace(f"kernel: {KERNEL}", "kernel: netbsd-9.0"))
    with pytest.raises(LocatedErrors) as caught:
        load_targets(tmp_path)
    (problem,) = caught.value.problems
    assert problem.message == f"no table of a kernel 'netbsd-9.0': there are {KERNEL}"
    line = spec.splitlines()[problem.line - 1]
    assert line.strip() == f"kernel: {KERNEL}"
    with pytest.raises(ValueError, match=r"no kernel 'netbsd-9\.0'"):
        exported_names("netbsd-9.0")
