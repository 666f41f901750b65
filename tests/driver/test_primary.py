"""guestinfo.ip: the address that the host shows, from the boot on and whenever it changes.

A host asks for it once, right after the reset (Set_Option broadcastIP 1, in the log of
open-vm-tools issue 219 within 2 ms of the others). At boot that is before DHCP has an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

LOOKS = 35  # seconds: the interfaces are checked every 30


def _without_address(machine: Rig) -> None:
    machine.net.configure({"wm0": []})


def _sent(machine: Rig) -> list[str]:
    return [each.decode().partition(".ip ")[2] for each in machine.requests("info-set guestinfo")]


def test_address_assigned_after_request_is_reported(rig: Make) -> None:
    machine = rig(before=_without_address, option_burst=(("broadcastIP", "1"),))
    assert _sent(machine) == []
    machine.net.configure({"wm0": ["192.0.2.77/24"]})
    machine.run(LOOKS)
    assert _sent(machine) == ["192.0.2.77"]
    machine.leave()


def test_primary_address_changes_and_removal_are_reported(rig: Make) -> None:
    machine = rig()
    assert machine.option("broadcastIP", "1") == b"OK "
    for addresses in (["192.0.2.10/24"], ["198.51.100.1/24"], [], [], ["198.51.100.1/24"]):
        machine.net.configure({"wm0": addresses})
        machine.run(LOOKS)
    assert _sent(machine) == ["192.0.2.10", "198.51.100.1", "", "198.51.100.1"]
    machine.leave()


def test_nothing_is_sent_without_broadcast_ip_request(rig: Make) -> None:
    machine = rig(option_burst=(("broadcastIP", "0"),))
    machine.run(LOOKS)
    machine.option("broadcastIP", "1")
    machine.option("broadcastIP", "0")
    machine.net.configure({"wm0": ["198.51.100.1/24"]})
    machine.run(LOOKS)
    assert _sent(machine) == ["192.0.2.10"]
    machine.leave()


def test_broadcast_ip_request_holds_until_reset(rig: Make) -> None:
    machine = rig()
    machine.option("broadcastIP", "1")
    resets = machine.host.tclo.resets
    machine.host.lose_channel("tclo")
    assert machine.until(lambda: machine.host.tclo.resets > resets)
    machine.net.configure({"wm0": ["198.51.100.1/24"]})
    machine.run(LOOKS)
    assert _sent(machine) == ["192.0.2.10"]
    machine.leave()


def test_refused_address_is_resent_only_on_change(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("reject", command="info-set", times=1)
    assert machine.option("broadcastIP", "1") == b"ERROR Unable to carry out the option"
    machine.run(3 * LOOKS)
    refused = machine.stats("refused")
    machine.net.configure({"wm0": ["198.51.100.1/24"]})
    machine.run(LOOKS)
    assert _sent(machine)[-1] == "198.51.100.1"
    assert machine.stats("refused") == refused
    machine.leave()


def test_lost_address_is_resent_at_next_check(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("no-reply", command="info-set", times=2)
    assert machine.option("broadcastIP", "1") == b"ERROR Unable to carry out the option"
    sent = len(_sent(machine))
    machine.run(LOOKS)
    assert _sent(machine)[sent:] == ["192.0.2.10"]
    machine.leave()


def test_address_is_reported_to_host_without_nic_info(rig: Make) -> None:
    machine = rig(before=_without_address, unknown_guestinfo_keys=frozenset({10, 9, 2}))
    machine.option("broadcastIP", "1")
    machine.net.configure({"wm0": ["192.0.2.77/24"]})
    machine.run(LOOKS)
    assert _sent(machine) == ["192.0.2.77"]
    machine.leave()


def test_guest_info_starts_without_capabilities_request(rig: Make) -> None:
    machine = rig(capabilities_register=False, settle=False)
    assert machine.until(lambda: machine.host.tclo.resets > 0)
    reset = machine.now
    assert machine.until(lambda: bool(machine.info(10)))
    assert machine.now - reset < 10_000_000_000
    machine.run(LOOKS)
    assert machine.info(1) == [b"guest.example"]
    assert machine.requests("SetGuestDiskInfo")
    machine.leave()


def test_guest_info_waits_for_announced_capabilities(rig: Make) -> None:
    machine = rig(settle=False)
    assert machine.until(lambda: bool(machine.requests("SetGuestInfo")))
    assert machine.requests()[0].startswith(b"vmx.capability.unified_loop")
    machine.leave()
