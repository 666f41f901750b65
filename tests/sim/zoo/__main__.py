"""The zoo's table: ``python -m tests.sim.zoo [--seeds N] [--blind N] [--plant-seed N]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from vmtsim.core.rng import Rng

from tests.sim.kernel.guestcode import compile_module
from tests.sim.zoo.animals import ANIMALS
from tests.sim.zoo.blind import drawn
from tests.sim.zoo.play import play
from tests.sim.zoo.weak import WEAK, wrong


def main() -> int:
    """Run the zoo and print the findings; 1 if a twin is not clean or a bug is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="of each twin (100)")
    parser.add_argument("--blind", type=int, default=20, help="mistakes that a seed plants (20)")
    parser.add_argument("--plant-seed", type=int, default=1, help="which (1)")
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write = sys.stdout.write
        write(f"{'mistake':32} {'found in seed':>14} {'of':>4}  twin clean\n")
        for number, animal in enumerate(ANIMALS):
            path = compile_module(animal.source(planted=True), top / f"p{number}", animal.machine)
            seeds = range(1, animal.within + 1)
            found = next((seed for seed in seeds if play(path, animal, seed)), 0)
            path = compile_module(animal.source(planted=False), top / f"c{number}", animal.machine)
            dirty = [seed for seed in range(1, args.seeds + 1) if play(path, animal, seed)]
            bad += not found or bool(dirty)
            clean = f"{args.seeds - len(dirty)} of {args.seeds}"
            write(f"{animal.name:32} {found or 'no':>14} {animal.within:4}  {clean}\n")
        write(f"{'with store buffers':32} {'found in seed':>14} {'of':>4}  twin clean\n")
        for weak, machine in ((each, machine) for each in WEAK for machine in each.machines):
            path = compile_module(weak.source(planted=True), top / f"w{weak.name}", machine)
            found = next((s for s in range(1, weak.within + 1) if wrong(path, machine, s)), 0)
            path = compile_module(weak.source(planted=False), top / f"v{weak.name}", machine)
            dirty = [seed for seed in range(1, args.seeds + 1) if wrong(path, machine, seed)]
            bad += not found or bool(dirty)
            clean = f"{args.seeds - len(dirty)} of {args.seeds}"
            what = f"{weak.name} ({machine})"
            write(f"{what:32} {found or 'no':>14} {weak.within:4}  {clean}\n")
        hits = 0
        planted = drawn(ANIMALS, Rng(args.plant_seed), args.blind)
        for number, (animal, plant) in enumerate(planted):
            path = compile_module(plant.source, top / f"b{number}", animal.machine)
            found = next((seed for seed in range(1, 51) if play(path, animal, seed)), 0)
            hits += bool(found)
            where = f"seed {found}" if found else "NOT FOUND in 50 seeds"
            write(f"blind  {animal.name}: {plant.what}: {where}\n")
        write(f"blind: {hits} of {len(planted)} found\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
