"""Detaching and attaching vmt0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtctl import exits

from tests.patience import HANG

if TYPE_CHECKING:
    from answers import Control

DETACH = "drvctl -d vmt0"
ATTACH = "drvctl -r -a cpufeaturebus cpu0"


def test_detach_removes_vmt0(vmtctl: Control, guest: Any) -> None:
    assert vmtctl("detach").status == 0
    assert guest.get()["attached"] is None
    assert guest.calls() == [DETACH]


def test_second_detach_does_nothing(vmtctl: Control, guest: Any) -> None:
    vmtctl("detach")
    done = vmtctl("detach", "--json")
    assert done.status == 0
    assert done.json["changed"] is False
    assert guest.calls() == [DETACH]


def test_attach_restores_vmt0(vmtctl: Control, guest: Any) -> None:
    vmtctl("detach")
    assert vmtctl("attach").status == 0
    assert guest.get()["attached"] == "stock"
    assert guest.calls() == [DETACH, ATTACH]
    assert vmtctl("attach").status == 0
    assert guest.calls() == [DETACH, ATTACH]


@pytest.mark.parametrize("verb", ["detach", "attach"])
def test_dry_run_changes_nothing(vmtctl: Control, guest: Any, verb: str) -> None:
    if verb == "attach":
        guest.set(attached=None)
    done = vmtctl(verb, "-n")
    assert done.status == 0
    assert "would" in done.out
    assert guest.calls() == []


def test_quiet_prints_nothing(vmtctl: Control) -> None:
    done = vmtctl("-q", "detach")
    assert (done.out, done.err) == ("", "")


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("Device busy", exits.TEMPORARY, "try again"),
        ("Permission denied", exits.NO_PERMISSION, "root"),
        ("Operation not supported", exits.UNAVAILABLE, "userconf=disable vmt"),
        ("Not supported", exits.UNAVAILABLE, "userconf=disable vmt"),
        ("silent", exits.TEMPORARY, "but it is attached"),
    ],
)
def test_failed_detach_reports_reason(
    vmtctl: Control, guest: Any, fault: str, status: int, words: str
) -> None:
    guest.set(faults={DETACH: fault})
    done = vmtctl("detach")
    assert done.status == status
    assert words in done.err


def test_hanging_tool_is_stopped(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmtctl import system

    run = system.Tools.run

    def run_with_short_limit(tools: system.Tools, *command: str) -> system.Result:
        hangs = " ".join(command) == DETACH
        return run(tools, *command, limit=0.3 if hangs else HANG)

    monkeypatch.setattr(system.Tools, "run", run_with_short_limit)
    guest.set(faults={DETACH: "hang"})
    done = vmtctl("detach")
    assert done.status == exits.UNAVAILABLE
    assert f"`{DETACH}` did not end within 0.3 seconds and was stopped" in done.err


def test_attach_is_refused_while_vmtoolsd_runs(vmtctl: Control, guest: Any) -> None:
    guest.set(attached=None, processes=[[77, "/usr/pkg/bin/vmtoolsd --background /x"]])
    done = vmtctl("attach")
    assert done.status == exits.TEMPORARY
    assert "pid 77" in done.err
    assert guest.calls() == []
    assert vmtctl("attach", "--force").status == 0


def test_editor_with_vmtoolsd_argument_is_no_daemon(vmtctl: Control, guest: Any) -> None:
    guest.set(attached=None, processes=[[77, "vi vmtoolsd"]])
    assert vmtctl("attach").status == 0


def _no_driver(guest: Any) -> None:
    guest.set(attached=None, builtin=False)


def _no_vmware(guest: Any) -> None:
    guest.set(attached=None, vmware=False)
    guest.kernel(machdep__hypervisor="KVM")


def _userconf(guest: Any) -> None:
    guest.set(attached=None, vmware=False)
    (guest.root / "boot.cfg").write_text("menu=Boot:boot\nuserconf=disable vmt\n")


def _hyperv(guest: Any) -> None:
    guest.set(attached=None, vmware=False, siblings=["hyperv0"])


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_no_driver, "vmtctl load"),
        (_no_vmware, "not a VMware machine"),
        (_userconf, "userconf=disable vmt"),
        (_hyperv, "hyperv0"),
    ],
)
def test_failed_attach_is_diagnosed(vmtctl: Control, guest: Any, prepare: Any, words: str) -> None:
    prepare(guest)
    done = vmtctl("attach")
    assert done.status in {exits.UNAVAILABLE, exits.CONFIG}
    assert words in done.err
    assert guest.calls() == [ATTACH]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("Invalid argument", "has no cpufeaturebus"),
        ("Operation not supported by device", "has no cpufeaturebus"),
        ("Device not configured", "there is no cpu0"),
    ],
)
def test_failed_rescan_is_explained(vmtctl: Control, guest: Any, fault: str, words: str) -> None:
    guest.set(attached=None, faults={ATTACH: fault})
    assert words in vmtctl("attach").err


def test_errors_have_json_form(vmtctl: Control, guest: Any) -> None:
    guest.set(faults={DETACH: "Device busy"})
    done = vmtctl("detach", "--json")
    assert done.json["error"]["status"] == done.status == exits.TEMPORARY
    assert done.json["error"]["hint"]


def test_without_drvctl_sysctl_nodes_show_state(vmtctl: Control, guest: Any) -> None:
    (guest.root / "sbin/drvctl").unlink()
    found = vmtctl("status", "--json").json
    assert found["device"]["attached"] is True
    assert any("drvctl" in problem for problem in found["problems"])


def test_non_netbsd_system_is_refused(vmtctl: Control, guest: Any) -> None:
    for tool in ("sbin/drvctl", "sbin/sysctl", "sbin/modstat", "bin/ps", "sbin/dmesg"):
        (guest.root / tool).unlink()
    done = vmtctl("status")
    assert done.status == 0
    assert "is this NetBSD?" in done.out
    done = vmtctl("detach")
    assert done.status == exits.UNAVAILABLE
    assert "cannot determine" in done.err
