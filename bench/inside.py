"""Profiles the simulator: the functions that take most of the time, idle and in a seed.

cProfile measures it, which makes calls of Python functions slower; Unicorn's own time counts for
the function that calls it.
"""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.campaign.player import play

from bench.figures import Figure, Found
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Plan

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 10


def largest(work: Callable[[], object]) -> list[tuple[str, float]]:
    """Return the functions that take most of the time, each with its share in percent."""
    profile = cProfile.Profile()
    profile.runcall(work)
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {where: row[2] for where, row in found.items()}
    whole = sum(spent.values())
    first = sorted(spent, key=lambda where: -spent[where])[:LARGEST]
    return [(_named(*where), 100 * spent[where] / whole) for where in first]


def _named(file: str, line: int, function: str) -> str:
    """Return a function's name with its file, relative to the checkout where it is below it."""
    if not line:
        return function.strip("<>")
    path = Path(file)
    known = path.is_relative_to(ROOT) and ".venv" not in path.parts
    return f"{path.relative_to(ROOT) if known else path.name}: {function}"


def measure(plan: Plan) -> Found:
    """Profile an idle guest and a seed of a campaign, on amd64."""
    module = plan.module("amd64")
    machine = Rig(module)
    machine.run(120)
    play(module, 1)  # exclude what is read and parsed once
    seconds, seed = (60, 2) if plan.quick else (3600, 4)
    works = {
        f"profile, {seconds} idle seconds": largest(lambda: machine.run(seconds)),
        f"profile, seed {seed}": largest(lambda: play(module, seed)),
    }
    return Found(
        tuple(
            Figure(group, f"{place}. `{name}`", share, "%")
            for group, rows in works.items()
            for place, (name, share) in enumerate(rows, 1)
        )
    )
