"""The speed of the simulator: an idle guest of each machine, per second of one processor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import bare
from bench.figures import Figure, Found
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from bench.figures import Plan

GROUP = "simulator"
MACHINES = ("amd64", "i386", "aarch64")
HOUR, DAY = 3600, 86400
DAY_GOAL = 20.0  # CPU seconds
HOUR_GOAL = 1.0
BARE_GOAL = 2.5  # times a bare Unicorn loop with the same stops


def idle(machine: Rig, seconds: int) -> tuple[float, int]:
    """Run an idle guest; return the CPU seconds and the backdoor calls."""
    calls, start = machine.host.backdoor.calls, time.process_time()
    machine.run(seconds)
    return time.process_time() - start, machine.host.backdoor.calls - calls


def beside_bare(plan: Plan, seconds: int, named: str) -> Figure:
    """Measure an idle guest and a bare loop with as many stops, in turn."""
    machine = Rig(plan.module("amd64"))
    machine.run(120)
    scheduler = machine.kernel.scheduler
    costs = []
    for _ in range(1 if plan.quick else 5):
        calls, traps = scheduler.calls, scheduler.traps
        cost, _ = idle(machine, seconds)
        costs.append((cost, bare.loop(scheduler.calls - calls, scheduler.traps - traps)))
    value, base = (min(each) for each in zip(*costs, strict=True))
    return Figure(
        GROUP, f"amd64: an idle {named}, beside a loop", value, "CPU s",
        "a bare Unicorn loop with the same stops", base, goal=BARE_GOAL, of_ratio=True,
    )  # fmt: skip


def measure(plan: Plan) -> Found:
    """Measure each machine, and an idle day on amd64."""
    seconds, named = (60, "minute") if plan.quick else (HOUR, "hour")
    figures: list[Figure] = []
    first: dict[str, float] = {}
    for name in MACHINES:
        machine = Rig(plan.module(name))
        machine.run(120)
        cost, calls = min(idle(machine, seconds) for _ in range(1 if plan.quick else 3))
        rates = {
            f"an idle {named}": (cost, "CPU s"),
            "virtual seconds": (seconds / cost, "per CPU s"),
            "backdoor calls": (calls / cost, "per CPU s"),
        }
        for what, (value, unit) in rates.items():
            base, beside = first.get(what), MACHINES[0] if what in first else ""
            first.setdefault(what, value)
            goal = HOUR_GOAL if what == "an idle hour" else None
            figures.append(Figure(GROUP, f"{name}: {what}", value, unit, beside, base, goal=goal))
    figures.append(beside_bare(plan, seconds, named))
    day = None if plan.quick else idle(Rig(plan.module("amd64")), DAY)[0]
    figures.append(
        Figure(GROUP, "amd64: an idle day", day, "CPU s", goal=DAY_GOAL,
               note="too long for a quick run" if day is None else "")
    )  # fmt: skip
    return Found(tuple(figures))
