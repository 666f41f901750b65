"""An administrator changes the network at any point of the driver's walk over the interfaces.

``make test`` tries a sample of the points (test_network_changes.py); more of them::

    .venv/bin/python -m tests.driver.walks [--every 7] [--seeds 1]

With ``--every 1`` each point is tried: this many kernel calls after the lists began to be read, and
this many instructions after that.  Exit status 1: some failed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from vmtgen.build.compile import build_module

from .rig import Rig

TOP = Path(__file__).resolve().parents[2]
ADDRESSES = ["192.0.2.10/24", "2001:db8::10/64"]
CARDS = {"wm0": ADDRESSES, "tap0": ["10.0.0.1/30"], "wm1": []}
# Calls of the kernel and instructions: a walk over CARDS is shorter than that.
CALLS, INSTRUCTIONS = 120, 30
CHANGES: tuple[dict[str, Any], ...] = (
    {"interface": "wm0", "do": "destroy"},
    {"interface": "wm0", "delete": ADDRESSES[0]},
    {"interface": "wm1", "link": "00:0c:29:00:00:99"},
    {"interface": "tap0", "do": "down"},
)


def meet(machine: Rig, change: dict[str, Any], point: tuple[int, int]) -> None:
    """Let a change happen in the middle of the next walk, have the driver walk, and undo it."""
    lwp = machine.start("ifconfig", {**change, "reading": point})
    machine.run(0)
    assert machine.option("broadcastIP", "1").startswith(b"OK")
    assert machine.until(lambda: lwp.state == "gone", 200)
    assert lwp.result == 0
    machine.clean()
    machine.net.configure(CARDS)
    if change.get("do") == "down":
        machine.net.up("tap0", up=True)


def play(module: Path, points: list[tuple[int, int]], *, seed: int, net_mpsafe: bool) -> list[str]:
    """Try the points with each change; return the failures."""
    failed = []
    for change in CHANGES:
        machine = None
        for point in points:
            if machine is None:
                machine = Rig(module, seed=seed, net_mpsafe=net_mpsafe)
                machine.net.configure(CARDS)
            try:
                meet(machine, change, point)
            except Exception as error:
                failed.append(f"seed {seed}, {change} at {point}: {error!r}")
                machine = None  # the state is unknown
        if machine is not None:
            machine.leave()
    return failed


def main() -> int:
    """Try them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N")
    parser.add_argument("--every", type=int, default=7, metavar="N", help="every N-th point")
    parser.add_argument("--module", type=Path, metavar="FILE", help="instead of building kmod/")
    args = parser.parse_args()
    points = list(itertools.product(range(CALLS), range(1, INSTRUCTIONS + 1)))[:: args.every]
    tried, failed = 0, []
    with tempfile.TemporaryDirectory() as out:
        module = args.module or build_module(TOP / "kmod" / "vmt", out=Path(out)).module.path
        for seed, mpsafe in itertools.product(range(1, args.seeds + 1), (False, True)):
            failed += play(module, points, seed=seed, net_mpsafe=mpsafe)
            tried += len(points) * len(CHANGES)
            sys.stdout.write(f"{tried} points tried, {len(failed)} failed\n")
            sys.stdout.flush()
    sys.stdout.writelines(f"{line}\n" for line in failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
