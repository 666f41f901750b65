"""Which interfaces the host gets to see, in which order, and whose address is the guest's.

A host of taps or bridges has more of them than a message holds (open-vm-tools issues 100, 175 and
373): cards of the virtual machine come first, and the administrator has the last word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import Errno

from . import nicinfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

TAPS = {f"tap{n}": [f"10.0.{n}.1/30"] for n in range(20)}


def _many_taps(machine: Rig) -> None:
    machine.net.configure({"wm0": [], **TAPS, "wm1": ["192.0.2.77/24"]})


def _seen(machine: Rig) -> list[list[str]]:
    """The addresses of each interface, in the order of the last message."""
    last = nicinfo.unpack(machine.info(10)[-1])
    return [[ip["address"] for ip in card["ips"]] for card in last["nics"]]


def _primary(machine: Rig) -> str:
    machine.option("broadcastIP", "1")
    return machine.requests("info-set guestinfo.ip")[-1].decode().split()[-1]


def test_cards_of_the_virtual_machine_come_before_twenty_taps(rig: Make) -> None:
    machine = rig(before=_many_taps)
    seen = _seen(machine)
    assert len(seen) == 16
    assert seen[:3] == [[], ["192.0.2.77"], ["10.0.0.1"]]
    assert _primary(machine) == "192.0.2.77"
    machine.leave()


@pytest.mark.parametrize("mac", ["00:05:69", "00:0c:29", "00:1c:14", "00:50:56"])
def test_a_card_of_vmware_is_known_by_its_address(rig: Make, mac: str) -> None:
    """The four blocks that the IEEE gave to VMware."""

    def cards(machine: Rig) -> None:
        machine.net.configure({})
        machine.net.add("re0", mac="00:e0:4c:01:02:03")
        machine.net.add_address("re0", "198.51.100.1/24")
        machine.net.add("vmx0", mac=f"{mac}:01:02:03")
        machine.net.add_address("vmx0", "192.0.2.1/24")

    machine = rig(before=cards)
    assert _seen(machine) == [["192.0.2.1"], ["198.51.100.1"]]
    assert _primary(machine) == "192.0.2.1"
    machine.leave()


def test_the_administrator_names_the_interface_that_comes_first(rig: Make) -> None:
    machine = rig(before=_many_taps)
    assert machine.write("net.primary", "tap7") == 0
    machine.run(2)
    assert _seen(machine)[0] == ["10.0.7.1"]
    assert _primary(machine) == "10.0.7.1"
    assert machine.read("net.primary") == "tap7"
    assert machine.write("net.primary", "") == 0
    machine.run(2)
    assert _seen(machine)[1] == ["192.0.2.77"]
    machine.leave()


def test_a_question_of_the_host_in_between_does_not_hide_the_change(rig: Make) -> None:
    machine = rig(before=_many_taps)
    sent = len(machine.info(10))
    machine.host.send("Set_Option broadcastIP 1")
    assert machine.write("net.primary", "tap7") == 0
    machine.run(3)
    assert len(machine.info(10)) == sent + 1
    machine.leave()


def test_a_named_interface_without_address_leaves_it_to_the_others(rig: Make) -> None:
    machine = rig(before=_many_taps)
    for name in ("wm0", "no7"):
        assert machine.write("net.primary", name) == 0
        assert _primary(machine) == "192.0.2.77"
    machine.leave()


def test_the_global_ipv6_address_of_the_named_interface_goes_before_ipv4_of_others(
    rig: Make,
) -> None:
    def cards(machine: Rig) -> None:
        machine.net.configure({"wm0": ["192.0.2.1/24"], "wm1": ["2001:db8::7/64"]})

    machine = rig(before=cards)
    assert _primary(machine) == "192.0.2.1"
    assert machine.write("net.primary", "wm1") == 0
    assert _primary(machine) == "2001:db8::7"
    machine.leave()


@pytest.mark.parametrize(
    ("names", "left"),
    [("tap*", 2), ("tap* wm0", 1), ("tap1*,wm1", 10), ("tap1", 21), ("*", 0), (" , ,", 22),
     ("ta wm", 22), ("tap0,tap1, tap2", 19)],
)  # fmt: skip
def test_interfaces_may_be_left_out(rig: Make, names: str, left: int) -> None:
    machine = rig(before=_many_taps)
    assert machine.write("net.exclude", names) == 0
    machine.run(2)
    assert machine.read("net.exclude") == names
    assert len(_seen(machine)) == min(left, 16)
    machine.leave()


def test_an_excluded_interface_lends_no_address(rig: Make) -> None:
    machine = rig(before=_many_taps)
    assert machine.write("net.exclude", "wm1") == 0
    assert _primary(machine) == "10.0.0.1"
    machine.leave()


def test_names_have_bounds_and_an_owner(rig: Make) -> None:
    machine = rig()
    for node, size in (("net.primary", 16), ("net.exclude", 256)):
        assert machine.write(node, "x" * (size - 1)) == 0
        assert machine.write(node, "x" * size) == Errno.EINVAL
        assert machine.write(node, "wm0", uid=1000) == Errno.EPERM
        assert machine.read(node) == "x" * (size - 1)
        assert machine.call(node, new=b"").error == 0
        assert machine.read(node) == "x" * (size - 1)
    machine.leave()
