"""The cost of a start, in multiples of ``python3 -c pass``: vmtctl, vmtgen lint, vmtsim run.

The figure is the CPU time of the process itself: it prints its RUSAGE_SELF at exit, so that its
children, the system's tools, do not count. The result is the median of the runs; the commands run
in turn, so that a busy machine slows all alike.
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

# As in the installed script; `python -m` would add 3 ms of runpy.
_START = "import sys; from vmtctl.cli import main; sys.exit(main())"
CASES = {
    ALONE: ("-c", "pass"),
    "vmtctl --help": ("-c", _START, "--help"),
    "vmtctl status": ("-c", _START, "status"),
    # The import time of two modules that vmtctl avoids: see vmtctl/grammar.py.
    "argparse and subprocess": ("-c", "import argparse, subprocess"),
}

# Each Python process reads it at its start, also `python3 -c pass`.
_SITE = """\
import atexit, os, resource
def report():
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(2, b"\\n%f\\n" % (used.ru_utime + used.ru_stime))
atexit.register(report)
"""


# With the driver's module; the first run fills the cache of parsed files.
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
