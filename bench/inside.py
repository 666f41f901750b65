"""Where the simulator's time goes: the functions that take most of an idle time and of a seed.

Counted by cProfile, which makes a call of a Python function dearer than it is; what Unicorn does
counts for the function that calls it.
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
    """Return the functions in which most of the time is spent, each with its share in percent."""
    profile = cProfile.Profile()
    profile.runcall(work)
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {where: row[2] for where, row in found.items()}
    whole = sum(spent.values())
    first = sorted(spent, key=lambda where: -spent[where])[:LARGEST]
    return [(_named(*where), 100 * spent[where] / whole) for where in first]


def _named(file: str, line: int, function: str) -> str:
    """Return how a function is called: its file below the checkout, or what holds it."""
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
    play(module, 1)  # what is read and parsed once is no seed's
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
