"""What an idle guest costs by the length of the run: processor time and memory."""

from __future__ import annotations

import gc
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Found, Growth, Series
from bench.speed import idle
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from bench.figures import Plan

MINUTES = (15, 30, 60, 120, 240, 480)


def resident() -> float:
    """Return the memory of this process in MiB: proc(5), the second number of statm, in pages."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(plan: Plan) -> Found:
    """Let one machine run on; each size is the time since it was ready."""
    minutes = (1, 2) if plan.quick else MINUTES
    machine = Rig(plan.module("amd64"))
    machine.run(120)
    spent, passed = 0.0, 0
    rows: list[tuple[float, float, float]] = []
    for until in minutes:
        spent += idle(machine, 60 * (until - passed))[0]
        passed = until
        rows.append((spent, 60 * until / spent, resident()))
    cpu, rate, memory = zip(*rows, strict=True)
    return Found(
        growth=(
            Growth(
                "length",
                "Length of a run",
                "An idle guest (amd64): the processor time since the driver was ready, the virtual"
                " seconds for each second of one processor, and the memory of the process.",
                "minutes",
                minutes,
                (
                    Series("since the start", "CPU s", cpu),
                    Series("since the start", "virtual s per CPU s", rate),
                    Series("of the process", "MiB", memory),
                ),
            ),
        )
    )
