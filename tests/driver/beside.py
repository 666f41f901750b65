"""The driver beside itself: seeds of a campaign on two processors, with races, stopped anywhere.

``python -m pytest`` plays a sample; as many as you like::

    .venv/bin/python -m tests.driver.beside [--seeds 1:2000] [--jobs 2] [--module FILE]

Each seed is played twice: as it comes, and with threads stopped at two or three points between two
kernel calls, near memory that several tasks use.  Exit status 1: something was found.  Entries of
``kmod/vmt/known-races.yaml`` that no seed needed are named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from vmtgen.build.compile import build_module
from vmtgen.resources import root
from vmtsim.arguments import seed_range
from vmtsim.campaign import plan as plans
from vmtsim.campaign.player import Player
from vmtsim.campaign.subject import Setup, subject_of
from vmtsim.kernel.races import Races
from vmtsim.run import preempt
from vmtsim.run.known import KnownRaces

CPUS = 2


@dataclass
class Played:
    """What came of a seed: findings, which known races there were, points that stopped a thread."""

    seed: int
    found: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    stops: int = 0


def play(seed: int, module: Path, known: frozenset[str]) -> Played:
    """Play a seed both ways."""
    played = Played(seed)
    subject = subject_of(module, Setup())
    calls: set[int] = set()
    points: dict[int, int] = {}
    for stopped in (False, True):
        player = Player(module, plans.draw(seed, subject, cpus=CPUS), subject, races=True)
        kernel = player.simulation.kernel
        races, scheduler = kernel.subject(Races), kernel.scheduler
        races.known = known
        if stopped:
            points = preempt.drawn(sorted(calls), seed, 2 + seed % 2)
            scheduler.points = dict(points)
        else:
            races.on_shared = lambda _pc, at=scheduler: calls.add(at.calls)  # type: ignore[misc]
        where = f"--preempt {preempt.written(points)}: " if points else ""
        played.found += [f"{where}{each.message}" for each in player.play()]
        played.used |= set(races.used)
        played.stops += scheduler.hits
    return played


def main() -> int:
    """Play them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=seed_range, default=(1, 2000), metavar="A:B")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--module", type=Path, metavar="FILE", help="instead of building kmod/")
    args = parser.parse_args()
    top = root()
    assert top is not None
    known = KnownRaces(top / "kmod" / "vmt" / "known-races.yaml")
    first, last = args.seeds
    failed = stops = 0
    with tempfile.TemporaryDirectory() as out, Pool(args.jobs) as pool:
        module = args.module or build_module(top / "kmod" / "vmt", out=Path(out)).module.path
        one = partial(play, module=module, known=known.fields)
        for count, played in enumerate(pool.imap(one, range(first, last + 1)), 1):
            failed += bool(played.found)
            stops += played.stops
            known.used |= played.used
            for text in played.found:
                sys.stdout.write(f"seed {played.seed}: {text}\n")
                sys.stdout.flush()
            if not count % 10:
                sys.stderr.write(f"{count} seeds, {failed} failed, {stops} stops\n")
    for name in known.unused():
        sys.stdout.write(f"{known.path}: no seed had a race of {name}\n")
    sys.stdout.write(
        f"{last - first + 1} seeds on {CPUS} processors, each played twice: {failed} failed; "
        f"{stops} threads were stopped between two calls\n"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
