"""Statistics of a guest's memory: key 8 of SetGuestInfo, version 5.

Sources: open-vm-tools lib/include/guestStats.h (header, mask, units, types, identifiers) and
services/plugins/guestInfo/perfMonLinux.c (GuestInfoAppendStat, GuestInfoAppendRate: which parts a
statistic has, sizes of numbers, a double of 0, 4 or 8 bytes).
"""

from __future__ import annotations

import math
import struct
from typing import Any

HEADER = 112
_VERSION = 5
_TOTAL, _HUGE_PAGES, _NEEDED = 1 << 0, 1 << 10, 1 << 13
_FLAGS = _TOTAL | _HUGE_PAGES | _NEEDED
_NAMESPACE, _ID, _TYPE, _UNIT, _VALUE = 0x02, 0x04, 0x08, 0x20, 0x80
_PARTS = _NAMESPACE | _ID | _TYPE | _UNIT | _VALUE
_EACH = _ID | _TYPE | _UNIT
_TOOLS = b"_tools/v1\0"

_UINT64, _DOUBLE = 9, 11
_KIB, _BYTES, _PAGES, _NUMBER = 0x0803, 0x0003, 0x8003, 0x0002
_RATE = 0x0040
_HUGE = 0x8803

# Identifier: name, type, unit.
_STATISTICS: dict[int, tuple[str, int, int]] = {
    2: ("contextSwapRate", _DOUBLE, _NUMBER | _RATE),
    3: ("mem.activeFileCache", _UINT64, _KIB),
    4: ("mem.free", _UINT64, _KIB),
    5: ("mem.needed", _UINT64, _KIB),
    6: ("mem.physUsable", _UINT64, _KIB),
    7: ("page.inRate", _DOUBLE, _PAGES | _RATE),
    8: ("page.outRate", _DOUBLE, _PAGES | _RATE),
    9: ("swap.spaceRemaining", _UINT64, _KIB),
    10: ("page.size", _UINT64, _BYTES),
    11: ("hugePage.size", _UINT64, _KIB),
    12: ("hugePage.total", _UINT64, _HUGE),
    13: ("mem.neededReservation", _UINT64, _KIB),
}


class StatisticsError(ValueError):
    """Bytes that are not statistics of version 5; gives the offset."""


def decode(data: bytes) -> dict[str, Any]:
    """Return ``total`` (KiB) and each statistic by its name; None: it has no value.

    Raises StatisticsError.
    """
    if len(data) < HEADER:
        raise StatisticsError(f"{len(data)} bytes, at least {HEADER}")
    version, flags, total, *unused = struct.unpack_from("<IIQ12Q", data)
    if version != _VERSION:
        raise StatisticsError(f"version {version}, not {_VERSION}")
    if flags & ~_FLAGS:
        raise StatisticsError(f"flags {flags:#x}")
    huge = unused.pop(9)
    if any(unused) or (huge and not flags & _HUGE_PAGES) or (total and not flags & _TOTAL):
        raise StatisticsError("the header has numbers that its flags do not announce")
    found: dict[str, Any] = {"total": total}
    at, space = HEADER, b""
    while at < len(data):
        at, space, name, value = _statistic(data, at, space)
        if name in found:
            raise StatisticsError(f"{name} occurs twice")
        found[name] = value
    _plausible(found)
    return found


def _plausible(found: dict[str, Any]) -> None:
    """Reject impossible values: more memory than the total, and two totals."""
    usable = found.get("mem.physUsable")
    if usable is None:
        return
    if found["total"] != usable:
        raise StatisticsError(f"total {found['total']} KiB, but mem.physUsable {usable}")
    for name in ("mem.free", "mem.needed", "mem.neededReservation"):
        if (found.get(name) or 0) > usable:
            raise StatisticsError(f"{name} {found[name]} KiB of {usable}")


def _statistic(data: bytes, at: int, space: bytes) -> tuple[int, bytes, str, int | float | None]:
    """Read the statistic at ``at``: offset of the next one, name space, name and value."""
    start = at
    if len(data) - at < 4:
        raise StatisticsError(f"offset {at}: {len(data) - at} extra bytes")
    parts = int.from_bytes(data[at : at + 4], "little")
    at += 4
    if parts & ~_PARTS or parts & _EACH != _EACH:
        raise StatisticsError(f"offset {start}: parts {parts:#x}")
    given: dict[int, bytes] = {}
    for part in (_NAMESPACE, _ID, _TYPE, _UNIT, _VALUE):
        if parts & part:
            at, given[part] = _part(data, at)
    space = given.get(_NAMESPACE, space)
    if space != _TOOLS:
        raise StatisticsError(f"offset {start}: name space {space!r}")
    number = _unsigned(given[_ID], start)
    if number not in _STATISTICS:
        raise StatisticsError(f"offset {start}: statistic {number}")
    name, kind, unit = _STATISTICS[number]
    if (_unsigned(given[_TYPE], start), _unsigned(given[_UNIT], start)) != (kind, unit):
        message = f"type {given[_TYPE].hex()}, unit {given[_UNIT].hex()}"
        raise StatisticsError(f"offset {start}: {name} with {message}")
    if _VALUE not in given:
        return at, space, name, None
    value = _double(given[_VALUE], start) if kind == _DOUBLE else _unsigned(given[_VALUE], start)
    return at, space, name, value


def _part(data: bytes, at: int) -> tuple[int, bytes]:
    """Read a size of two bytes and that many bytes."""
    size = int.from_bytes(data[at : at + 2], "little")
    end = at + 2 + size
    if end > len(data):
        raise StatisticsError(f"offset {at}: {size} bytes, {max(len(data) - at - 2, 0)} left")
    return end, data[at + 2 : end]


def _unsigned(data: bytes, start: int) -> int:
    """Read an integer of the least number of bytes, as open-vm-tools encodes it, none for 0."""
    value = int.from_bytes(data, "little")
    least = next(size for size in (0, 1, 2, 4, 8) if value < 1 << (8 * size) or size == 8)
    if len(data) != least:
        raise StatisticsError(f"offset {start}: {len(data)} bytes for {value}, not {least}")
    return value


def _double(data: bytes, start: int) -> float:
    if len(data) not in {0, 4, 8}:
        raise StatisticsError(f"offset {start}: {len(data)} bytes for a double")
    value = float(struct.unpack("<f" if len(data) == 4 else "<d", data)[0]) if data else 0.0
    if not math.isfinite(value) or value < 0:
        raise StatisticsError(f"offset {start}: a rate of {value}")
    return value
