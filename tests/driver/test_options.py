"""Set_Option: every name that hosts send, every kind of value, and unknown names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.host.options import OPTION_BURST

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

REFUSED = b"ERROR Unknown or invalid option"
# Names: open-vm-tools lib/include/vmware/guestrpc/tclodefs.h, timesync.h, powerops.h.
FLAGS = ("broadcastIP", "synctime", "time.synchronize.tools.enable",
         "time.synchronize.tools.startup", "time.synchronize.tools.startup.backward")  # fmt: skip
NOT_OURS = (
    "time.synchronize.guest.resync", "time.synchronize.guest.resync.timeout",
    "time.synchronize.allow", "toolScripts.afterPowerOn", "toolScripts.beforePowerOff",
    "toolScripts.afterResume", "toolScripts.beforeSuspend", "copypaste", "enableDnD", "autohide",
    "mapRootHgfsShare", "linkRootHgfsShare", "enableMessageBusTunnel", "guestLogLevel",
    "enableAppInfo", "enableGuestStoreAccess", "enableDeviceHelper",
)  # fmt: skip


def test_switches_accept_only_0_and_1(rig: Make) -> None:
    machine = rig()
    for name in FLAGS:
        for value in ("0", "1", "00", "01"):
            assert machine.option(name, value) == b"OK ", (name, value)
        for value in ("2", "-1", "x", "1x", "on", "1 1", "4294967296", "4294967297"):
            assert machine.option(name, value) == REFUSED, (name, value)
    machine.leave()


def test_seconds_must_be_number_in_range(rig: Make) -> None:
    machine = rig()
    for value in ("0", "1", "60", "4294967295"):
        assert machine.option("synctime.period", value) == b"OK "
    for value in ("-1", "4294967296", "99999999999999999999", "6x", "x", "6 6"):
        assert machine.option("synctime.period", value) == REFUSED
    assert "period 4294967295," in machine.read("clock_sync.host")
    machine.leave()


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0", "slew 0"), ("1", "slew 1"), ("2", "slew 1"), ("off", "slew 1"), ("00", "slew 0")],
)
def test_slew_correction_is_disabled_only_by_0(rig: Make, value: str, shown: str) -> None:
    machine = rig()
    assert machine.option("time.synchronize.tools.slewCorrection", value) == b"OK "
    assert f"{shown}," in machine.read("clock_sync.host")
    machine.leave()


@pytest.mark.parametrize(
    ("value", "percent"), [("1", 1), ("100", 100), ("0", 50), ("101", 50), ("-3", 50), ("x", 50)]
)
def test_slew_percentage_outside_1_to_100_defaults_to_50(
    rig: Make, value: str, percent: int
) -> None:
    machine = rig()
    assert machine.option("time.synchronize.tools.percentCorrection", value) == b"OK "
    assert machine.read("clock_sync.host").endswith(f"percent {percent}")
    machine.leave()


def test_irrelevant_options_are_accepted_silently(rig: Make) -> None:
    machine = rig()
    count = len(machine.requests())
    for name in NOT_OURS:
        for value in ("0", "1", "10", "none", "a b c"):
            assert machine.option(name, value) == b"OK ", name
    assert machine.log == []
    assert machine.console[-1].startswith("vmt0 at cpu0")
    assert [r for r in machine.requests()[count:] if not r.startswith(b"SetGuestInfo  ")] == []
    machine.leave()


@pytest.mark.parametrize(
    "text",
    ["Set_Option", "Set_Option ", "Set_Option  ", "Set_Option synctime", "Set_Option synctime ",
     "Set_Option  1", "Set_Option unknown 1", "Set_Option Synctime 1", "Set_Option synctimes 1",
     "Set_Option synctim 1", "Set_Option synctime  1"],
)  # fmt: skip
def test_unknown_option_is_refused_as_by_open_vm_tools(rig: Make, text: str) -> None:
    machine = rig()
    assert machine.ask(text) == REFUSED
    assert machine.read("clock_sync.host").startswith("synctime 0,")
    assert machine.log == []
    machine.leave()


@pytest.mark.parametrize("late", [0, 30])
def test_startup_of_current_host_logs_nothing(rig: Make, late: int) -> None:
    """With its pings, and the VIX command, which the driver does not implement."""
    machine = rig(
        option_burst=OPTION_BURST, power_on=True, broadcast_ip=late, ping=15, vix_probe=23
    )
    machine.run(60)
    answers = [e for e in machine.events("tclo.reply") if e["message"].startswith(b"Set_Option")]
    assert len(answers) == len(OPTION_BURST)
    assert all(e["ok"] for e in answers)
    assert len(machine.replies("ping")) == 4
    assert not machine.host.tools.guest_operations
    assert machine.log == []
    assert [line for line in machine.console if line.startswith("vmt0:")] == []
    assert machine.requests("info-set") == [b"info-set guestinfo.ip 192.0.2.10"]
    machine.leave()


@pytest.mark.parametrize("fault", ["reject", "no-reply"])
def test_failed_option_is_answered_with_error(rig: Make, fault: str) -> None:
    machine = rig()
    machine.host.faults.arm(fault, command="info-set", times=2)
    assert machine.option("broadcastIP", "1") == b"ERROR Unable to carry out the option"
    machine.leave()


def test_broadcast_ip_is_answered_after_allocation_failure(rig: Make) -> None:
    machine = rig()
    machine.kmem.refuse = lambda _size: True
    assert machine.option("broadcastIP", "1") == b"OK "
    assert machine.requests("info-set") == []
    machine.kmem.refuse = lambda _size: False
    machine.leave()
