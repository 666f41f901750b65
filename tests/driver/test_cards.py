"""The interfaces that the driver reports, their order, and the primary address.

A guest with taps or bridges has more interfaces than a message holds (open-vm-tools issues 100,
175 and 373): the virtual machine's cards come first, and the administrator's setting overrides.
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


def test_physical_cards_precede_tap_interfaces(rig: Make) -> None:
    machine = rig(before=_many_taps)
    seen = _seen(machine)
    assert len(seen) == 16
    assert seen[:3] == [[], ["192.0.2.77"], ["10.0.0.1"]]
    assert _primary(machine) == "192.0.2.77"
    machine.leave()


@pytest.mark.parametrize("mac", ["00:05:69", "00:0c:29", "00:1c:14", "00:50:56"])
def test_vmware_card_is_recognised_by_mac_prefix(rig: Make, mac: str) -> None:
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


def test_named_interface_is_reported_first(rig: Make) -> None:
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


def test_request_between_checks_does_not_hide_change(rig: Make) -> None:
    machine = rig(before=_many_taps)
    sent = len(machine.info(10))
    machine.host.send("Set_Option broadcastIP 1")
    assert machine.write("net.primary", "tap7") == 0
    machine.run(3)
    assert len(machine.info(10)) == sent + 1
    machine.leave()


def test_named_interface_without_address_yields_to_others(rig: Make) -> None:
    machine = rig(before=_many_taps)
    for name in ("wm0", "no7"):
        assert machine.write("net.primary", name) == 0
        assert _primary(machine) == "192.0.2.77"
    machine.leave()


def test_named_interface_ipv6_precedes_other_ipv4(
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
def test_excluded_interfaces_are_not_reported(rig: Make, names: str, left: int) -> None:
    machine = rig(before=_many_taps)
    assert machine.write("net.exclude", names) == 0
    machine.run(2)
    assert machine.read("net.exclude") == names
    assert len(_seen(machine)) == min(left, 16)
    machine.leave()


def test_excluded_interface_provides_no_primary_address(rig: Make) -> None:
    machine = rig(before=_many_taps)
    assert machine.write("net.exclude", "wm1") == 0
    assert _primary(machine) == "10.0.0.1"
    machine.leave()


def test_interface_name_nodes_check_length_and_permission(rig: Make) -> None:
    machine = rig()
    for node, size in (("net.primary", 16), ("net.exclude", 256)):
        assert machine.write(node, "x" * (size - 1)) == 0
        assert machine.write(node, "x" * size) == Errno.EINVAL
        assert machine.write(node, "wm0", uid=1000) == Errno.EPERM
        assert machine.read(node) == "x" * (size - 1)
        assert machine.call(node, new=b"").error == 0
        assert machine.read(node) == "x" * (size - 1)
    machine.leave()
