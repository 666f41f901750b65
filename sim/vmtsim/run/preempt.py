"""Preemption points between two kernel calls: drawn at random, or all of them.

A point is the number of a kernel call of the run and a number of instructions after it.  The same
points give the same run.  Points are near accesses to memory that another task has written, which a
first run with race detection finds.  A few points find most ordering bugs (Burckhardt and others,
"A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010: a bug of depth
d needs d - 1 of them).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from vmtgen.common.dataclass import dataclass, field

from vmtsim.core.rng import Rng
from vmtsim.kernel.races import Races

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vmtsim.run.simulation import Outcome, Simulation

# There are rarely more instructions between two kernel calls.
_FAR = 64
_MOST = 100_000  # instructions between two calls; each becomes a point


@dataclass(frozen=True)
class Preempt:
    """The value of ``--preempt``: ``all``, how many points to draw, or the points themselves."""

    kind: Literal["all", "drawn", "points"]
    count: int = 0
    points: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Preempt:
        """Parse ``all``, ``N`` or ``CALL+INSTRUCTIONS,...``; raises ValueError."""
        if text == "all":
            return cls("all")
        if re.fullmatch("[1-9]", text):
            return cls("drawn", count=int(text))
        points = {}
        for each in text.split(","):
            match = re.fullmatch(r"(\d+)\+([1-9]\d*)", each)
            if match is None:
                raise ValueError(
                    f"{text!r}: expected all, 1 to 9, or points as CALL+INSTRUCTIONS with commas"
                )
            points[int(match[1])] = int(match[2])
        return cls("points", points=points)


def written(points: Mapping[int, int]) -> str:
    """Return points in the format that ``Preempt.read`` parses."""
    return ",".join(f"{call}+{count}" for call, count in sorted(points.items()))


def shared_calls(simulation: Simulation) -> list[int]:
    """Run it; return the calls after which memory was accessed that another task had written.

    The simulation has to have been made with ``races``.
    """
    found = watch_shared(simulation)
    simulation.run()
    return sorted(found)


def watch_shared(simulation: Simulation) -> set[int]:
    """Return a set that the run fills with the calls of ``shared_calls``."""
    found: set[int] = set()
    scheduler = simulation.kernel.scheduler
    simulation.kernel.subject(Races).on_shared = lambda _pc: found.add(scheduler.calls)
    return found


def drawn(calls: Sequence[int], seed: int, count: int) -> dict[int, int]:
    """Draw points after some of these calls."""
    rng = Rng(seed).fork("preempt")
    return {rng.choice(calls): rng.between(1, _FAR) for _ in range(count)} if calls else {}


def every(
    calls: list[int], play: Callable[[Mapping[int, int]], tuple[Simulation, Outcome]]
) -> Iterator[tuple[dict[int, int], Simulation, Outcome]]:
    """Run with every single point after these calls, and yield each with its result."""
    for call in calls:
        for count in range(1, _MOST):
            points = {call: count}
            simulation, outcome = play(points)
            if not simulation.kernel.scheduler.hits:
                break  # the next call came first
            yield points, simulation, outcome
