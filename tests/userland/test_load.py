"""Replacing the kernel's driver, and restoring it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtctl import cli, elf, exits, system

if TYPE_CHECKING:
    from answers import Control

fakeguest = sys.modules["fakeguest"]

DETACH = "drvctl -d vmt0"
ATTACH = "drvctl -r -a cpufeaturebus cpu0"


def test_load_order_avoids_panic(vmtctl: Control, guest: Any) -> None:
    path = guest.module()
    assert vmtctl("load", "-m", path).status == 0
    state = guest.get()
    assert (state["panic"], state["attached"], state["module"]) == (None, "ours", path)
    assert guest.calls() == ["modunload vmt", f"modload {path}", DETACH, ATTACH]


def test_load_with_detached_vmt0_avoids_panic(vmtctl: Control, guest: Any) -> None:
    vmtctl("detach")
    assert vmtctl("load", "-m", guest.module()).status == 0
    state = guest.get()
    assert (state["panic"], state["attached"]) == (None, "ours")


def test_without_built_in_driver_modload_suffices(vmtctl: Control, guest: Any) -> None:
    guest.set(builtin=False, attached=None)
    path = guest.module()
    assert vmtctl("load", "-m", path).status == 0
    assert guest.calls() == [f"modload {path}"]
    assert vmtctl("unload").status == 0
    assert guest.get()["attached"] is None


def test_second_load_does_nothing(vmtctl: Control, guest: Any) -> None:
    path = guest.module()
    vmtctl("load", "-m", path)
    before = guest.calls()
    done = vmtctl("load", "-m", path, "--json")
    assert done.json["changed"] is False
    assert guest.calls() == before


def test_newer_file_replaces_loaded_module(vmtctl: Control, guest: Any) -> None:
    path = guest.module()
    vmtctl("load", "-m", path)
    guest.module(version=1100000100)
    assert vmtctl("load", "-m", path).status == 0
    assert guest.calls()[-2:] == ["modunload vmt", f"modload {path}"]
    assert guest.get()["attached"] == "ours"
    assert vmtctl("unload").status == 0
    assert guest.get()["attached"] == "stock"
    assert guest.get()["builtin_disabled"] is False


def test_unload_restores_kernel_driver(vmtctl: Control, guest: Any) -> None:
    vmtctl("load", "-m", guest.module())
    assert vmtctl("unload").status == 0
    state = guest.get()
    assert (state["attached"], state["module"], state["builtin_disabled"]) == ("stock", None, False)
    assert vmtctl("unload", "--json").json["changed"] is False


@pytest.mark.parametrize("fault", ["modunload vmt", "modload /", DETACH, ATTACH])
@pytest.mark.parametrize("how", ["Device busy", "silent"])
def test_failed_step_rolls_back(vmtctl: Control, guest: Any, fault: str, how: str) -> None:
    guest.set(faults={fault: how})
    assert vmtctl("load", "-m", guest.module()).status not in {0, exits.SOFTWARE}
    state = guest.get()
    assert state["panic"] is None
    assert state["module"] is None
    if fault != ATTACH:  # the stub's rescan also fails during the rollback
        assert state["attached"] == "stock"
    if fault != "modunload vmt":
        assert state["builtin_disabled"] is False


def test_kernel_message_is_reported(vmtctl: Control, guest: Any) -> None:
    path = guest.module()
    with Path(path).open("ab") as stream:
        stream.write(b"BAD RELOCATION")
    done = vmtctl("load", "-m", path)
    assert done.status == exits.DATA
    assert "symbol 'x' not found" in done.err
    assert "all steps were undone" in done.err
    assert guest.get()["builtin_disabled"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"version": 1001000000}, "built for NetBSD 10.1"),
        ({"machine": 183}, "for aarch64"),
        ({"name": "other"}, "module 'other'"),
        ({"machine": 8}, "ELF number 8"),
    ],
)
def test_incompatible_module_is_not_tried(
    vmtctl: Control, guest: Any, options: dict[str, Any], words: str
) -> None:
    done = vmtctl("load", "-m", guest.module(**options))
    assert done.status == exits.DATA
    assert words in done.err
    assert guest.calls() == []


def test_force_loads_module_of_other_release(vmtctl: Control, guest: Any) -> None:
    path = guest.module(version=1001000000)
    assert vmtctl("load", "--force", "-m", path).status == 0
    assert f"modload -f {path}" in guest.calls()


def test_without_name_package_module_is_loaded(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("load")
    assert done.status == exits.NO_INPUT
    assert "/usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod" in done.err
    place = guest.root / "usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod"
    place.parent.mkdir(parents=True)
    place.write_bytes(Path(guest.module()).read_bytes())
    assert vmtctl("load").status == 0


def test_package_of_other_release_is_named(vmtctl: Control, guest: Any) -> None:
    """pkg_add accepts a package of the same major release silently."""
    (guest.root / "usr/pkg/stand/amd64/11.1/modules/vmt").mkdir(parents=True)
    done = vmtctl("load")
    assert done.status == exits.NO_INPUT
    assert "the module for NetBSD 11.0 does not exist" in done.err
    assert "(the one for 11.1 is)" in done.err
    assert "hint: add the package netbsd-vmt for this release" in done.err


def test_without_name_outside_netbsd_is_an_error(vmtctl: Control, guest: Any) -> None:
    (guest.root / "sbin/sysctl").unlink()
    done = vmtctl("load", "--dry-run")
    assert done.status == exits.UNAVAILABLE
    assert "cannot determine where this kernel's module is: " in done.err
    assert "/sbin/sysctl does not exist\n" in done.err
    assert "hint: run vmtctl load on the NetBSD guest" in done.err
    assert "MACHINE" not in done.err


def test_load_is_refused_while_vmtoolsd_runs(vmtctl: Control, guest: Any) -> None:
    guest.set(processes=[[5, "vmtoolsd"]])
    assert vmtctl("load", "-m", guest.module()).status == exits.TEMPORARY
    assert guest.calls() == []


def test_sysctl_conf_period_is_set_after_load(vmtctl: Control, guest: Any) -> None:
    (guest.root / "etc/sysctl.conf").write_text("machdep.vmt0.clock_sync.period?=300\n")
    assert vmtctl("load", "-m", guest.module()).status == 0
    assert guest.get()["nodes"]["machdep.vmt0.clock_sync.period"] == "300"


def test_load_states_that_it_lasts_until_reboot(vmtctl: Control, guest: Any) -> None:
    assert "until the next boot" in vmtctl("load", "-m", guest.module()).err
    vmtctl("unload")
    (guest.root / "etc/rc.conf").write_text("vmtctl=YES\n")
    assert vmtctl("load", "-m", guest.module()).err == ""


def test_status_names_loaded_file(vmtctl: Control, guest: Any) -> None:
    path = guest.module()
    vmtctl("load", "-m", path)
    driver = vmtctl("status", "--json").json["driver"]
    assert driver["file"] == path
    assert (driver["loaded"], driver["in_charge"]) == ("module", "netbsd-vmt")
    assert driver["built_for"] == "11.0"


@pytest.mark.parametrize(
    ("module", "kernel", "taken"),
    [
        (1100000000, 1100000000, True),
        (1100000000, 1100009900, True),
        (1100000000, 1101000000, False),
        (1000000000, 1001000000, False),
        (1199000500, 1199000500, True),
        (1199000500, 1199000600, False),
    ],
)
def test_compatibility_rule_matches_kernel(module: int, kernel: int, taken: bool) -> None:
    assert elf.compatible(module, kernel) is taken


@pytest.mark.parametrize(
    ("machine", "wide", "arch"), [(62, True, "x86_64"), (183, True, "aarch64"), (3, False, "i386")]
)
def test_modules_of_every_machine_are_read(guest: Any, machine: int, wide: bool, arch: str) -> None:
    found = elf.read_module(guest.module(machine=machine, wide=wide))
    assert (found.machine_arch, found.name, found.release) == (arch, "vmt", "11.0")


def test_truncated_module_is_handled(guest: Any, tmp_path: Path) -> None:
    data = Path(guest.module()).read_bytes()
    path = tmp_path / "cut.kmod"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(exits.Failure):
            elf.read_module(str(path))


def cut_off(guest: Any, calls: int, *words: str) -> bool:
    """Run vmtctl in a process that dies right after its tool call number ``calls``.

    Returns whether it died so early.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 99
    status = 70
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        left = calls

        def run(tools: Any, tool: str, command: tuple[str, ...], limit: float) -> Any:
            nonlocal left
            answer = fakeguest.answer(Path(tools.path(tool)), command)
            left -= 1
            if left == 0:
                os._exit(99)
            return system.Result(*answer)

        system.Tools._run = run  # type: ignore[method-assign]
        status = cli.main([*words, "--tools-root", str(guest.root)])
    finally:
        os._exit(status)


@pytest.mark.parametrize("builtin", [True, False])
@pytest.mark.parametrize("verb", ["load", "unload"])
def test_killed_run_is_completed_by_next(
    vmtctl: Control, guest: Any, verb: str, builtin: bool
) -> None:
    path = guest.module()
    words = ("load", "-m", path) if verb == "load" else ("unload",)
    calls = 0
    died = True
    while died:
        calls += 1
        guest.write(fakeguest.fresh_state())
        guest.set(builtin=builtin, attached="stock" if builtin else None)
        if verb == "unload":
            assert vmtctl("load", "-m", path).status == 0
        died = cut_off(guest, calls, *words)
        done = vmtctl(*words)
        assert done.status == 0, (calls, done.err)
        state = guest.get()
        found = (state["attached"], state["module"], state["builtin_disabled"], state["panic"])
        if verb == "load":
            assert found == ("ours", path, builtin, None), calls
        else:
            assert found == ("stock" if builtin else None, None, False, None), calls
    assert calls > 6
