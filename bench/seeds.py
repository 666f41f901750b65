"""Measures campaigns of many seeds: speed and memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Found, Growth, Series
from bench.timing import Usage, python, run_measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Plan

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)


def campaign(module: Path, seeds: int) -> Usage:
    """Play this number of seeds on all processors, each once."""
    words = ["campaign", str(module), "--seeds", f"1:{seeds}", "--quiet"]
    words += ["--check-determinism", "0"]
    return run_measured(python("-m", "vmtsim", *words), cwd=ROOT)


def measure(plan: Plan) -> Found:
    """Measure campaigns of sizes up to the plan's largest."""
    counts = COUNTS[:2] if plan.quick else COUNTS
    largest = 1 if plan.quick else plan.seeds
    module = plan.module("amd64")
    spent = [campaign(module, count) if count <= largest else None for count in counts]
    cores = os.cpu_count() or 1

    def line(name: str, unit: str, value: Callable[[int, Usage], float]) -> Series:
        pairs = zip(counts, spent, strict=True)
        return Series(
            name, unit, tuple(None if one is None else value(count, one) for count, one in pairs)
        )

    growth = Growth(
        "seeds",
        "Seeds of a campaign",
        f"`vmtsim campaign` with faults, on {cores} processors, each seed played once; memory is"
        " that of its largest process.",
        "seeds",
        counts,
        (
            line("by the clock", "s", lambda _, one: one.wall),
            line("all processors", "s", lambda _, one: one.cpu),
            line("by the clock", "seeds per s", lambda count, one: count / one.wall),
            line("of one processor", "seeds per s", lambda count, one: count / one.cpu),
            line("the largest process", "MiB", lambda _, one: one.peak / 2**20),
        ),
        "" if largest >= COUNTS[-1] else
        f"`make bench LARGEST={COUNTS[-1]}` plays the larger ones as well.",
    )  # fmt: skip
    return Found(growth=(growth,))
