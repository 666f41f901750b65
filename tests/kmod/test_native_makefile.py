"""kmod/vmt/Makefile as NetBSD's make reads it, with a stub of the system's bsd.kmodule.mk."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from vmtgen import resources
from vmtgen.build.toolchain import toolchain
from vmtgen.lint.check import lint_file
from vmtgen.targets import load_targets

if TYPE_CHECKING:
    from collections.abc import Callable

STUB_MK = Path(__file__).parent / "netbsd"
VERSION = 1_100_000_000
# WARNS=5 of NetBSD's share/mk/bsd.sys.mk, without the flags that bsd.kmodule.mk removes; as errors.
WARNINGS = (
    "-Wall -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wreturn-type -Wswitch "
    "-Wshadow -Wcast-qual -Wwrite-strings -Wextra -Wno-unused-parameter -Wno-sign-compare "
    "-Wold-style-definition -Wno-pointer-sign -Wno-attributes -Wno-type-limits -Werror"
)


class Place(NamedTuple):
    """A copy of kmod/ and a tree that states its release."""

    kmod: Path
    sys: Path
    make: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [self.make, "-r", "-m", str(STUB_MK), f"S={self.sys}", *words]
        return subprocess.run(command, cwd=self.kmod, capture_output=True, text=True, check=False)


@pytest.fixture
def place(root: Path, tmp_path: Path, require_tool: Callable[[str], str]) -> Place:
    make = require_tool("bmake")
    shutil.copytree(root / "kmod" / "vmt", tmp_path / "kmod")
    sys = tmp_path / "sys"
    (sys / "sys").mkdir(parents=True)
    (sys / "sys" / "param.h").write_text(f"#define\t__NetBSD_Version__\t{VERSION}\n")
    (sys / "conf").mkdir()
    (sys / "conf" / "osrelease.sh").write_text('[ "$1" = -k ] && echo 11.0\n')
    return Place(tmp_path / "kmod", sys, make)


def _value(place: Place, variable: str, *words: str) -> str:
    result = place.run("-V", "${" + variable + "}", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_single_unit_includes_every_other_source(place: Place) -> None:
    assert _value(place, "SRCS") == "vmt_module.c"
    unit = (place.kmod / "vmt_module.c").read_text()
    included = re.findall(r'^#include "(vmt\w*\.c)"$', unit, re.MULTILINE)
    assert sorted([*included, "vmt_module.c"]) == sorted(p.name for p in place.kmod.glob("*.c"))
    assert _value(place, "KMOD") == "vmt"
    assert _value(place, "WARNS") == "5"


def test_install_keeps_module_of_the_system(place: Place) -> None:
    where = _value(place, "KMODULEDIR", "MACHINE=evbarm")
    assert where == "/usr/pkg/stand/evbarm/11.0/modules/vmt"
    assert _value(place, "KMODULEDIR", "KMODULEDIR=/elsewhere") == "/elsewhere"


def test_kernel_sources_default_to_usr_src(place: Place) -> None:
    result = subprocess.run(
        [place.make, "-r", "-m", str(STUB_MK), "KMODULEDIR=/x", "-n"],
        cwd=place.kmod,
        capture_output=True,
        text=True,
        check=False,
    )
    if not Path("/usr/src/sys/sys/param.h").is_file():
        assert result.returncode != 0
        assert "/usr/src/sys is no kernel source tree" in result.stdout + result.stderr


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_system_gcc_builds_with_netbsd_warnings(place: Place, machine: str, tmp_path: Path) -> None:
    """NetBSD's compiler on these machines is gcc; every warning of WARNS=5 is an error."""
    targets = load_targets()
    target = targets.machine(machine)
    if shutil.which(target.gcc_command) is None:
        pytest.skip("no gcc that makes x86 code")
    tool = toolchain("gcc", target, targets)
    kpi = resources.directory("kpi")
    # The checkout may be in a directory with a blank in its name.
    ours, common, script = (
        shlex.quote(str(kpi / part)) for part in (machine, "include", "kmodule.ld")
    )
    include = f"-nostdinc -isystem {ours} -isystem {common}"
    # Without -g, as NetBSD builds modules; the warnings are those above.
    own = (flag for flag in tool.compile[1:] if flag != "-g" and not flag.startswith("-W"))
    flags = [*own, WARNINGS]
    made = place.run(
        f"MACHINE={target.directory}",
        f"CC={tool.compile[0]}",
        f"CPPFLAGS={include} -D__NetBSD_Version__={VERSION}",
        f"CFLAGS={' '.join(flags)}",
        f"LD={tool.link[0]}",
        f"LDFLAGS={' '.join(tool.link[2:])}",
        f"KMODSCRIPT={script}",
        "-j2",
        "all",
    )
    assert made.returncode == 0, made.stdout + made.stderr
    installed = place.run(f"MACHINE={target.directory}", f"DESTDIR={tmp_path}/root", "install")
    assert installed.returncode == 0, installed.stderr
    module = tmp_path / f"root/usr/pkg/stand/{target.directory}/11.0/modules/vmt/vmt.kmod"
    assert [f for f in lint_file(module, release="11.0") if f.severity != "note"] == []
