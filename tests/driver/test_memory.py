"""Statistics of the memory: key 8 of the guest information.

A decoder of this file reads the layout that open-vm-tools lib/include/guestStats.h defines.  The
expected figures are those that services/plugins/guestInfo/perfMonLinux.c computes from the same
numbers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

KEY = 8
PERIOD = 20  # s
NODE = "info.memory_period"
TOTAL = PAGES * 4  # KiB
LOW = 256  # pages: uvmexp.freemin of that many
RATES = {2, 7, 8}


def decode(data: bytes) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """Return version, flags and total, and each statistic with its parts, as they are."""
    head = struct.unpack_from("<IIQ", data)
    assert data[16:112] == bytes(96)
    found = []
    at = 112
    while at < len(data):
        (mask,) = struct.unpack_from("<I", data, at)
        at += 4
        statistic: dict[str, Any] = {}
        for bit, part in ((2, "space"), (4, "id"), (8, "type"), (32, "unit"), (128, "value")):
            if mask & bit:
                (size,) = struct.unpack_from("<H", data, at)
                statistic[part] = data[at + 2 : at + 2 + size]
                at += 2 + size
                mask &= ~bit
        assert mask == 0
        found.append(statistic)
    assert at == len(data)
    return head, found


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def figures(data: bytes) -> dict[int, float | None]:
    """Return the value of each statistic by its identifier."""
    result: dict[int, float | None] = {}
    for each in decode(data)[1]:
        name, value = number(each["id"]), each.get("value")
        if value is None:
            result[name] = None
        elif name in RATES:
            result[name] = struct.unpack("<d", value)[0] if value else 0.0
        else:
            result[name] = number(value)
    return result


def _use(machine: Rig, **usage: int) -> None:
    assert machine.do("usage", usage) == 0


def test_statistics_have_form_of_guest_stats_h(rig: Make) -> None:
    machine = rig()
    machine.run(PERIOD)
    head, found = decode(machine.info(KEY)[1])
    assert head == (5, 1, TOTAL)
    assert found[0]["space"] == b"_tools/v1\0"
    assert not any("space" in each for each in found[1:])
    forms = {number(e["id"]): (number(e["type"]), number(e["unit"])) for e in found}
    kib, rate = (9, 0x0803), (11, 0x8043)
    assert forms == {
        6: kib, 4: kib, 9: kib, 5: kib, 13: kib, 10: (9, 0x0003),
        7: rate, 8: rate, 2: (11, 0x0042),
    }  # fmt: skip
    # A number takes as few bytes as it can, of 0, 1, 2, 4 and 8.
    by = {number(each["id"]): each for each in found}
    assert by[10]["value"] == struct.pack("<H", 4096)
    assert by[6]["value"] == struct.pack("<I", TOTAL)
    assert by[9]["value"] == b""
    machine.leave()


@pytest.mark.parametrize(
    ("free", "files", "programs", "available"),
    [
        # The page daemon keeps as many pages of files as freemin, but not more than half of them.
        (PAGES, 0, 0, PAGES - LOW),
        (10000, 2000, 500, 10000 - LOW + 2500 - LOW),
        (10000, 300, 100, 10000 - LOW + 200),
        (100, 0, 0, 0),
        (PAGES, 5000, 0, PAGES),
        (4000, 0, 0, 4000 - LOW),
        # Sums over several processors that run while they are added.
        (10000, -3, 1, 10000 - LOW),
    ],
)
def test_memory_needed_is_memory_unavailable_without_swap(
    rig: Make, free: int, files: int, programs: int, available: int
) -> None:
    from vmtsim.kernel.memcounters import MemoryCounters
    from vmtsim.kernel.pages import Pages

    machine = rig()
    machine.kernel.subject(Pages).press(free)
    machine.kernel.subject(MemoryCounters).set("filepages", files)
    machine.kernel.subject(MemoryCounters).set("execpages", programs)
    machine.run(PERIOD)
    found = figures(machine.info(KEY)[-1])
    reserve = TOTAL // 20
    assert found[4] == free * 4
    assert found[13] == reserve
    assert found[5] == TOTAL - max(available * 4 - reserve, 0)
    machine.leave()


def test_free_swap_is_never_below_0(rig: Make) -> None:
    machine = rig()
    _use(machine, swap=1000, swap_used=300)
    machine.run(PERIOD)
    assert figures(machine.info(KEY)[-1])[9] == 2800
    # A device of swap is taken away while it is in use.
    _use(machine, swap=200)
    machine.run(PERIOD)
    assert figures(machine.info(KEY)[-1])[9] == 0
    machine.leave()


def test_first_sample_has_no_rates_and_others_are_per_second(rig: Make) -> None:
    machine = rig()
    first = figures(machine.info(KEY)[0])
    assert {name for name, value in first.items() if value is None} == RATES
    _use(machine, page_in=PERIOD * 7, page_out=PERIOD * 300 + 19, switches=PERIOD * 123456)
    machine.run(PERIOD)
    second = figures(machine.info(KEY)[1])
    assert (second[7], second[8], second[2]) == (7.0, 300.0, 123456.0)
    machine.run(PERIOD)
    third = figures(machine.info(KEY)[2])
    assert (third[7], third[8], third[2]) == (0.0, 0.0, 0.0)
    machine.leave()


@pytest.mark.parametrize("rate", [1, 2, 3, 1000, 65535, 1 << 24, (1 << 27) + 1])
def test_rate_is_double_of_its_integer(rig: Make, rate: int) -> None:
    machine = rig()
    half = rate * PERIOD // 2
    _use(machine, switches=half)
    _use(machine, switches=rate * PERIOD - half)
    machine.run(PERIOD)
    (value,) = [e["value"] for e in decode(machine.info(KEY)[1])[1] if number(e["id"]) == 2]
    assert value == struct.pack("<d", rate)
    machine.leave()


def test_rate_survives_counter_restart(rig: Make) -> None:
    machine = rig()
    _use(machine, switches=0x7FFFFFFF)
    _use(machine, switches=0x7FFFFFF0)
    machine.run(PERIOD)
    _use(machine, switches=PERIOD * 9)
    machine.run(PERIOD)
    assert figures(machine.info(KEY)[2])[2] == 9.0
    machine.leave()


def test_samples_are_sent_at_configured_period(rig: Make) -> None:
    machine = rig()
    assert machine.read(NODE) == PERIOD
    count = len(machine.info(KEY))
    machine.run(200)
    assert len(machine.info(KEY)) == count + 10
    assert machine.write(NODE, 100) == 0
    count = len(machine.info(KEY))
    machine.run(200)
    assert len(machine.info(KEY)) == count + 2
    assert machine.write(NODE, 0) == 0
    count = len(machine.info(KEY))
    machine.run(600)
    assert len(machine.info(KEY)) == count
    # Enabled again: sent at once, without rates, because the time between has no samples.
    assert machine.write(NODE, 5) == 0
    machine.run(1)
    (again,) = machine.info(KEY)[count:]
    assert figures(again)[7] is None
    for value in (-1, 3601):
        assert machine.write(NODE, value) != 0
    machine.leave()


def test_refused_statistics_are_retried_after_next_reset(rig: Make) -> None:
    machine = rig(unknown_guestinfo_keys=frozenset({KEY}))
    assert len(machine.info(KEY)) == 1
    machine.run(300)
    assert len(machine.info(KEY)) == 1
    assert any(f"host refuses guest information {KEY} " in line for line in machine.log)
    machine.ask("reset")
    machine.run(10)
    assert len(machine.info(KEY)) == 2
    machine.leave()


def test_sample_after_reset_has_no_rates(rig: Make) -> None:
    machine = rig()
    machine.run(PERIOD)
    count = len(machine.info(KEY))
    machine.ask("reset")
    machine.run(10)
    assert figures(machine.info(KEY)[count])[7] is None
    machine.leave()
