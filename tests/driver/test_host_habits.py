"""The driver with hosts as public logs show them (docs/host-evidence.md): refusals by
configuration, second clients, a reboot in progress, moves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.host.options import OPTION_BURST

if TYPE_CHECKING:
    from .conftest import Make
    from .rig import Rig

# The messages that a current host sends by itself.
SENDS_EVERYTHING: dict[str, Any] = {
    "option_burst": OPTION_BURST, "power_on": True, "ping": 15, "vix_probe": 23,
}  # fmt: skip


def refused(machine: Rig) -> Counter[str]:
    return Counter(event["command"] for event in machine.events("rpci") if not event["ok"])


@pytest.mark.parametrize("old", [False, True])
def test_refused_guest_info_is_sent_once_per_item(rig: Make, old: bool) -> None:
    """isolation.tools.setinfo.disable; with an old host's smaller set of keys, too."""
    keys = frozenset({10, 11} if old else ())
    machine = rig(setinfo=False, unknown_guestinfo_keys=keys, **SENDS_EVERYTHING)
    machine.run(5)
    first = refused(machine)
    machine.run(600)
    assert set(first) == {"SetGuestInfo", "SetGuestDiskInfo", "info-set"}
    assert refused(machine) == first
    assert len([line for line in machine.console if line.startswith("vmt0:")]) == 0
    assert machine.host.tools.power_operations
    assert machine.ask("OS_Reboot") == b"OK "
    machine.leave()


@pytest.mark.parametrize(
    "command", ["info-set", "tools.set.versiontype", "tools.capability.statechange"]
)
def test_denied_command_is_not_repeated_and_blocks_nothing(rig: Make, command: str) -> None:
    machine = rig(denied_commands=frozenset({command}), **SENDS_EVERYTHING)
    machine.run(300)
    assert refused(machine) == {command: 1}
    assert machine.host.guestinfo.decoded[1] == "guest.example"
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_snapshot_with_refused_events_does_not_start(rig: Make) -> None:
    machine = rig(privileged=False)
    machine.host.backup.start()
    machine.run(10)
    assert machine.replies("vmbackup.start 1") == [b"ERROR Error initializing quiesce operation."]
    assert (machine.host.backup.state, machine.host.backup.completed) == ("idle", 0)
    machine.leave()


@pytest.mark.parametrize("policy", ["newest", "first", "both"])
def test_driver_reconnects_after_second_client_left(rig: Make, policy: str) -> None:
    machine = rig(second_client=policy)
    machine.run(70)
    machine.host.steal_channel(60)
    machine.host.lose_channel("tclo")
    machine.run(62)
    assert machine.until(lambda: machine.host.tclo.channel, 10)
    machine.settle()
    assert machine.ask("ping") == b"OK "
    assert machine.host.tools.power_operations
    machine.leave()


def test_second_client_refused_by_host_does_not_disturb_driver(rig: Make) -> None:
    machine = rig(second_client="first")
    machine.run(70)
    machine.host.steal_channel(60)
    machine.run(70)
    assert len(machine.events("tclo.refused")) == 60
    assert machine.stats("reopens") == 0
    machine.leave()


def test_uptime_is_sent_with_registration(rig: Make) -> None:
    """Otherwise a host would consider a reboot unfinished forever, and request no other."""
    machine = rig()
    assert machine.ask("OS_Reboot") == b"OK "
    assert machine.host.power.guest_state == "resetting"
    # The host's information about the guest that should reboot.
    machine.host.guestinfo.decoded[7] = 100 * 3600 * 100
    machine.host.lose_channel("all")
    machine.run(30)
    assert machine.host.power.guest_state == "running"
    assert machine.host.power.restarts == 1
    machine.leave()


@pytest.mark.parametrize("move", ["migrate", "snapshot_revert"])
def test_move_without_lost_channels_reconnects_nothing(rig: Make, move: str) -> None:
    machine = rig()
    machine.run(10)
    getattr(machine.host, move)()
    machine.run(10)
    assert machine.replies("Time_Synchronize 0") == [b"OK "]
    assert machine.stats("reopens") == 0
    machine.leave()
