"""Interfaces and addresses that change, on another processor, while the driver reads the lists.

On a kernel without NET_MPSAFE (GENERIC has none) an address is freed at once, and the lists are
protected by KERNEL_LOCK; with it, by read sections: sys/net/if.c, ifa_remove().
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

KERNELS = pytest.mark.parametrize("net_mpsafe", [False, True], ids=["GENERIC", "NET_MPSAFE"])
# (calls of the kernel, then instructions) from where the lists begin to be read.
POINTS = tuple(zip(range(0, 100, 5), itertools.cycle((1, 7, 14, 25)), strict=False))
ADDRESSES = ["192.0.2.10/24", "2001:db8::10/64"]


def _meet(machine: Rig, point: tuple[int, int], **what: Any) -> None:
    """Schedule an action in the middle of the next walk, and start the walk."""
    lwp = machine.start("ifconfig", {**what, "reading": point})
    machine.run(0)
    assert machine.option("broadcastIP", "1").startswith(b"OK")
    assert machine.until(lambda: lwp.state == "gone")
    assert lwp.result == 0


@KERNELS
def test_card_and_addresses_may_vanish_during_collection(rig: Make, net_mpsafe: bool) -> None:
    machine = rig(net_mpsafe=net_mpsafe)
    machine.net.configure({"wm0": ADDRESSES})
    for point in POINTS[:: 3 if net_mpsafe else 1]:
        _meet(machine, point, interface="wm0", do="destroy")
        machine.net.configure({"wm0": ADDRESSES})
    machine.leave()


def test_current_address_may_vanish_during_walk(rig: Make) -> None:
    machine = rig()
    for point in POINTS[:8]:
        _meet(machine, point, interface="wm0", delete=ADDRESSES[0])
        machine.net.add_address("wm0", ADDRESSES[0])
    machine.leave()


def test_missing_interface_is_refused_as_by_ifconfig(rig: Make) -> None:
    machine = rig()
    assert machine.do("ifconfig", {"interface": "wm7", "do": "down"}) == 6  # ENXIO
    assert machine.do("ifconfig", {"interface": "wm0", "delete": "10.0.0.1/8"}) == 6
    machine.leave()
