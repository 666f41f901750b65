"""The shipped module's symbols, traps and stack frames, with each compiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtgen.targets import load_targets
from vmtsim.gdb.sites import of_module, traps

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtgen.build.compile import Built

KMOD = Path(__file__).resolve().parents[2] / "kmod" / "vmt"
MACHINES = ("amd64", "i386", "aarch64")
X86 = {
    "vmt_trap_low": "in",
    "vmt_trap_in": "rep insb",
    "vmt_trap_out": "rep outsb",
}
ARM = dict.fromkeys(("vmt_trap_low", "vmt_trap_in", "vmt_trap_out"), "mrs")
FRAME = 768
"""Bytes of stack that one function may use, with inlined functions.

A kernel stack of NetBSD has 8 KiB on i386 and more elsewhere (UPAGES in sys/arch/*/include), and
interrupts use it, too.
"""


@pytest.fixture(
    scope="module",
    params=[(machine, compiler) for machine in MACHINES for compiler in ("zig", "gcc")],
    ids="-".join,
)
def built(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    require_tool: Callable[[str], str],
) -> Built:
    """The module for a machine by a compiler; it does not compile with a larger frame."""
    machine, compiler = request.param
    if compiler == "gcc":
        require_tool(load_targets().machine(machine).gcc_command)
    return build_module(
        KMOD,
        machine=machine,
        compiler=compiler,
        out=tmp_path_factory.mktemp("module"),
        extra_flags=(f"-Wframe-larger-than={FRAME}",),
    )


def test_module_defines_no_global_symbol(built: Built) -> None:
    """The kernel refuses a module that defines a name which it has."""
    assert built.module.globals == ()


def test_each_trap_is_only_in_its_named_function(built: Built) -> None:
    """`vmtsim host` finds the traps by these names, so none may be inlined or copied."""
    module, machine = built.module, built.machine
    found = {}
    for symbol in module.symbols:
        if symbol.kind != "FUNC" or symbol.section is None:
            continue
        code = module.sections[symbol.section].data[symbol.value : symbol.value + symbol.size]
        sites = list(traps(code, machine, name=symbol.name))
        if sites:
            (site,) = sites
            found[symbol.name] = site.kind
    assert found == (ARM if machine == "aarch64" else X86)
    program = of_module(built.path)
    assert sorted(site.name for site in program.sites) == sorted(found)


def test_functions_have_names_for_backtraces(built: Built) -> None:
    """A function called from another file is not inlined."""
    names = {symbol.name.partition(".")[0] for symbol in built.module.symbols}
    assert {"vmt_worker", "vmt_tclo_run", "vmt_channel_send", "vmt_rpc_send", "vmt_log"} <= names
