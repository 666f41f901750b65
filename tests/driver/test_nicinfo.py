"""Interfaces and addresses as the host gets them, read by an independent XDR codec."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from vmtsim.host import nic as decoder

from . import nicinfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

MAC = "00:0c:29:3e:5a:01"
LINK_LOCAL = "fe80::20c:29ff:fe3e:5a01/64"
PERIOD = 31  # s between checks, and one more

# NIC 00:0c:29:aa:bb:cc with 192.0.2.10/24 and 2001:db8::10/64, default route through 192.0.2.1:
# computed by hand from lib/guestRpc/nicinfo.x of open-vm-tools.
WORKED = bytes.fromhex(
    "00000003 00000001 00000001 00000011"
    "30303a30 633a3239 3a61613a 62623a63"
    "63000000 00000002 00000001 00000004"
    "c000020a 00000018 00000000 00000001"
    "00000001 00000002 00000010 20010db8"
    "00000000 00000000 00000010 00000040"
    "00000000 00000001 00000005 00000000"
    "00000000 00000000 00000000 00000001"
    "00000001 00000004 00000000 00000000"
    "00000001 00000001 00000004 c0000201"
    "00000000 00000004 00000000 00000000"
    "00000000 00000000 00000000"
)
WORKED_NIC = ("00:0c:29:aa:bb:cc", ["192.0.2.10/24", "2001:db8::10/64"])


def _sent(machine: Rig, key: int = 10) -> list[bytes]:
    return machine.info(key)


def _addresses(data: bytes) -> dict[str, list[str]]:
    return {
        nic["mac"]: [f"{ip['address']}/{ip['prefix']}" for ip in nic["ips"]]
        for nic in nicinfo.unpack(data)["nics"]
    }


def _bare(machine: Rig) -> None:
    machine.net.clear()


def test_both_codecs_agree_on_worked_example() -> None:
    routes = [("0.0.0.0/0", "192.0.2.1", 0, nicinfo.REMOTE, 0)]
    assert len(WORKED) == 188
    assert nicinfo.pack([WORKED_NIC], routes=routes) == WORKED
    theirs, ours = nicinfo.unpack(WORKED), decoder.decode_v3(WORKED)
    assert [nic["mac"] for nic in theirs["nics"]] == [WORKED_NIC[0]]
    assert _addresses(WORKED) == {WORKED_NIC[0]: WORKED_NIC[1]}
    assert [ip["address"] for ip in ours["nics"][0]["ips"]] == ["192.0.2.10", "2001:db8::10"]
    assert [ip["status"] for ip in ours["nics"][0]["ips"]] == ["preferred", "unknown"]
    (route,) = theirs["routes"]
    assert route == {"destination": "0.0.0.0", "prefix": 0, "next_hop": "192.0.2.1", "nic": 0,
                     "type": nicinfo.REMOTE, "metric": 0}  # fmt: skip
    assert [each["next_hop"] for each in ours["routes"]] == ["192.0.2.1"]


def test_driver_sends_nic_of_worked_example(rig: Make) -> None:
    """Except the route, which has its own test, and the host name, which it reports."""

    machine = rig(before=lambda rig: rig.only_card(*WORKED_NIC), hostname="")
    assert _sent(machine) == [nicinfo.pack([WORKED_NIC])]
    nics = 4 * 31  # up to the number of routes
    assert _sent(machine)[0][:nics] == WORKED[:nics]
    machine.leave()


def test_all_up_interfaces_are_reported_with_addresses(rig: Make) -> None:
    def cards(machine: Rig) -> None:
        net = machine.net
        net.add("wm1", mac="00:0c:29:00:00:11")
        for text in ("198.51.100.7/25", "203.0.113.1/32", "2001:db8:1::1/128", "fe80::1/10"):
            net.add_address("wm1", text)
        net.add("wm2", mac="00:0c:29:00:00:22", up=False)
        net.add_address("wm2", "198.51.100.9/25")
        net.add("wm3", mac="00:0c:29:00:00:33")
        net.add("tun0", kind="tunnel")
        net.add_address("tun0", "10.1.2.3/32", destination="10.1.2.4")

    machine = rig(before=cards)
    (sent,) = _sent(machine)
    found = nicinfo.unpack(sent)
    assert _addresses(sent) == {
        MAC: [LINK_LOCAL, "192.0.2.10/24", "2001:db8::10/64"],
        "00:0c:29:00:00:11": ["198.51.100.7/25", "203.0.113.1/32", "2001:db8:1::1/128",
                              "fe80::1/10"],
        "00:0c:29:00:00:33": [],
    }  # fmt: skip
    for nic in found["nics"]:
        assert {ip["origin"] for ip in nic["ips"]} <= {None}
        for ip in nic["ips"]:
            expected = nicinfo.UNKNOWN if ":" in ip["address"] else nicinfo.PREFERRED
            assert ip["status"] == expected
        assert [nic[name] for name in ("dns", "wins", "dhcp4", "dhcp6")] == [None] * 4
    assert found["dns"] == {"host": b"guest.example", "domain": None, "servers": [], "search": []}
    assert [found[name] for name in ("wins", "dhcp4", "dhcp6")] == [None] * 3
    # The kernel keeps the interface's number in a link-local address: the host must not see it.
    at = sent.index(ipaddress.ip_address("fe80::1").packed)
    assert sent[at + 2 : at + 4] == b"\0\0"
    machine.leave()


def test_loopback_addresses_on_other_interfaces_are_omitted(rig: Make) -> None:
    def card(machine: Rig) -> None:
        machine.net.add_address("wm0", "127.0.0.2/8")
        machine.net.add_address("wm0", "::1/128")
        machine.net.add_address("wm0", "0.0.0.0/0")
        machine.net.add_address("wm0", "::/0")

    machine = rig(before=card)
    (sent,) = _sent(machine)
    assert _addresses(sent) == {MAC: [LINK_LOCAL, "192.0.2.10/24", "2001:db8::10/64"]}
    machine.leave()


def test_host_name_is_reported_without_interfaces(rig: Make) -> None:
    machine = rig(before=_bare)
    assert _sent(machine) == [nicinfo.pack([], host="guest.example")]
    machine.leave()


@pytest.mark.parametrize("length", [1, 3, 4, 63, 64, 254, 255])
def test_host_name_is_padded_and_bounded(rig: Make, length: int) -> None:
    name = "h" * length
    machine = rig(hostname=name)
    (sent,) = _sent(machine)
    assert nicinfo.unpack(sent)["dns"]["host"] == name.encode()
    machine.leave()


@pytest.mark.parametrize("count", [1, 2, 8, 9, 64, 65, 500, 1545, 1550, 1551, 2048])
def test_all_ipv6_addresses_up_to_message_limit_are_reported(rig: Make, count: int) -> None:
    base = int(ipaddress.ip_address("2001:db8:1::"))
    texts = [f"{ipaddress.ip_address(base + n)}/128" for n in range(count)]

    machine = rig(before=lambda rig: rig.only_card(MAC, texts), hostname="x" * 255)
    (request,) = machine.requests("SetGuestInfo  10 ")
    assert len(request) <= 65536
    assert _addresses(machine.info(10)[0]) == {MAC: texts[:1550]}
    machine.leave()


def test_all_ipv4_addresses_up_to_message_limit_are_reported(rig: Make) -> None:
    base = int(ipaddress.ip_address("10.0.0.1"))
    texts = [f"{ipaddress.ip_address(base + n)}/32" for n in range(2048)]

    machine = rig(before=lambda rig: rig.only_card(MAC, texts))
    assert _addresses(_sent(machine)[0]) == {MAC: texts[:1550]}
    machine.leave()


def test_at_most_16_interfaces_are_reported(rig: Make) -> None:
    def cards(machine: Rig) -> None:
        machine.net.clear()
        for number in range(20):
            machine.net.add(f"wm{number}", mac=f"00:0c:29:00:00:{number:02x}")
            machine.net.add_address(f"wm{number}", f"10.0.{number}.1/24")

    machine = rig(before=cards)
    assert _addresses(_sent(machine)[0]) == {
        f"00:0c:29:00:00:{number:02x}": [f"10.0.{number}.1/24"] for number in range(16)
    }
    machine.leave()


def test_only_changes_are_sent_within_30_seconds(rig: Make) -> None:
    machine = rig()
    machine.run(300)
    assert len(_sent(machine)) == 1
    machine.net.add_address("wm0", "198.51.100.1/24")
    machine.run(PERIOD)
    assert len(_sent(machine)) == 2
    machine.net.remove_address("wm0", "198.51.100.1/24")
    machine.run(PERIOD)
    assert _sent(machine)[2] == _sent(machine)[0]
    machine.net.down("wm0")
    machine.run(PERIOD)
    assert _addresses(_sent(machine)[3]) == {}
    machine.net.up("wm0")
    machine.do("hostname", "other.example")
    machine.run(PERIOD)
    assert nicinfo.unpack(_sent(machine)[4])["dns"]["host"] == b"other.example"
    machine.run(300)
    assert len(_sent(machine)) == 5
    machine.leave()


def test_network_information_is_resent_after_reset(rig: Make) -> None:
    machine = rig()
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(_sent(machine)) == 2
    machine.leave()


def test_hosts_without_key_10_get_key_9(rig: Make) -> None:
    texts = [f"10.0.{n // 200}.{n % 200 + 1}/16" for n in range(100)]
    machine = rig(
        unknown_guestinfo_keys=frozenset({10}),
        before=lambda rig: [rig.net.add_address("wm0", text) for text in texts],
    )
    assert len(_sent(machine)) == 1
    (sent,) = _sent(machine, 9)
    # Three existed before; 64 is the limit of that key.
    assert len(_addresses(sent)[MAC]) == 64
    assert _addresses(sent)[MAC][3:] == texts[:61]
    machine.run(100)
    assert len(_sent(machine)) == 1  # no further attempt
    machine.net.add_address("wm0", "198.51.100.1/24")
    machine.net.remove_address("wm0", texts[0])
    machine.run(PERIOD)
    assert len(_sent(machine, 9)) == 2
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(_sent(machine)) == 2  # but after a reset it is
    machine.leave()


def test_host_refusing_all_forms_is_tried_and_logged_once(rig: Make) -> None:
    machine = rig(unknown_guestinfo_keys=frozenset({2, 9, 10}))
    machine.run(300)
    assert [len(_sent(machine, key)) for key in (10, 9, 2)] == [1, 1, 0]
    assert machine.log == ["host refuses guest information 10 until its next reset"]
    machine.leave()


def test_lost_network_information_is_resent_at_next_check(rig: Make) -> None:
    machine = rig()
    machine.net.add_address("wm0", "198.51.100.1/24")
    machine.host.faults.arm("no-reply", command="SetGuestInfo", times=2)
    machine.run(PERIOD + 30)
    reached = [e for e in machine.events("guestinfo") if e["key"] == 10]
    assert [ip["address"] for ip in reached[-1]["value"]["nics"][0]["ips"]][-1] == "198.51.100.1"
    machine.run(300)
    assert machine.log == []
    machine.leave()


def test_collection_is_retried_after_allocation_failure(rig: Make) -> None:
    machine = rig()
    machine.kmem.refuse = lambda _size: True
    machine.net.add_address("wm0", "198.51.100.1/24")
    machine.run(70)
    assert len(_sent(machine)) == 1
    machine.kmem.refuse = lambda _size: False
    machine.run(PERIOD)
    assert len(_sent(machine)) == 2
    machine.leave()


@pytest.mark.parametrize("gone", ["wm0", "wm1"])
def test_interface_may_vanish_during_collection(rig: Make, gone: str) -> None:
    """The lists change under the reader; nothing that is freed is touched."""
    machine = rig(before=lambda rig: rig.net.add("wm1"))
    for _ in range(20):
        machine.run(2.9)
        machine.net.remove(gone)
        machine.run(0.1)
        machine.net.add(gone)
        machine.net.add_address(gone, "198.51.100.1/24")
    machine.leave()


def test_broadcast_ip_1_reports_first_routable_address(rig: Make) -> None:
    def with_addresses(*texts: str) -> Callable[[Rig], object]:
        return lambda machine: machine.net.configure({"wm0": list(texts)})

    for texts, expected in (
        (("192.0.2.10/24", "198.51.100.1/24"), ["192.0.2.10"]),
        (("169.254.3.4/16", "198.51.100.1/24"), ["198.51.100.1"]),
        (("2001:db8::5/64", "198.51.100.1/24"), ["198.51.100.1"]),
        (("fe80::5/64", "fd00::1/64", "2001:db8::5/64"), ["2001:db8::5"]),
        (("fe80::5/64", "169.254.3.4/16"), []),
        ((), []),
    ):
        machine = rig(before=with_addresses(*texts))
        assert machine.option("broadcastIP", "1") == b"OK "
        sent = machine.requests("info-set guestinfo.ip")
        assert sent == [f"info-set guestinfo.ip {address}".encode() for address in expected]
        machine.leave()


def test_broadcast_ip_0_is_accepted_and_ignored(rig: Make) -> None:
    machine = rig()
    assert machine.option("broadcastIP", "0") == b"OK "
    assert machine.requests("info-set") == []
    machine.leave()


def test_tunnel_address_is_reported_if_no_other(rig: Make) -> None:
    def tunnel(machine: Rig) -> None:
        machine.net.clear()
        machine.net.add("tun0", kind="tunnel")
        machine.net.add_address("tun0", "198.51.100.3/32", destination="198.51.100.4")

    machine = rig(before=tunnel)
    assert machine.option("broadcastIP", "1") == b"OK "
    assert machine.requests("info-set") == [b"info-set guestinfo.ip 198.51.100.3"]
    machine.leave()


# enum IpAddressStatus of lib/guestRpc/nicinfo.x.
NUMBERS = {"preferred": 1, "deprecated": 2, "inaccessible": 4, "unknown": 5, "tentative": 6,
           "duplicate": 7}  # fmt: skip
STATES = [
    ("192.0.2.77/24", 1, "tentative"),
    ("192.0.2.77/24", 2, "duplicate"),
    ("192.0.2.77/24", 4, "inaccessible"),
    ("192.0.2.77/24", 0, "preferred"),
    ("2001:db8::77/64", 2, "tentative"),
    ("2001:db8::77/64", 4, "duplicate"),
    ("2001:db8::77/64", 8, "inaccessible"),
    ("2001:db8::77/64", 0x10, "deprecated"),
    ("2001:db8::77/64", 0, "unknown"),
]


@pytest.mark.parametrize(("text", "flags", "state"), STATES)
def test_address_flags_determine_reported_status(
    rig: Make, text: str, flags: int, state: str
) -> None:
    """sys/netinet/in_var.h (IN_IFF_*), sys/netinet6/in6_var.h (IN6_IFF_*), nicinfo.x."""

    def only(machine: Rig) -> None:
        machine.net.configure({"wm0": []})
        machine.net.add_address("wm0", text, flags=flags)

    machine = rig(before=only)
    (ip,) = nicinfo.unpack(_sent(machine)[-1])["nics"][0]["ips"]
    assert ip["status"] == NUMBERS[state]
    # An address that the kernel does not use is not the guest's address.
    machine.option("broadcastIP", "1")
    sent = machine.requests("info-set guestinfo.ip")
    assert bool(sent) == (flags == 0)
    machine.leave()
