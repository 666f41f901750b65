"""The project's kernel headers compared with NetBSD's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from vmtgen import resources
from vmtgen.build import kpi
from vmtgen.build.compile import build_module, default_output
from vmtgen.build.kpi import KERNEL_FIRST, compare_installed, compare_tree
from vmtgen.build.kpi_probes import GROUPS
from vmtgen.build.sysroot import own_headers
from vmtgen.build.toolchain import toolchain, zig_headers
from vmtgen.targets import load_targets

from tests import kept

MACHINES = ("amd64", "i386", "aarch64")
TARGETS = load_targets()


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept.use(monkeypatch)


@pytest.fixture(scope="session")
def headers_of_10_1() -> Path:
    """The headers of NetBSD 10.1, from the older ziglang in a directory of its own."""
    package = TARGETS.releases["10.1"].headers
    folder = default_output() / ".cache" / package.replace("==", "-")
    include: Path = folder / "ziglang" / "lib" / "libc" / "include"
    if not include.is_dir():
        # Tests run side by side: each brings its own copy, the first one to be done stays.
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
            done = subprocess.run([*pip, place, package], capture_output=True, check=False)
            if done.returncode != 0:
                why = done.stderr.decode(errors="replace")[-200:]
                pytest.skip(f"{package} is not available: {why}")
            # To unpack the compiler and the headers of all other systems takes much longer.
            with ZipFile(next(Path(place).glob("*.whl"))) as wheel:
                wheel.extractall(place, [name for name in wheel.namelist() if "-netbsd" in name])
            copy = Path(place) / "ziglang"
            folder.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                copy.rename(folder / "ziglang")
    return include


@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_and_constants_match_11_0(machine: str) -> None:
    release = TARGETS.releases["11.0"]
    found = compare_installed(TARGETS, release, TARGETS.machine(machine), zig_headers().parent)
    assert "\n".join(map(str, found.differences)) == ""
    assert found.compared > 350


@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_and_constants_match_10_1(machine: str, headers_of_10_1: Path) -> None:
    release = TARGETS.releases["10.1"]
    found = compare_installed(TARGETS, release, TARGETS.machine(machine), headers_of_10_1)
    assert "\n".join(map(str, found.differences)) == ""
    assert found.compared > 350


@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_and_constants_match_real_tree(machine: str) -> None:
    tree = os.environ.get("NETBSD_SYS")
    if not tree:
        pytest.skip("NETBSD_SYS=/usr/src/sys is not set")
    release = TARGETS.releases["10.99.12"]
    found = compare_tree(TARGETS, release, TARGETS.machine(machine), Path(tree))
    assert "\n".join(map(str, found.differences)) == ""
    assert found.compared > 450


def test_wrong_layout_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle itself: it must report a moved member and a changed constant."""
    import shutil

    from vmtgen.build import sysroot

    kpi = tmp_path / "kpi"
    shutil.copytree(resources.directory("kpi"), kpi)
    uuid = kpi / "include" / "sys" / "uuid.h"
    text = uuid.read_text(encoding="utf-8").replace("uint16_t\ttime_mid", "uint32_t\ttime_mid")
    uuid.write_text(text, encoding="utf-8")
    power = kpi / "include" / "sys" / "power.h"
    text = power.read_text(encoding="utf-8").replace(
        "PSWITCH_TYPE_RESET\t3", "PSWITCH_TYPE_RESET\t4"
    )
    power.write_text(text, encoding="utf-8")
    monkeypatch.setattr(resources, "directory", lambda name: kpi if name == "kpi" else None)
    sysroot.own_headers.cache_clear()
    try:
        found = compare_installed(
            TARGETS, TARGETS.releases["11.0"], TARGETS.machine("amd64"), zig_headers().parent
        )
    finally:
        sysroot.own_headers.cache_clear()
    reported = {difference.expression: difference for difference in found.differences}
    assert reported["sizeof(((struct uuid *)0)->time_mid)"].ours == 4
    assert reported["PSWITCH_TYPE_RESET"].theirs == 3


@pytest.mark.parametrize("machine", MACHINES)
def test_each_group_of_project_headers_compiles_alone(machine: str) -> None:
    """Each header compiles alone, unlike in the one file of ``kpi check``."""
    tool, headers = toolchain("zig", TARGETS.machine(machine), TARGETS), own_headers(machine)
    version = TARGETS.releases["11.0"].version
    command = [*tool.compile, "-U__NetBSD_Version__", f"-D__NetBSD_Version__={version}"]
    command += ["-nostdinc", *headers.flags]
    for group in GROUPS:
        if group.machines and machine not in group.machines:
            continue
        for first, asked in (((), group.installed), (KERNEL_FIRST, group.kernel)):
            if asked:
                answers = kpi._answers(command, (*first, *group.headers), asked, machine)
                assert len(answers) == len(asked)


def _headers() -> list[str]:
    include = resources.directory("kpi") / "include"
    return sorted(path.relative_to(include).as_posix() for path in include.rglob("*.h"))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_header_compiles_alone(tmp_path: Path, machine: str) -> None:
    """One file per header, so that none depends on another's includes."""
    for number, header in enumerate(_headers()):
        guard = "#ifdef __aarch64__\n#else\n" if header.startswith("x86/") else ""
        end = "#endif\n" if guard else ""
        text = f"{guard}#include <{header}>\n{end}typedef int vmtk_{number};\n"
        (tmp_path / f"h{number}.c").write_text(text, encoding="ascii")
    (tmp_path / "z.c").write_text("int vmtk_f(void);\nint vmtk_f(void) { return 1; }\n")
    flags = ("-O0", "-g0")  # the warnings are the same
    built = build_module(tmp_path, machine=machine, out=tmp_path / "out", extra_flags=flags)
    assert built.compiled + built.reused > 40


def test_every_header_has_licence_guard_and_source() -> None:
    kpi = resources.directory("kpi")
    for path in sorted(kpi.rglob("*.h")):
        text = path.read_text(encoding="ascii")
        assert text.startswith("/* SPDX-License-Identifier: BSD-2-Clause */\n"), path
        assert "#ifndef _KPI_" in text, path
        comment = " ".join(text.split("*/")[1].replace("*", " ").split())
        assert "NetBSD" in comment, path
