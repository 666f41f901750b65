"""What a start costs, as multiples of ``python3 -c pass``: vmtctl, vmtgen lint, vmtsim run.

Counted is the CPU time of the process itself: what it says at its very end of RUSAGE_SELF, so
that the system's tools, which are its children, do not count. The median of the runs, taken in
turn, so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure, Found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.figures import Plan

ROOT = Path(__file__).resolve().parents[1]
RUNS = 40
ALONE = "Python alone"
GOAL = 2.5  # times Python alone

# As the installed script does it; `python -m` would add runpy's own 3 ms.
_START = "import sys; from vmtctl.cli import main; sys.exit(main())"
CASES = {
    ALONE: ("-c", "pass"),
    "vmtctl --help": ("-c", _START, "--help"),
    "vmtctl status": ("-c", _START, "status"),
    # What vmtctl does without, before anything is parsed or run with it: see vmtctl/grammar.py.
    "argparse and subprocess": ("-c", "import argparse, subprocess"),
}

# Every Python reads it at its start, the one that only passes as well.
_SITE = """\
import atexit, os, resource
def report():
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(2, b"\\n%f\\n" % (used.ru_utime + used.ru_stime))
atexit.register(report)
"""


# With the driver's module; the first run of all fills the cache of what was parsed.
_LINT = "import sys; from vmtgen.cli import main; sys.exit(main(sys.argv[1:]))"
_RUN = "import sys; from vmtsim.cli import main; sys.exit(main(sys.argv[1:]))"


def cpu_time(arguments: tuple[str, ...], environment: dict[str, str]) -> float:
    """Return the CPU time of one Python in seconds."""
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, check=False
    )
    return float(done.stderr.split()[-1])


def medians(
    userland: Path, runs: int = RUNS, cases: Mapping[str, tuple[str, ...]] = CASES
) -> dict[str, float]:
    """Return the CPU seconds of each case; ``userland`` holds the package vmtctl."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "sitecustomize.py").write_text(_SITE)
        path = os.pathsep.join((place, str(userland)))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": f"{place}/cache"}
        # An installed package is compiled.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(runs):
            for name, arguments in cases.items():
                times[name].append(cpu_time(arguments, environment))
    return {name: statistics.median(found) for name, found in times.items()}


def measure(plan: Plan) -> Found:
    """Measure the starts, in CPU milliseconds."""
    module = plan.module("amd64")
    others = {
        "vmtgen lint": ("-c", _LINT, "lint", str(module)),
        "vmtsim run --summary": ("-c", _RUN, "run", "--summary", str(module)),
    }
    if not module.exists():
        others = {}
    used = medians(ROOT / "userland", 3 if plan.quick else RUNS, {**CASES, **others})
    alone = used.pop(ALONE) * 1000
    return Found(
        tuple(
            Figure(
                "Start" if name in others else "vmtctl",
                name,
                value * 1000,
                "CPU ms",
                ALONE,
                alone,
                goal=GOAL if name.startswith("vmtctl") else None,
                of_ratio=True,
            )
            for name, value in used.items()
        )
    )
