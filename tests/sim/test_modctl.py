"""Loading and unloading say and return what a real kernel does (seen on NetBSD/amd64 10.99.12)."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic, Unmodelled
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.rule_table import OPTIONS

from .modkit import MACHINES, Machine, built

if TYPE_CHECKING:
    from pathlib import Path

EPERM, ENOENT, EIO, ENOEXEC, EBUSY, EEXIST, EPROGMISMATCH = 1, 2, 5, 8, 16, 17, 75


def _twin(*flags: str, machine: str = "amd64", builtin: bool = False) -> Machine:
    return Machine(built("twin", machine, flags), machine, builtin=builtin)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_module_loads_once_and_unloads(machine: str) -> None:
    made = _twin(machine=machine)
    assert made.do("load") == 0
    assert made.console[-1] == "twin: here"
    assert made.do("load") == EEXIST
    assert made.console[-1] == "WARNING: module error: module with name `vmt' already loaded"
    assert made.do("unload", "vmt") == 0
    assert made.do("unload", "vmt") == ENOENT
    assert made.do("load") == 0


def test_a_bare_name_is_not_found_outside_of_the_module_directory() -> None:
    assert _twin().do("load", "vmt") == ENOENT


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert _twin().do("load", str(tmp_path / "vmt.kmod")) == ENOENT


def test_a_file_that_is_no_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vmt.kmod"
    path.write_bytes(b"#!/bin/sh\n" * 50)
    machine = _twin()
    assert machine.do("load", str(path)) == ENOEXEC
    assert "linker error" in machine.console[-2]


def test_a_module_that_a_kernel_dies_of_is_a_panic(tmp_path: Path) -> None:
    """sh_addralign 0 of the text: kobj_read_vfs() in a DIAGNOSTIC kernel (tests/loader, m084)."""
    data = bytearray(built("twin").read_bytes())
    (headers,) = struct.unpack_from("<Q", data, 0x28)
    (count,) = struct.unpack_from("<H", data, 0x3C)
    for place in range(headers, headers + 64 * count, 64):
        if struct.unpack_from("<IQ", data, place + 4)[0] == 1:  # PROGBITS
            struct.pack_into("<Q", data, place + 48, 0)
    path = tmp_path / "twin.kmod"
    path.write_bytes(data)
    with pytest.raises(KernelPanic, match="not in a dedicated segment") as caught:
        _twin().do("load", str(path))
    assert caught.value.rule == "module-loader"


def test_all_missing_symbols_are_named() -> None:
    machine = _twin("-DMISSING")
    assert machine.do("load") == ENOEXEC
    console = "\n".join(machine.console)
    for name in ("no_such_function", "nor_this_one"):
        assert f"kobj_checksyms, 1013: [vmt]: linker error: symbol `{name}' not found" in console


def test_a_symbol_without_a_model_stops_the_run_when_it_is_called() -> None:
    machine = _twin("-DUNMODELLED")
    with pytest.raises(Unmodelled, match=r"vmt_modcmd.* acpi_match_hid"):
        machine.do("load")


def test_global_names_of_the_built_in_driver_are_refused_one_by_one() -> None:
    machine = _twin("-DGLOBAL_NAMES", builtin=True)
    assert machine.do("unload", "vmt") == 0
    assert machine.do("load") == ENOEXEC
    for name in ("vmt_ca", "vmt_cd"):
        line = (
            f"kobj_checksyms, 1045: [%Mtwin.kmod]: linker error: global symbol `{name}' redefined"
        )
        assert line in machine.console


def test_the_same_names_are_fine_where_the_kernel_has_none() -> None:
    assert _twin("-DGLOBAL_NAMES").do("load") == 0


def test_a_missing_requirement_is_named() -> None:
    machine = _twin('-DREQUIRES="sysmon_power,warp_drive"')
    assert machine.do("load") == ENOENT
    assert machine.console[-1].endswith(
        "recursive load failed for `vmt' (`warp_drive' required), error 2"
    )


def test_a_module_of_another_release_is_refused() -> None:
    machine = Machine(built("twin"), version=1_001_000_000)
    assert machine.do("load") == EPROGMISMATCH
    assert "built for `1100000000', system `1001000000'" in machine.console[-1]


def test_the_error_of_init_is_returned_and_nothing_stays() -> None:
    machine = _twin("-DFAILS")
    assert machine.do("load") == EIO
    assert machine.console[-1].endswith("modcmd(CMD_INIT) failed for `vmt', error 5")
    assert machine.kernel.subject(Modules).loaded == {}


def test_a_module_that_will_not_go_stays() -> None:
    machine = _twin("-DSTAYS")
    assert machine.do("load") == 0
    assert machine.do("unload", "vmt") == EBUSY
    assert "vmt" in machine.kernel.subject(Modules).loaded


def test_the_built_in_module_is_disabled_and_only_force_brings_it_back() -> None:
    machine = _twin(builtin=True)
    assert machine.do("load") == EEXIST
    assert machine.do("unload", "vmt") == 0
    assert machine.guest.kernel.subject(Modules).disabled == {"vmt"}
    assert machine.do("load", "vmt") == EPERM
    assert machine.console[-1].endswith("use -f to reinstate builtin module `vmt'")
    modules = machine.kernel.subject(Modules)
    assert machine.guest.wait("modload", modules.load("vmt", force=True)) == 0
    assert machine.do("load", "vmt") == EEXIST


def test_without_a_debug_twin_locations_are_function_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "rules.kmod"
    shutil.copy(built("rules"), path)
    machine = Machine(path)
    assert machine.do("load") == 0
    message = machine.panic("double_enter").message
    assert "by double_enter+0x" in message
    assert "rules.c" not in message


def test_a_kernel_with_debug_says_what_came_from_no_file_system() -> None:
    """module_do_load() in sys/kern/kern_module.c says it under DEBUG alone."""
    for checks, said in (
        (OPTIONS.values(), ["WARNING: module error: vfs load failed for `nothing', error 2"]),
        ((), []),
    ):
        machine = Machine(built("classic"), checks=frozenset(checks))
        before = len(machine.console)
        assert machine.do("load", "nothing") == ENOENT
        assert machine.console[before:] == said
