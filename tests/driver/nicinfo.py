"""The network information of SetGuestInfo, read and written by xdrlib3, an independent codec.

Types: open-vm-tools lib/guestRpc/nicinfo.x.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from xdrlib3 import Packer, Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

IPV4, IPV6 = 1, 2
PREFERRED, UNKNOWN = 1, 5
REMOTE = 4


def _optional(unpacker: Unpacker, read: Callable[[], Any]) -> Any:
    return read() if unpacker.unpack_bool() else None


def _address(unpacker: Unpacker) -> str:
    kind = unpacker.unpack_enum()
    raw = unpacker.unpack_opaque()
    assert (kind, len(raw)) in {(IPV4, 4), (IPV6, 16)}
    return str(ipaddress.ip_address(raw))


def _dns(unpacker: Unpacker) -> dict[str, Any]:
    return {
        "host": _optional(unpacker, unpacker.unpack_string),
        "domain": _optional(unpacker, unpacker.unpack_string),
        "servers": unpacker.unpack_array(lambda: _address(unpacker)),
        "search": unpacker.unpack_array(unpacker.unpack_string),
    }


def _wins(unpacker: Unpacker) -> tuple[str, str]:
    return _address(unpacker), _address(unpacker)


def _dhcp(unpacker: Unpacker) -> tuple[bool, bytes]:
    return bool(unpacker.unpack_bool()), unpacker.unpack_string()


def _ip(unpacker: Unpacker) -> dict[str, Any]:
    return {
        "address": _address(unpacker),
        "prefix": unpacker.unpack_uint(),
        "origin": _optional(unpacker, unpacker.unpack_enum),
        "status": _optional(unpacker, unpacker.unpack_enum),
    }


def _nic(unpacker: Unpacker) -> dict[str, Any]:
    return {
        "mac": unpacker.unpack_string().decode("ascii"),
        "ips": unpacker.unpack_array(lambda: _ip(unpacker)),
        "dns": _optional(unpacker, lambda: _dns(unpacker)),
        "wins": _optional(unpacker, lambda: _wins(unpacker)),
        "dhcp4": _optional(unpacker, lambda: _dhcp(unpacker)),
        "dhcp6": _optional(unpacker, lambda: _dhcp(unpacker)),
    }


def _route(unpacker: Unpacker) -> dict[str, Any]:
    return {
        "destination": _address(unpacker),
        "prefix": unpacker.unpack_uint(),
        "next_hop": _optional(unpacker, lambda: _address(unpacker)),
        "nic": unpacker.unpack_uint(),
        "type": unpacker.unpack_enum(),
        "metric": unpacker.unpack_uint(),
    }


def unpack(data: bytes) -> dict[str, Any]:
    """Return version 3 as plain values; raises xdrlib3.Error, also for trailing bytes."""
    unpacker = Unpacker(data)
    assert unpacker.unpack_enum() == 3
    assert unpacker.unpack_bool()
    found = {
        "nics": unpacker.unpack_array(lambda: _nic(unpacker)),
        "routes": unpacker.unpack_array(lambda: _route(unpacker)),
        "dns": _optional(unpacker, lambda: _dns(unpacker)),
        "wins": _optional(unpacker, lambda: _wins(unpacker)),
        "dhcp4": _optional(unpacker, lambda: _dhcp(unpacker)),
        "dhcp6": _optional(unpacker, lambda: _dhcp(unpacker)),
    }
    unpacker.done()
    return found


# The encoder, for the expected message of the driver.


def _pack_address(packer: Packer, text: str) -> None:
    address = ipaddress.ip_address(text)
    packer.pack_enum(IPV4 if address.version == 4 else IPV6)
    packer.pack_opaque(address.packed)


def _pack_ip(packer: Packer, text: str) -> None:
    given = ipaddress.ip_interface(text)
    _pack_address(packer, str(given.ip))
    packer.pack_uint(given.network.prefixlen)
    packer.pack_bool(False)
    packer.pack_bool(True)
    packer.pack_enum(PREFERRED if given.version == 4 else UNKNOWN)


def pack(
    nics: list[tuple[str, list[str]]],
    *,
    host: str | None = None,
    routes: list[tuple[str, str, int, int, int]] | None = None,
) -> bytes:
    """Return version 3 with (MAC, addresses), and routes (net, gateway, NIC, type, metric)."""
    packer = Packer()
    packer.pack_enum(3)
    packer.pack_bool(True)

    def nic(given: tuple[str, list[str]]) -> None:
        packer.pack_string(given[0].encode())
        packer.pack_array(given[1], lambda text: _pack_ip(packer, text))
        for _ in range(4):
            packer.pack_bool(False)

    def route(given: tuple[str, str, int, int, int]) -> None:
        net, gateway, number, kind, metric = given
        destination = ipaddress.ip_network(net)
        _pack_address(packer, str(destination.network_address))
        packer.pack_uint(destination.prefixlen)
        packer.pack_bool(True)
        _pack_address(packer, gateway)
        packer.pack_uint(number)
        packer.pack_enum(kind)
        packer.pack_uint(metric)

    packer.pack_array(nics, nic)
    packer.pack_array(routes or [], route)
    packer.pack_bool(host is not None)
    if host is not None:
        packer.pack_bool(True)
        packer.pack_string(host.encode())
        packer.pack_bool(False)
        packer.pack_array([], packer.pack_uint)
        packer.pack_array([], packer.pack_uint)
    for _ in range(3):
        packer.pack_bool(False)
    buffer: bytes = packer.get_buffer()
    return buffer
