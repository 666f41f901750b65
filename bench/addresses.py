"""The cost of the report of interfaces, by the number of addresses on a card."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.figures import Found, Growth, Series
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from bench.figures import Plan

COUNTS = (1, 8, 64, 256, 512, 1024, 1600, 2048)
MAC = "00:0c:29:3e:5a:01"
_BASE = int(ipaddress.ip_address("2001:db8:1::"))
# Virtual seconds; the driver reads the interfaces twice in them, whenever they begin.
_MINUTE = 60


@dataclass(frozen=True)
class Minute:
    """The costs of a minute: calls to the host and to the kernel, CPU seconds, bytes of reports."""

    calls: int
    kernel_calls: int
    cpu: float
    reported: int


def minute(machine: Rig) -> Minute:
    """Let a minute pass."""
    scheduler, backdoor = machine.kernel.scheduler, machine.host.backdoor
    since, calls, kernel_calls = machine.now, backdoor.calls, scheduler.calls
    start = time.process_time()
    machine.run(_MINUTE)
    used = time.process_time() - start
    reported = sum(len(sent) for sent in machine.requests("SetGuestInfo  10 ", since))
    return Minute(backdoor.calls - calls, scheduler.calls - kernel_calls, used, reported)


def report(machine: Rig) -> tuple[Minute, Minute]:
    """Return the costs of a minute without a change, and of one in which the card went up.

    Raises RuntimeError where the number of reports is not the expected one.
    """
    quiet = minute(machine)
    machine.net.down("wm0")
    minute(machine)
    machine.net.up("wm0")
    busy = minute(machine)
    if quiet.reported or not busy.reported:
        raise RuntimeError(
            f"reports of {quiet.reported} and {busy.reported} bytes; the second is expected"
        )
    return quiet, busy


def measure(plan: Plan) -> Found:
    """Measure each number of addresses on a machine of its own."""
    counts = COUNTS[:2] if plan.quick else COUNTS
    rows: list[tuple[float, ...]] = []
    for count in counts:
        texts = [f"{ipaddress.ip_address(_BASE + number)}/128" for number in range(count)]

        def card(rig: Rig, texts: list[str] = texts) -> None:
            rig.only_card(MAC, texts)

        machine = Rig(plan.module("amd64"), before=card)
        machine.run(120)
        found = [report(machine) for _ in range(1 if plan.quick else 2)]
        quiet, busy = found[0]
        rows.append(
            (
                busy.calls - quiet.calls,
                quiet.kernel_calls / 2,
                busy.reported,
                min(one.cpu for one, _ in found) * 1000,
                min(one.cpu for _, one in found) * 1000,
            )
        )
    calls, looks, reported, quiet_cpu, busy_cpu = zip(*rows, strict=True)
    growth = Growth(
        "addresses",
        "Interface addresses",
        "A card with this number of IPv6 addresses. The driver reads them twice a minute and"
        " reports to the host when they have changed. Real time is that of the simulator (amd64),"
        " where each call of the kernel costs some microseconds.",
        "addresses",
        counts,
        (
            Series("a report", "calls to the host", calls),
            Series("half a minute", "calls to the kernel", looks),
            Series("a report", "bytes", reported),
            Series("a minute without a report", "CPU ms", quiet_cpu),
            Series("a minute with a report", "CPU ms", busy_cpu),
        ),
        "" if plan.quick else "The driver reports 1,600 addresses at most: more do not fit 64 KiB.",
    )
    return Found(growth=(growth,))
