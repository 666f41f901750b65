"""Log messages go to the console, or only to syslog, at a limited rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common.located import load_yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .rig import Rig

    Make = Callable[..., Rig]

EEXIST = 17


def _ours(machine: Rig) -> list[str]:
    return [line for line in machine.console if line.startswith("vmt0:")]


def test_idle_hour_prints_nothing(rig: Make) -> None:
    machine = rig(option_burst=(("synctime", "0"),), broadcast_ip=30, ping=60)
    machine.run(3700)
    assert _ours(machine) == []
    assert machine.log == []
    machine.leave()


def test_unreachable_host_logs_one_line(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    machine.host.faults.arm("table-full", times=100000)
    machine.host.lose_channel("all")
    machine.run(3600)
    assert _ours(machine) == []
    assert len(machine.log) <= 3
    machine.host.faults.disarm()
    assert machine.until(lambda: machine.host.tclo.channel, 120)
    machine.settle()
    assert machine.log[-1] == "the channel to the host is open again"
    machine.leave()


@pytest.mark.parametrize(
    ("message", "state", "says"),
    [("OS_Suspend", 5, "host suspends"), ("OS_Resume", 4, "host resumed"),
     ("OS_Halt", 1, "host requests shutdown"), ("OS_Reboot", 2, "host requests reboot")],
)  # fmt: skip
def test_request_flood_is_rate_limited_in_log(
    rig: Make, message: str, state: int, says: str
) -> None:
    machine = rig()
    for _ in range(60):
        machine.host.send(message)
    since = machine.now
    assert machine.until(lambda: machine.host.tclo.idle)
    assert machine.now - since < 3_000_000_000
    # Five a second; the host's log gets no more either.
    assert 5 <= len(_ours(machine)) <= 15
    assert len(machine.requests(f"log toolbox: {says}")) == len(_ours(machine))
    assert len(machine.requests(f"tools.os.statechange.status 1 {state}")) == 60
    machine.leave()


@pytest.mark.parametrize("name", ["channel-lost", "info-refused", "clock-stepped"])
def test_routine_messages_go_to_syslog_only(rig: Make, root: Path, name: str) -> None:
    logs: Any = load_yaml(root / "specs" / "vmt" / "driver.yaml").plain()
    assert not logs["logs"][name]["console"]
    machine = rig()
    machine.run(70)
    if name == "channel-lost":
        machine.host.lose_channel("tclo")
    elif name == "info-refused":
        machine.host.faults.arm("reject", command="SetGuestInfo")
        machine.do("hostname", "other.example")
    else:
        machine.host.clock.jump(10**12)
    machine.run(70)
    head = logs["logs"][name]["text"].partition("{")[0].rstrip()
    assert [line for line in machine.log if line.startswith(head)]
    assert _ours(machine) == []
    machine.leave()


def test_failed_attach_logs_one_line(rig: Make) -> None:
    machine = rig(load=False)
    machine.kmem.refuse = lambda _size: True
    assert machine.do("load") == 0
    machine.kmem.refuse = lambda _size: False
    assert machine.console[2:] == [
        "vmt0 at cpu0: VMware Tools driver",
        "vmt0: not started: cannot allocate the message buffer (error 12)",
    ]
    machine.leave()


def test_second_load_logs_one_line(rig: Make) -> None:
    """By the module's name: it has no global symbol that the loader would refuse first."""
    machine = rig()
    before = len(machine.console)
    assert machine.do("load") == EEXIST
    assert machine.console[before:] == [
        "WARNING: module error: module with name `vmt' already loaded"
    ]
    machine.leave()
