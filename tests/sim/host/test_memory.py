"""The host's decoder of a guest's statistics, on bytes that are written here by hand."""

from __future__ import annotations

import struct

import pytest
from vmtsim.host.memory import HEADER, StatisticsError, decode

TOTAL = 1000
TOOLS = b"_tools/v1\0"


def head(*, version: int = 5, flags: int = 1, total: int = TOTAL, rest: bytes = bytes(96)) -> bytes:
    return struct.pack("<IIQ", version, flags, total) + rest


def part(data: bytes) -> bytes:
    return struct.pack("<H", len(data)) + data


def least(value: int) -> bytes:
    return value.to_bytes(next(n for n in (0, 1, 2, 4, 8) if value < 1 << 8 * n), "little")


def statistic(
    name: int, kind: int, unit: int, value: bytes | None = None, *, space: bytes | None = None
) -> bytes:
    mask = 4 | 8 | 32 | (2 if space is not None else 0) | (128 if value is not None else 0)
    parts = [part(space)] if space is not None else []
    parts += [part(least(name)), part(least(kind)), part(least(unit))]
    parts += [part(value)] if value is not None else []
    return struct.pack("<I", mask) + b"".join(parts)


FIRST = statistic(6, 9, 0x0803, least(TOTAL), space=TOOLS)


def test_open_vm_tools_encoding_is_decoded() -> None:
    """An exact double is sent as a float, and 0 as nothing: GuestInfoAppendRate."""
    found = decode(
        head()
        + FIRST
        + statistic(4, 9, 0x0803, b"")
        + statistic(7, 11, 0x8043, struct.pack("<f", 2.5))
        + statistic(8, 11, 0x8043, struct.pack("<d", 0.1))
        + statistic(2, 11, 0x0042, b"")
        + statistic(10, 9, 0x0003)
    )
    assert found == {
        "total": TOTAL, "mem.physUsable": TOTAL, "mem.free": 0, "page.inRate": 2.5,
        "page.outRate": 0.1, "contextSwapRate": 0.0, "page.size": None,
    }  # fmt: skip


def test_header_alone_is_valid() -> None:
    assert len(head()) == HEADER
    assert decode(head()) == {"total": TOTAL}
    assert decode(head(flags=0, total=0)) == {"total": 0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (head()[:-1], "111 bytes, at least 112"),
        (head(version=4), "version 4, not 5"),
        (head(flags=3), "flags 0x3"),
        (head(flags=0), "numbers that its flags do not announce"),
        (head(rest=bytes(95) + b"\1"), "numbers that its flags do not announce"),
        (head() + b"\1\0\0", "offset 112: 3 extra bytes"),
        (head() + struct.pack("<I", 0x1AE), "parts 0x1ae"),
        (head() + struct.pack("<I", 0x84), "parts 0x84"),
        (head() + FIRST[:-1], "2 bytes, 1 left"),
        (head() + statistic(6, 9, 0x0803, least(TOTAL)), "name space b''"),
        (head() + statistic(6, 9, 0x0803, b"", space=b"_tools/v2\0"), "name space b'_tools/v2"),
        (head() + FIRST + FIRST, "mem.physUsable occurs twice"),
        (head() + FIRST + statistic(99, 9, 0x0803, b""), "statistic 99"),
        (head() + FIRST + statistic(4, 7, 0x0803, b""), "mem.free with type 07"),
        (head() + FIRST + statistic(4, 9, 0x1003, b""), "mem.free with type 09, unit 0310"),
        (head() + FIRST + statistic(4, 9, 0x0803, b"\1\0"), "2 bytes for 1, not 1"),
        (head() + FIRST + statistic(7, 11, 0x8043, b"\1"), "1 bytes for a double"),
        (head() + FIRST + statistic(7, 11, 0x8043, struct.pack("<d", -1.0)), "a rate of -1.0"),
        (head() + FIRST + statistic(7, 11, 0x8043, struct.pack("<d", 1e999)), "a rate of inf"),
        (head(total=7) + FIRST, "total 7 KiB, but mem.physUsable 1000"),
        (head() + FIRST + statistic(4, 9, 0x0803, least(1001)), "mem.free 1001 KiB of 1000"),
        (head() + FIRST + statistic(5, 9, 0x0803, least(1001)), "mem.needed 1001 KiB of 1000"),
    ],
)
def test_values_that_tools_never_send_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(StatisticsError, match=message.replace("(", r"\(")):
        decode(data)
