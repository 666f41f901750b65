"""The files of `vmtgen upstream` compile into a kernel and as a module, and the module runs.

ioconf.c and kernel.c in upstream/ replace config(1)'s files; see tests/sim/modules/classic.c
for the same by hand in one file.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtgen.package.upstream import files, lay_out
from vmtsim.kernel.modules import Modules

from tests import kept
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtgen.kobj import Module

BY_CONFIG = Path(__file__).parent / "upstream"
MACHINES = ("amd64", "i386", "aarch64")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sys/dev/vmt as vmtgen writes it, and the files that config(1) would write beside it."""
    top = tmp_path_factory.mktemp("upstream")
    lay_out(files("vmt"), top / "tree")
    driver = top / "tree/sys/dev/vmt"
    for path in [*BY_CONFIG.iterdir(), *(top / "tree/sys/arch").rglob("*.c")]:
        shutil.copy(path, driver)
    return driver


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept.use(monkeypatch)


def _build(
    sources: Path, machine: str, flags: Sequence[str] = (), *more: str, sys: Path | None = None
) -> Module:
    other = "vmt_x86.c" if machine == "aarch64" else "vmt_aarch64.c"
    own = [path for path in sorted(sources.glob("vmt_*.c")) if path.name != other]
    files = [sources / "vmt.c", *own, *(sources / n for n in more)]
    # <dev/vmt/vmtvar.h>; -O0 takes a third of the time, and has the same warnings.
    flags = (*flags, "-I", str(sources.parents[1]), "-O0")
    out = sources.parents[3] / f"{machine}{'-'.join(more)}"
    return build_module(
        files, name="vmt", machine=machine, out=out, cache=out, extra_flags=flags, sys=sys
    ).module


def _in_the_kernel(sources: Path, machine: str, sys: Path | None = None) -> Module:
    flags = ("-U_MODULE", "-I", str(sources))
    return _build(sources, machine, flags, "kernel.c", sys=sys)


@pytest.mark.parametrize("machine", MACHINES)
def test_built_in_driver_matches_kernel_interface(sources: Path, machine: str) -> None:
    kernel, module = _in_the_kernel(sources, machine), _build(sources, machine)
    assert {"vmt_ca", "vmt_cd", "cfdata", "cfattachinit"} <= set(kernel.globals)
    left = set(module.imports) - set(kernel.imports)
    assert left == {
        "config_init_component",
        "config_fini_component",
        "prop_dictionary_get_bool",
    }
    assert set(kernel.imports) <= set(module.imports)


def test_upstream_module_communicates_with_host(sources: Path) -> None:
    """Attached by config(1)'s tables, used, detached, and unloaded without leftovers."""
    machine = Rig(_build(sources, "amd64").path)
    assert machine.attached
    assert machine.ask("ping") == b"OK "
    assert machine.do("detach", "vmt0") == 0
    assert not machine.attached
    assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_module_knows_its_property(sources: Path) -> None:
    machine = Rig(_build(sources, "amd64").path, load=False, cpuid=False)
    load = machine.kernel.subject(Modules).load(machine.path, properties={"force": True})
    assert machine.guest.wait("modload", load) == 0
    machine.settle()
    assert machine.attached
    machine.leave()


@pytest.mark.parametrize("machine", MACHINES)
def test_upstream_compiles_with_real_headers(sources: Path, machine: str) -> None:
    tree = os.environ.get("NETBSD_SYS")
    if not tree:
        pytest.skip("NETBSD_SYS=/usr/src/sys is not set")
    assert "vmt_ca" in _in_the_kernel(sources, machine, Path(tree)).globals
