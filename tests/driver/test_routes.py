"""Default routes and name servers in the information about interfaces.

A route as struct InetCidrRouteEntry of lib/guestRpc/nicinfo.x of open-vm-tools has it; which are
default routes, and how the kernel keeps them: NetBSD sys/net/route.h, radix.c (rn_addmask).
"""

from __future__ import annotations

import ipaddress
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.netlayout import RTF_BLACKHOLE, RTF_REJECT
from vmtsim.kernel.routes import Routes

from . import nicinfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

PERIOD = 31  # s between checks, and one more
UNUSED = 0xFFFFFFFF  # "-1 == unused"
LOCAL = 3


def _routes(machine: Rig) -> Routes:
    return machine.kernel.subject(Routes)


def _last(machine: Rig) -> dict[str, Any]:
    return nicinfo.unpack(machine.info(10)[-1])


def _route(gateway: str | None, nic: int = 0) -> dict[str, Any]:
    everywhere = "::" if ":" in (gateway or "") else "0.0.0.0"
    return {
        "destination": everywhere, "prefix": 0, "next_hop": gateway, "nic": nic,
        "type": nicinfo.REMOTE if gateway else LOCAL, "metric": UNUSED,
    }  # fmt: skip


def _set(routes: Routes, *added: tuple[Any, ...], **flags: Any) -> None:
    routes.clear()
    for each in added:
        routes.add(*each, **flags)


def test_default_route_of_each_family_is_reported_with_next_hop(rig: Make) -> None:
    machine = rig()
    found = _last(machine)
    assert found["routes"] == [_route("192.0.2.1"), _route("fe80::1")]
    # The kernel keeps the interface's number in the link-local gateway: the host must not see it.
    at = machine.info(10)[-1].index(ipaddress.ip_address("fe80::1").packed)
    assert at > 0
    machine.leave()


def test_routes_match_independent_codec(rig: Make) -> None:
    def only(machine: Rig) -> None:
        machine.only_card("00:0c:29:aa:bb:cc", ["192.0.2.10/24"])
        _set(_routes(machine), ("default", "192.0.2.1"))

    machine = rig(before=only, hostname="")
    (sent,) = machine.info(10)
    nic = ("00:0c:29:aa:bb:cc", ["192.0.2.10/24"])
    route = ("0.0.0.0/0", "192.0.2.1", 0, nicinfo.REMOTE, UNUSED)
    assert sent == nicinfo.pack([nic], routes=[route])
    machine.leave()


OTHERS: dict[str, tuple[list[tuple[Any, ...]], int]] = {
    "a net": ([("198.51.100.0/24", "192.0.2.1")], 0),
    "half of all addresses": ([("0.0.0.0/1", "192.0.2.1"), ("::/1", "2001:db8::1")], 0),
    "the first address": ([("0.0.0.0/32", "192.0.2.1"), ("::/128", "2001:db8::1")], 0),
    "one that rejects": ([("default", "192.0.2.1")], RTF_REJECT),
    "one that discards": ([("default", "192.0.2.1")], RTF_BLACKHOLE),
    "one of an interface that the host does not see": ([("default", "10.1.2.4")], 0),
    "none": ([], 0),
}


@pytest.mark.parametrize("what", OTHERS)
def test_only_default_routes_via_reported_interfaces_are_sent(rig: Make, what: str) -> None:
    added, flags = OTHERS[what]

    def others(machine: Rig) -> None:
        machine.net.add("tun0", kind="tunnel")
        machine.net.add_address("tun0", "10.1.2.3/24", destination="10.1.2.4")
        _set(_routes(machine), *added, flags=flags)

    machine = rig(before=others)
    assert _last(machine)["routes"] == []
    # Beside them the driver finds it at any place in the table.
    routes = _routes(machine)
    for destination in ("0.0.0.0/0", "::/0"):
        if ipaddress.ip_network(destination) in routes._routes:
            routes.delete(destination)
    routes.add("default", "192.0.2.1")
    routes.add("default", "2001:db8::1")
    machine.run(PERIOD)
    assert _last(machine)["routes"] == [_route("192.0.2.1"), _route("2001:db8::1")]
    machine.leave()


def test_interface_route_has_no_next_hop(rig: Make) -> None:
    machine = rig(before=lambda rig: _set(_routes(rig), ("default", "", "wm0")))
    assert _last(machine)["routes"] == [_route(None)]
    machine.leave()


def test_route_refers_to_interface_by_list_index(rig: Make) -> None:
    def cards(machine: Rig) -> None:
        machine.net.add("wm1")
        machine.net.add_address("wm1", "203.0.113.7/24")
        _set(_routes(machine), ("default", "203.0.113.1"))

    machine = rig(before=cards)
    assert _last(machine)["routes"] == [_route("203.0.113.1", 1)]
    assert machine.write("net.primary", "wm1") == 0
    machine.run(1)
    assert _last(machine)["routes"] == [_route("203.0.113.1", 0)]
    assert machine.write("net.exclude", "wm1") == 0
    machine.run(1)
    assert _last(machine)["routes"] == []
    machine.leave()


def test_route_change_is_reported_within_30_seconds(rig: Make) -> None:
    machine = rig()
    assert machine.do("route", {"do": "change", "gateway": "192.0.2.254"}) == 0
    machine.run(PERIOD)
    assert _last(machine)["routes"][0] == _route("192.0.2.254")
    count = len(machine.info(10))
    machine.run(300)
    assert len(machine.info(10)) == count
    machine.leave()


@pytest.mark.parametrize("net_mpsafe", [False, True], ids=["GENERIC", "NET_MPSAFE"])
def test_route_may_vanish_during_walk(rig: Make, net_mpsafe: bool) -> None:
    """A walk takes the locks that keep its current entry."""
    machine = rig(net_mpsafe=net_mpsafe)
    for calls in range(0, 30, 3):
        machine.start("route", {"do": "delete"})
        machine.option("broadcastIP", "1")
        lwp = machine.start("ifconfig", {"interface": "wm0", "do": "destroy",
                                         "reading": [calls, 5]})  # fmt: skip
        machine.run(0)
        machine.option("broadcastIP", "1")
        assert machine.until(lambda: lwp.state == "gone")  # noqa: B023
        machine.net.configure({"wm0": ["192.0.2.10/24"]})
        machine.do("route", {"do": "add", "gateway": "192.0.2.1"})
    machine.leave()


def test_large_routing_table_is_not_walked_fully(rig: Make) -> None:
    """The table is in the order of its keys, and default routes are the first."""

    def many(machine: Rig) -> None:
        for number in range(200):
            _routes(machine).add(f"10.{number}.0.0/16", "192.0.2.1")

    machine = rig(before=many)
    seen: list[int] = []
    routes = _routes(machine)
    usual = routes._in_order

    def counted(family: int) -> Any:
        for route in usual(family):
            seen.append(family)
            yield route

    routes._in_order = counted  # type: ignore[method-assign]
    machine.net.add_address("wm0", "192.0.2.99/24")
    machine.run(PERIOD)
    assert _last(machine)["routes"][0] == _route("192.0.2.1")
    assert 0 < len(seen) <= 2 * 2 * 10  # two families and two walks a check: no more than ten
    machine.leave()


# -- name servers ------------------------------------------------------------------------------


def _dns(machine: Rig) -> Any:
    return _last(machine)["dns"]


def test_name_servers_are_reported_when_set(rig: Make) -> None:
    machine = rig()
    assert machine.read("net.dns") == ""
    text = "nameserver 192.0.2.53 2001:db8::53 domain example.org search example.org example.net"
    assert machine.write("net.dns", text) == 0
    machine.run(1)
    assert _dns(machine) == {
        "host": b"guest.example", "domain": b"example.org",
        "servers": ["192.0.2.53", "2001:db8::53"], "search": [b"example.org", b"example.net"],
    }  # fmt: skip
    assert machine.read("net.dns") == text
    assert machine.write("net.dns", "") == 0
    machine.run(1)
    assert _dns(machine) == {"host": b"guest.example", "domain": None, "servers": [], "search": []}
    machine.leave()


def test_name_servers_are_reported_without_host_name(rig: Make) -> None:
    machine = rig(hostname="")
    assert _dns(machine) is None
    assert machine.write("net.dns", "nameserver 192.0.2.53") == 0
    machine.run(1)
    assert _dns(machine) == {"host": None, "domain": None, "servers": ["192.0.2.53"], "search": []}
    machine.leave()


LONG = "a" * 255
GOOD = [
    "",
    "   ",
    "nameserver",
    "search a b c domain d nameserver 192.0.2.1 search e nameserver ::1",
    "nameserver " + " ".join(f"192.0.2.{n}" for n in range(16)),
    "search " + " ".join("abcdefghij"),
    f"domain {LONG}",
    f"search {LONG} {LONG} {LONG}",
    "domain search",  # a separate word
]
BAD = [
    "192.0.2.53",
    "nameserver example.org",
    "nameserver 192.0.2.53,192.0.2.54",
    "nameserver fe80::1%wm0",
    "nameserver " + " ".join(f"192.0.2.{n}" for n in range(17)),
    "search " + " ".join("abcdefghijk"),
    "domain a b",
    "domain a search b domain c",
    f"domain {LONG}a",
    f"search {LONG}a",
    "nameserver 192.0.2.53\nsearch a",
    "search \u00e9",
    "options edns0",
]
EINVAL = 22


def test_oversized_resolver_settings_are_refused_unchanged(rig: Make) -> None:
    machine = rig()
    for text in GOOD:
        assert machine.write("net.dns", text) == 0, text
        assert machine.read("net.dns") == text
    kept = "nameserver 192.0.2.53"
    assert machine.write("net.dns", kept) == 0
    for text in BAD:
        assert machine.write("net.dns", text) == EINVAL, text
        assert machine.read("net.dns") == kept
    assert machine.write("net.dns", "nameserver 192.0.2.1", uid=1000) == 1  # EPERM
    machine.leave()


def test_longest_text_and_all_addresses_fit_one_message(rig: Make) -> None:
    base = int(ipaddress.ip_address("2001:db8:1::"))
    texts = [f"{ipaddress.ip_address(base + n)}/128" for n in range(1700)]

    def full(machine: Rig) -> None:
        machine.only_card("00:0c:29:aa:bb:cc", texts)
        _set(_routes(machine), ("default", "192.0.2.1", "wm0"), ("default", "fe80::1", "wm0"))

    machine = rig(before=full, hostname="x" * 255)
    servers = " ".join(f"2001:db8::{n:x}" for n in range(16))
    text = f"nameserver {servers} domain a search {LONG} {LONG}"
    text += " a" * 8 if len(text) + 16 < 1024 else ""
    assert machine.write("net.dns", text) == 0
    machine.run(1)
    request = machine.requests("SetGuestInfo  10 ")[-1]
    assert len(request) <= 65536
    found = _last(machine)
    assert len(found["nics"][0]["ips"]) == 1550
    assert (len(found["routes"]), len(found["dns"]["servers"])) == (2, 16)
    machine.leave()


ADDRESSES = [
    "0.0.0.0", "255.255.255.255", "256.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.04",
    "1..2.3", ".1.2.3", "1.2.3.", "0x1.2.3.4", "1.2.3.4a",
    "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::8",
    "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", ":", ":::",
    "1:::2", "1::2::3", ":1", "1:", "1:2:", "12345::", "g::", "ABCD:EF01::aBcD",
    "::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:7:192.0.2.1", "1::192.0.2.256",
    "::1.2.3", "192.0.2.1::", "1:2:3:4:5:192.0.2.1", "::1.2.3.4:5",
]  # fmt: skip


def _standard(text: str) -> bytes | None:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        return None


def test_name_server_addresses_are_parsed_as_by_inet_pton(rig: Make) -> None:
    rng = random.Random(20)
    texts = list(ADDRESSES)
    for _ in range(150):
        text = str(ipaddress.ip_address(rng.getrandbits(rng.choice((16, 64, 128)))))
        if rng.random() < 0.7:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(("", ":", "::", ".", "0", "f", "10")) + text[at + 1 :]
        texts.append(text)
    machine = rig()
    expected: list[str] = []
    for text in texts:
        if " " in text or not text:
            continue
        packed = _standard(text)
        assert (machine.write("net.dns", f"nameserver {text}") == 0) == (packed is not None), text
        if packed is not None:
            expected.append(text)
    for start in range(0, len(expected), 16):
        some = expected[start : start + 16]
        assert machine.write("net.dns", "nameserver " + " ".join(some)) == 0
        machine.run(1)
        packed_all = [_standard(text) or b"" for text in some]
        assert _dns(machine)["servers"] == [str(ipaddress.ip_address(p)) for p in packed_all]
    machine.leave()
