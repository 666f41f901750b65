"""A detach, or a panic, at any point of a balloon's life.

``python -m pytest`` tries a sample of the points; all of them::

    .venv/bin/python -m tests.vmmemctl.anywhere [--seeds 3] [--every 1]

builds the driver, counts the points for hosts that take single pages and batches, and tries each,
with each seed.  Exit status 1: some failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.kernel.errors import Halted

from tests.points import Points, sweep

if __package__ == "tests.vmmemctl":
    from tests.vmmemctl.machine import Machine
else:
    from .machine import Machine

if TYPE_CHECKING:
    from vmtsim.kernel.lwp import Lwp

KINDS = ("basic", "batched")


def busy(guest: Machine) -> None:
    """Raise and lower the host's target, refuse pages, be busy, and reset the balloon."""
    for order in ({"target": 400}, {"refuse": 3, "target": 900}, {"busy": 1}, {"target": 100}):
        for name, value in order.items():
            setattr(guest.balloon, name, value)
        guest.run(3)
    guest.balloon.reset()
    guest.run(4)


def play(module: Path, point: int | None, *, balloon: str, seed: int = 1) -> int:
    """Detach at the ``point``-th call or trap of the worker; return how many there were."""
    guest = Machine(module, balloon=balloon, seed=seed)
    process: list[Lwp] = []

    def detach() -> None:
        process.append(guest.admin.start("detach", guest.admin.detach("vmmemctl0")))

    points = Points(guest.kernel, "vmmemctl0", point, detach)
    busy(guest)
    count = points.stop()
    if point is not None:
        guest.run(5)
        assert process[0].state == "gone"
        assert guest.balloon.size == 0
        guest.balloon.target = 200
        assert guest.do("rescan", "cpu0") == 0
        guest.run(20)
        assert guest.balloon.size == 200
    guest.leave()
    return count


def panic(module: Path, point: int, *, balloon: str, seed: int = 1) -> None:
    """Panic at the ``point``-th call or trap of the worker: the host has nothing afterwards.

    The worker may continue on another processor, and use a capability that START has withdrawn.
    """
    guest = Machine(module, balloon=balloon, seed=seed)
    Points(
        guest.kernel, "vmmemctl0", point, lambda: guest.admin.start("panic", guest.admin.panic())
    )
    try:
        busy(guest)
    except Halted:
        assert guest.balloon.size == 0
        assert set(guest.broken()) <= {"balloon-command"}
    else:
        raise AssertionError(f"no panic at point {point}")


def main() -> int:
    """Try them all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vmmemctl.anywhere",
        description="A detach and a panic at every point of a balloon's life.",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N (1)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th point (1)")
    parser.add_argument("--module", type=Path, metavar="FILE", help="instead of building kmod/")
    args = parser.parse_args()
    tried = failed = 0
    with tempfile.TemporaryDirectory() as out:
        module = args.module
        if module is None:
            from vmtgen.build.compile import build_module

            top = Path(__file__).resolve().parents[2]
            module = build_module(top / "kmod" / "vmmemctl", out=Path(out)).module.path
        for seed in range(1, args.seeds + 1):
            for balloon in KINDS:
                count = play(module, None, balloon=balloon, seed=seed)
                chosen = range(1, count + 1, args.every)
                for done in (play, panic):
                    name = f"{done.__name__}, seed {seed}, {balloon}, {count} points"
                    act = partial(done, module, balloon=balloon, seed=seed)
                    more = sweep(name, chosen, act)
                    tried, failed = tried + more[0], failed + more[1]
    sys.stdout.write(f"{tried} points tried, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
