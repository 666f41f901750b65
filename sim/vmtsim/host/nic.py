"""Network information as guests send it: keys 10, 9 and 2 of SetGuestInfo.

Layouts: open-vm-tools lib/guestRpc/nicinfo.x (XDR V2 and V3) and lib/include/guestInfo.h (V1).
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, Any

from vmtsim.host.xdr import Reader, XdrError

if TYPE_CHECKING:
    from collections.abc import Callable

_ADDRESS_TYPES = {0: "unknown", 1: "ipv4", 2: "ipv6", 3: "ipv4z", 4: "ipv6z", 16: "dns"}
# Bytes of an address by its type; with a zone they are four more (RFC 4001, which nicinfo.x
# follows).  A DNS name has no fixed length.
_ADDRESS_SIZES = {"unknown": 0, "ipv4": 4, "ipv6": 16, "ipv4z": 8, "ipv6z": 20}
_ORIGINS = {1: "other", 2: "manual", 4: "dhcp", 5: "linklayer", 6: "random"}
_STATES = {
    1: "preferred",
    2: "deprecated",
    3: "invalid",
    4: "inaccessible",
    5: "unknown",
    6: "tentative",
    7: "duplicate",
    8: "optimistic",
}
# 0 is not in the enum, but open-vm-tools' own POSIX code sends it.
_ROUTE_TYPES = {0: "unset", 1: "other", 2: "reject", 3: "local", 4: "remote"}
_NICS = 16
_ROUTES = 100
_V1_NIC = struct.Struct("<I19s128sx")


def _optional(reader: Reader, read: Callable[[Reader], Any]) -> Any:
    return read(reader) if reader.boolean("presence flag") else None


def _address(reader: Reader) -> str:
    kind = reader.enumerated(_ADDRESS_TYPES, "address type")
    at = reader.offset
    raw = reader.opaque(255, "address")
    size = _ADDRESS_SIZES.get(kind, len(raw))
    if len(raw) != size:
        raise XdrError(f"offset {at}: {kind} address of {len(raw)} bytes")
    if kind not in {"ipv4", "ipv6"}:
        return f"{kind}:{raw.hex()}"
    return str(ipaddress.ip_address(raw))


def _ip(reader: Reader) -> dict[str, Any]:
    at = reader.offset
    entry = {
        "address": _address(reader),
        "prefix": reader.unsigned(),
        "origin": _optional(reader, lambda r: r.enumerated(_ORIGINS, "origin")),
        "status": _optional(reader, lambda r: r.enumerated(_STATES, "address status")),
    }
    width = 128 if ":" in entry["address"] else 32
    if entry["prefix"] > width:
        raise XdrError(f"offset {at}: prefix length {entry['prefix']} of {entry['address']}")
    return entry


def _dns(reader: Reader) -> dict[str, Any]:
    return {
        "host": _optional(reader, lambda r: r.string(255, "host name")),
        "domain": _optional(reader, lambda r: r.string(255, "domain name")),
        "servers": [_address(reader) for _ in range(reader.count(16, "name servers"))],
        "search": [
            reader.string(255, "search suffix") for _ in range(reader.count(10, "search suffixes"))
        ],
    }


def _wins(reader: Reader) -> dict[str, Any]:
    return {"primary": _address(reader), "secondary": _address(reader)}


def _dhcp(reader: Reader) -> dict[str, Any]:
    return {"enabled": reader.boolean(), "settings": reader.string(16384, "DHCP settings")}


def _mac(reader: Reader) -> str:
    at = reader.offset
    text = reader.string(18, "MAC address")
    if text and not _is_mac(text):
        raise XdrError(f"offset {at}: MAC address {text!r}")
    return text


def _is_mac(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 6 and all(
        len(part) == 2 and all(c in "0123456789abcdefABCDEF" for c in part) for part in parts
    )


def _nic(reader: Reader, addresses: int) -> dict[str, Any]:
    return {
        "mac": _mac(reader),
        "ips": [_ip(reader) for _ in range(reader.count(addresses, "addresses of one NIC"))],
        "dns": _optional(reader, _dns),
        "wins": _optional(reader, _wins),
        "dhcp4": _optional(reader, _dhcp),
        "dhcp6": _optional(reader, _dhcp),
    }


def _route(reader: Reader, nics: int) -> dict[str, Any]:
    route = {
        "destination": _address(reader),
        "prefix": reader.unsigned(),
        "next_hop": _optional(reader, _address),
        "nic": reader.unsigned(),
        "type": reader.enumerated(_ROUTE_TYPES, "route type"),
        "metric": reader.unsigned(),
    }
    width = 128 if ":" in route["destination"] else 32
    if route["prefix"] > width:
        raise XdrError(f"prefix length {route['prefix']} of the route to {route['destination']}")
    if route["nic"] >= nics:
        raise XdrError(f"route to {route['destination']}: NIC index {route['nic']} of {nics}")
    return route


def decode_v3(data: bytes, addresses: int = 2048) -> dict[str, Any]:
    """Decode XDR version 3, as key 10 (2048 addresses per NIC) or key 9 (64) carry it.

    Returns plain dictionaries and lists; raises XdrError.
    """
    reader = Reader(data)
    version = reader.unsigned()
    if version != 3:
        raise XdrError(f"version {version}, not 3")
    if not reader.boolean("presence flag"):
        raise XdrError("the network information itself is absent")
    nics = [_nic(reader, addresses) for _ in range(reader.count(_NICS, "NICs"))]
    decoded = {
        "version": 3,
        "nics": nics,
        "routes": [_route(reader, len(nics)) for _ in range(reader.count(_ROUTES, "routes"))],
        "dns": _optional(reader, _dns),
        "wins": _optional(reader, _wins),
        "dhcp4": _optional(reader, _dhcp),
        "dhcp6": _optional(reader, _dhcp),
    }
    reader.end()
    return decoded


def _characters(reader: Reader, size: int, what: str) -> str:
    """Read ``char name[size]``: XDR uses a word for every char."""
    raw = bytearray()
    for _ in range(size):
        at = reader.offset
        value = reader.unsigned()
        if value > 0xFF:
            raise XdrError(f"offset {at}: {value:#x} is no character of {what}")
        raw.append(value)
    return bytes(raw).split(b"\0", 1)[0].decode("latin-1")


def _nic_v2(reader: Reader) -> dict[str, Any]:
    mac = _characters(reader, 18, "MAC address")
    if mac and not _is_mac(mac):
        raise XdrError(f"MAC address {mac!r}")
    ips = []
    for _ in range(reader.count(2048, "addresses of one NIC")):
        family = reader.enumerated({0: "ipv4", 1: "ipv6"}, "address family")
        dhcp = reader.boolean()
        address = _characters(reader, 64, "address")
        ips.append(
            {
                "address": _textual(address),
                "family": family,
                "dhcp": dhcp,
                "mask": _characters(reader, 64, "mask"),
            }
        )
    return {"mac": mac, "ips": ips}


def _textual(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise XdrError(f"address {text!r}") from None


def decode_v2(data: bytes) -> dict[str, Any]:
    """Decode XDR version 2 (key 9); raises XdrError."""
    reader = Reader(data)
    version = reader.unsigned()
    if version != 2:
        raise XdrError(f"version {version}, not 2")
    nics: list[dict[str, Any]] = []
    if reader.boolean("presence flag"):
        nics = [_nic_v2(reader) for _ in range(reader.count(_NICS, "NICs"))]
    reader.end()
    return {"version": 2, "nics": nics}


def decode_v1(data: bytes) -> dict[str, Any]:
    """Decode the C structure of key 2: IPv4 text for up to 16 NICs, 2436 bytes.

    Raises XdrError.
    """
    expected = 4 + _NICS * _V1_NIC.size
    if len(data) != expected:
        raise XdrError(f"{len(data)} bytes, not {expected}")
    count = int.from_bytes(data[:4], "little")
    if count > _NICS:
        raise XdrError(f"{count} NICs, at most {_NICS}")
    nics = []
    for index in range(count):
        ips, mac, texts = _V1_NIC.unpack_from(data, 4 + index * _V1_NIC.size)
        if ips > 8:
            raise XdrError(f"{ips} addresses of one NIC, at most 8")
        parts = [texts[n * 16 : n * 16 + 16].split(b"\0", 1)[0] for n in range(ips)]
        nics.append(
            {
                "mac": mac.split(b"\0", 1)[0].decode("latin-1"),
                "ips": [{"address": _textual(part.decode("latin-1"))} for part in parts],
            }
        )
    return {"version": 1, "nics": nics}


def decode(key: int, data: bytes) -> dict[str, Any]:
    """Decode the value of key 10, 9 or 2; raises XdrError."""
    if key == 2:
        return decode_v1(data)
    if key == 10:
        return decode_v3(data)
    if len(data) >= 4 and int.from_bytes(data[:4], "big") == 3:
        return decode_v3(data, addresses=64)
    return decode_v2(data)
