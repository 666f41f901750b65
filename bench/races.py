"""The cost of several processors and of the race detector, with the same seeds of a campaign."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmtsim.campaign import plan as plans
from vmtsim.campaign.player import Player
from vmtsim.campaign.subject import Setup, subject_of

from bench.figures import Figure, Found

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Plan

GROUP = "simulator"
SEEDS = 8
# name -> processors, races, the maximum as a multiple of a plain run
WAYS = {
    "one processor": (1, False, None),
    "two processors": (2, False, 1.2),
    "two processors, --races": (2, True, 5.0),
}


def played(module: Path, seed: int, cpus: int, *, races: bool) -> float:
    """Play a seed; returns its CPU seconds."""
    setup = Setup(cpus=cpus, races=races)
    subject = subject_of(module, setup)
    start = time.process_time()
    Player(module, plans.draw(seed, subject, cpus=cpus), subject, setup=setup).play()
    return time.process_time() - start


def measure(plan: Plan) -> Found:
    """Play each seed in each way, in turn, so that a busy machine slows all alike."""
    module = plan.module("amd64")
    played(module, 1, 2, races=True)  # exclude what is read once, such as the debug twin
    spent = dict.fromkeys(WAYS, 0.0)
    seeds = range(1, (1 if plan.quick else SEEDS) + 1)
    for seed in seeds:
        for name, (cpus, races, _goal) in WAYS.items():
            spent[name] += played(module, seed, cpus, races=races)
    plain = spent["one processor"]
    figures = [
        Figure(
            GROUP,
            f"seeds of a campaign, {name}",
            spent[name] / len(seeds),
            "CPU s",
            "" if goal is None else "one processor",
            None if goal is None else plain / len(seeds),
            goal=goal,
            of_ratio=goal is not None,
        )
        for name, (_cpus, _races, goal) in WAYS.items()
    ]
    return Found(tuple(figures))
