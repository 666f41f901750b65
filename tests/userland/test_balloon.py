"""Loading and unloading the memory balloon: on a fake guest, and with the real module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from test_load import cut_off
from vmtctl import exits
from vmtgen.build.compile import build_module
from vmtgen.resources import directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from answers import Control
    from simguest import SimGuest

fakeguest = sys.modules["fakeguest"]

PLACE = "usr/pkg/stand/amd64/11.0/modules/vmmemctl/vmmemctl.kmod"
RESCAN = "drvctl -r -a cpufeaturebus cpu0"
UNLOAD = "modunload vmmemctl"


def install(guest: Any, **options: Any) -> str:
    """Put the file of the package there; its path."""
    path = guest.root / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fakeguest.module_file(name="vmmemctl", **options))
    return str(path)


def loaded(guest: Any) -> tuple[bool, bool]:
    """Whether the module is loaded, and its device attached."""
    state = guest.get()
    return state["balloon"], "vmmemctl0" in state["siblings"]


def test_load_and_unload_do_not_touch_vmt(vmtctl: Control, guest: Any) -> None:
    path = install(guest)
    assert vmtctl("load", "vmmemctl").out == f"loaded {path}\nattached vmmemctl0\n"
    assert loaded(guest) == (True, True)
    done = vmtctl("unload", "vmmemctl")
    assert done.out == "unloaded the module vmmemctl: the host has no page of this guest\n"
    assert loaded(guest) == (False, False)
    assert guest.calls() == [f"modload {path}", UNLOAD]
    assert guest.get()["attached"] == "stock"


def test_load_works_while_vmtoolsd_runs(vmtctl: Control, guest: Any) -> None:
    install(guest)
    guest.set(processes=[[5, "vmtoolsd"]])
    assert vmtctl("load", "vmmemctl").status == 0
    assert vmtctl("unload", "vmmemctl").status == 0


def test_second_load_and_unload_do_nothing(vmtctl: Control, guest: Any) -> None:
    install(guest)
    assert vmtctl("unload", "vmmemctl", "--json").json["changed"] is False
    assert vmtctl("load", "vmmemctl", "--json").json["changed"] is True
    before = guest.calls()
    assert vmtctl("load", "vmmemctl", "--json").json["changed"] is False
    assert guest.calls() == before


def test_each_driver_has_a_record_of_its_own(vmtctl: Control, guest: Any) -> None:
    install(guest)
    path = guest.module()
    for words in (("load", "-m", path), ("load", "vmmemctl")):
        assert vmtctl(*words).status == 0
    before = guest.calls()
    for words in (("load", "-m", path), ("load", "vmmemctl")):
        assert vmtctl(*words, "--json").json["changed"] is False
    assert vmtctl("unload", "vmmemctl").status == 0
    assert guest.calls() == [*before, UNLOAD]
    assert vmtctl("status", "--json").json["driver"]["file"] == path


def test_newer_file_replaces_loaded_balloon(vmtctl: Control, guest: Any) -> None:
    path = install(guest)
    vmtctl("load", "vmmemctl")
    install(guest, version=1100000100)
    assert vmtctl("load", "vmmemctl").status == 0
    assert guest.calls() == [f"modload {path}", UNLOAD, f"modload {path}"]
    assert loaded(guest) == (True, True)


def test_refused_newer_file_brings_old_one_back(vmtctl: Control, guest: Any) -> None:
    old = guest.root / "old.kmod"
    old.write_bytes(fakeguest.module_file(name="vmmemctl"))
    vmtctl("load", "vmmemctl", "-m", str(old))
    path = install(guest)
    guest.set(faults={f"modload {path}": "Exec format error"})
    done = vmtctl("load", "vmmemctl")
    assert done.status == exits.DATA
    assert f"linker refused it; {old} is loaded again" in done.err
    assert loaded(guest) == (True, True)


def test_detached_balloon_is_attached_by_load(vmtctl: Control, guest: Any) -> None:
    install(guest)
    vmtctl("load", "vmmemctl")
    fakeguest.tool("drvctl", str(guest.file), ["-d", "vmmemctl0"])
    assert loaded(guest) == (True, False)
    assert vmtctl("load", "vmmemctl").out == "attached vmmemctl0\n"
    assert guest.calls()[-1] == RESCAN
    assert loaded(guest) == (True, True)


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_killed_run_is_completed_by_next(vmtctl: Control, guest: Any, verb: str) -> None:
    install(guest)
    calls = 0
    died = True
    while died:
        calls += 1
        guest.write(fakeguest.fresh_state())
        if verb == "unload":
            assert vmtctl("load", "vmmemctl").status == 0
        died = cut_off(guest, calls, verb, "vmmemctl")
        assert vmtctl(verb, "vmmemctl").status == 0, calls
        assert loaded(guest) == ((True, True) if verb == "load" else (False, False)), calls
        assert vmtctl("load", "vmmemctl", "--json").json["changed"] is (verb == "unload")
    assert calls > 3


@pytest.mark.parametrize("missing", [{"balloon_offered": False}, {"vmware": False}])
def test_load_without_balloon_of_the_host_leaves_nothing(
    vmtctl: Control, guest: Any, missing: dict[str, Any]
) -> None:
    install(guest)
    guest.set(**missing)
    done = vmtctl("load", "vmmemctl")
    assert done.status == exits.UNAVAILABLE
    assert "vmmemctl0 did not attach; the module is unloaded again" in done.err
    assert "hint: the host has no balloon for this guest" in done.err
    assert loaded(guest) == (False, False)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({UNLOAD: "Device busy"}, "the module is not unloaded: modunload: vmmemctl: Device busy"),
        (
            {UNLOAD: "silent"},
            "modunload reports that it unloaded vmmemctl, but modstat still shows",
        ),
    ],
)
def test_failed_unload_is_an_error(
    vmtctl: Control, guest: Any, fault: dict[str, str], words: str
) -> None:
    install(guest)
    vmtctl("load", "vmmemctl")
    guest.set(faults=fault)
    done = vmtctl("unload", "vmmemctl")
    assert done.status not in {0, exits.SOFTWARE}
    assert words in done.err


def test_silent_modload_is_an_error(vmtctl: Control, guest: Any) -> None:
    install(guest)
    guest.set(faults={"modload /": "silent"})
    done = vmtctl("load", "vmmemctl")
    assert done.status not in {0, exits.SOFTWARE}
    assert "but modstat does not show it" in done.err


def test_securelevel_is_the_reason(vmtctl: Control, guest: Any) -> None:
    install(guest)
    guest.kernel(kern__securelevel="1")
    guest.set(faults={"modload /": "Operation not permitted"})
    done = vmtctl("load", "vmmemctl")
    assert done.status == exits.NO_PERMISSION
    assert "kern.securelevel is 1, which forbids it" in done.err


@pytest.mark.parametrize("name", ["vmt", "vmmemctl"])
def test_module_of_the_other_driver_is_refused(vmtctl: Control, guest: Any, name: str) -> None:
    other = {"vmt": "vmmemctl", "vmmemctl": "vmt"}[name]
    done = vmtctl("load", name, "-m", guest.module(name=other))
    assert done.status == exits.DATA
    assert f"is the module {other!r}, not {name}" in done.err
    assert guest.calls() == []


def test_missing_package_is_named(vmtctl: Control, guest: Any) -> None:
    (guest.root / "usr/pkg/stand/amd64/11.1/modules/vmmemctl").mkdir(parents=True)
    done = vmtctl("load", "vmmemctl")
    assert done.status == exits.NO_INPUT
    assert f"/{PLACE} (the one for 11.1 is)" in done.err
    assert "netbsd-vmmemctl for this release, made by: vmtgen dist --module vmmemctl" in done.err


def test_dry_run_of_balloon_changes_nothing(vmtctl: Control, guest: Any) -> None:
    path = install(guest)
    done = vmtctl("load", "vmmemctl", "-n")
    assert done.out == (
        f"would load {path}\nwould attach vmmemctl0, where the host has a balloon\n"
    )
    assert guest.calls() == []
    vmtctl("load", "vmmemctl")
    before = guest.calls()
    assert vmtctl("unload", "vmmemctl", "-n").out == "would unload the module vmmemctl\n"
    assert guest.calls() == before


def test_unknown_driver_is_a_usage_error(vmtctl: Control) -> None:
    done = vmtctl("load", "vmemctl")
    assert done.status == exits.USAGE
    assert "(did you mean 'vmmemctl'?)" in done.err


def test_sysctl_conf_floor_is_set_after_load(vmtctl: Control, guest: Any) -> None:
    install(guest)
    (guest.root / "etc/sysctl.conf").write_text(
        "machdep.vmt0.clock_sync.period?=9\nmachdep.vmmemctl0.floor?=256\n"
    )
    done = vmtctl("load", "vmmemctl")
    assert done.out.endswith("attached vmmemctl0\nset machdep.vmmemctl0.floor to 256\n")
    assert guest.get()["kernel"]["machdep.vmmemctl0.floor"] == "256"


@pytest.mark.parametrize(
    ("files", "at_boot"),
    [
        ({}, False),
        ({"etc/rc.conf": "vmtctl=YES\n"}, False),
        ({"etc/rc.conf": "vmtctl_balloon=YES\n"}, False),
        ({"etc/rc.conf": "vmtctl=YES\nvmtctl_balloon=YES\n"}, True),
        ({"etc/rc.conf": "vmtctl=YES\n", "etc/rc.conf.d/vmtctl": "vmtctl_balloon=YES\n"}, True),
        ({"etc/modules.conf": f"/{PLACE}\n"}, True),
    ],
)
def test_load_states_how_the_balloon_is_loaded_at_boot(
    vmtctl: Control, guest: Any, files: dict[str, str], at_boot: bool
) -> None:
    install(guest)
    for name, text in files.items():
        (guest.root / name).write_text(text)
    assert ("vmtctl_balloon=YES in /etc/rc.conf" in vmtctl("load", "vmmemctl").err) is not at_boot


def test_load_gives_the_host_pages_and_unload_takes_them_back(
    start: Callable[..., SimGuest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With both real modules in the simulated guest."""
    from answers import Control

    module = build_module(directory("kmod") / "vmmemctl", out=tmp_path / "balloon").path
    guest = start()
    place = guest.root / PLACE
    place.parent.mkdir(parents=True)
    place.write_bytes(module.read_bytes())
    guest.advance(3)
    vmtctl = Control(guest, capsys)
    done = vmtctl("load", "vmmemctl")
    assert (done.status, done.out) == (0, f"loaded {place}\nattached vmmemctl0\n"), done.err
    guest.host("balloon", "5000")
    guest.advance(30)
    assert vmtctl("status", "--json").json["balloon"]["size"] == 5000
    guest.tool("sbin/drvctl", "-d", "vmmemctl0")
    rows = {row["name"]: row for row in vmtctl("doctor", "--json").json["findings"]}
    assert rows["balloon-detached"]["fix"].endswith(" load vmmemctl")
    assert vmtctl("load", "vmmemctl").out == "attached vmmemctl0\n"
    guest.advance(30)
    assert vmtctl("status", "--json").json["balloon"]["size"] == 5000
    assert vmtctl("unload", "vmmemctl").status == 0
    assert "the balloon has 0 of 5000 pages" in guest.host("balloon", "5000")
    assert vmtctl("status", "--json").json["device"]["attached"] is True
