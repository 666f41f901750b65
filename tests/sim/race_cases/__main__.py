"""The table of race cases:

python -m tests.sim.race_cases [--seeds N] [--random N] [--random-seed N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from vmtsim.core.rng import Rng

from tests.sim.kernel.guestcode import compile_module
from tests.sim.race_cases.cases import CASES
from tests.sim.race_cases.planted import drawn
from tests.sim.race_cases.play import play
from tests.sim.race_cases.weak_cases import ROUNDS, WEAK, wrong


def main() -> int:
    """Run the cases and print the findings; 1 if a twin is not clean or a bug is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="of each twin (100)")
    parser.add_argument("--random", type=int, default=20, help="defects planted at random (20)")
    parser.add_argument("--random-seed", type=int, default=1, help="random seed of these (1)")
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write = sys.stdout.write
        write(f"{'defect':32} {'found in seed':>14} {'of':>4}  twin clean\n")
        for number, case in enumerate(CASES):
            path = compile_module(case.source(planted=True), top / f"p{number}", case.machine)
            seeds = range(1, case.within + 1)
            found = next((seed for seed in seeds if play(path, case, seed)), 0)
            path = compile_module(case.source(planted=False), top / f"c{number}", case.machine)
            dirty = [seed for seed in range(1, args.seeds + 1) if play(path, case, seed)]
            bad += not found or bool(dirty)
            clean = f"{args.seeds - len(dirty)} of {args.seeds}"
            write(f"{case.name:32} {found or 'no':>14} {case.within:4}  {clean}\n")
        write(f"{'with store buffers':32} {'found in seed':>14} {'of':>4}  twin clean\n")
        # A seed of these is many rounds on one machine.
        weak_seeds = max(args.seeds // ROUNDS, 1)
        for weak, machine in ((each, machine) for each in WEAK for machine in each.machines):
            path = compile_module(weak.source(planted=True), top / f"w{weak.name}", machine)
            found = next((s for s in range(1, weak.within + 1) if wrong(path, machine, s)), 0)
            path = compile_module(weak.source(planted=False), top / f"v{weak.name}", machine)
            dirty = [seed for seed in range(1, weak_seeds + 1) if wrong(path, machine, seed)]
            bad += not found or bool(dirty)
            clean = f"{weak_seeds - len(dirty)} of {weak_seeds}"
            what = f"{weak.name} ({machine})"
            write(f"{what:32} {found or 'no':>14} {weak.within:4}  {clean}\n")
        hits = 0
        planted = drawn(CASES, Rng(args.random_seed), args.random)
        for number, (case, plant) in enumerate(planted):
            path = compile_module(plant.source, top / f"b{number}", case.machine)
            found = next((seed for seed in range(1, 51) if play(path, case, seed)), 0)
            hits += bool(found)
            where = f"seed {found}" if found else "NOT FOUND in 50 seeds"
            write(f"random  {case.name}: {plant.what}: {where}\n")
        write(f"random: {hits} of {len(planted)} found\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
