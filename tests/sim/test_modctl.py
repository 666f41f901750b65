"""Loading and unloading have the output and results recorded on NetBSD/amd64 10.99.12."""

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
def test_module_loads_once_and_unloads(machine: str) -> None:
    made = _twin(machine=machine)
    assert made.do("load") == 0
    assert made.console[-1] == "twin: here"
    assert made.do("load") == EEXIST
    assert made.console[-1] == "WARNING: module error: module with name `vmt' already loaded"
    assert made.do("unload", "vmt") == 0
    assert made.do("unload", "vmt") == ENOENT
    assert made.do("load") == 0


def test_bare_name_is_searched_only_in_module_directory() -> None:
    assert _twin().do("load", "vmt") == ENOENT


def test_missing_file_is_enoent(tmp_path: Path) -> None:
    assert _twin().do("load", str(tmp_path / "vmt.kmod")) == ENOENT


def test_invalid_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vmt.kmod"
    path.write_bytes(b"#!/bin/sh\n" * 50)
    machine = _twin()
    assert machine.do("load", str(path)) == ENOEXEC
    assert "linker error" in machine.console[-2]


def test_module_that_crashes_kernel_panics(tmp_path: Path) -> None:
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


def test_call_of_unmodelled_symbol_stops_run() -> None:
    machine = _twin("-DUNMODELLED")
    with pytest.raises(Unmodelled, match=r"vmt_modcmd.* acpi_match_hid"):
        machine.do("load")


def test_global_names_of_built_in_driver_are_refused_one_by_one() -> None:
    machine = _twin("-DGLOBAL_NAMES", builtin=True)
    assert machine.do("unload", "vmt") == 0
    assert machine.do("load") == ENOEXEC
    for name in ("vmt_ca", "vmt_cd"):
        line = (
            f"kobj_checksyms, 1045: [%Mtwin.kmod]: linker error: global symbol `{name}' redefined"
        )
        assert line in machine.console


def test_global_names_are_accepted_without_built_in_driver() -> None:
    assert _twin("-DGLOBAL_NAMES").do("load") == 0


def test_missing_required_module_is_named() -> None:
    machine = _twin('-DREQUIRES="sysmon_power,warp_drive"')
    assert machine.do("load") == ENOENT
    assert machine.console[-1].endswith(
        "recursive load failed for `vmt' (`warp_drive' required), error 2"
    )


def test_module_for_another_release_is_refused() -> None:
    machine = Machine(built("twin"), version=1_001_000_000)
    assert machine.do("load") == EPROGMISMATCH
    assert "built for `1100000000', system `1001000000'" in machine.console[-1]


def test_init_error_is_returned_and_rolled_back() -> None:
    machine = _twin("-DFAILS")
    assert machine.do("load") == EIO
    assert machine.console[-1].endswith("modcmd(CMD_INIT) failed for `vmt', error 5")
    assert machine.kernel.subject(Modules).loaded == {}


def test_module_that_refuses_unload_stays() -> None:
    machine = _twin("-DSTAYS")
    assert machine.do("load") == 0
    assert machine.do("unload", "vmt") == EBUSY
    assert "vmt" in machine.kernel.subject(Modules).loaded


def test_built_in_module_is_disabled_and_needs_force_to_reload() -> None:
    machine = _twin(builtin=True)
    assert machine.do("load") == EEXIST
    assert machine.do("unload", "vmt") == 0
    assert machine.guest.kernel.subject(Modules).disabled == {"vmt"}
    assert machine.do("load", "vmt") == EPERM
    assert machine.console[-1].endswith("use -f to reinstate builtin module `vmt'")
    modules = machine.kernel.subject(Modules)
    assert machine.guest.wait("modload", modules.load("vmt", force=True)) == 0
    assert machine.do("load", "vmt") == EEXIST


def test_without_debug_twin_locations_are_function_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "rules.kmod"
    shutil.copy(built("rules"), path)
    machine = Machine(path)
    assert machine.do("load") == 0
    message = machine.panic("double_enter").message
    assert "by double_enter+0x" in message
    assert "rules.c" not in message


def test_debug_kernel_logs_module_not_from_file_system() -> None:
    """module_do_load() in sys/kern/kern_module.c prints it only with DEBUG."""
    for checks, message in (
        (OPTIONS.values(), ["WARNING: module error: vfs load failed for `nothing', error 2"]),
        ((), []),
    ):
        machine = Machine(built("classic"), checks=frozenset(checks))
        before = len(machine.console)
        assert machine.do("load", "nothing") == ENOENT
        assert machine.console[before:] == message
