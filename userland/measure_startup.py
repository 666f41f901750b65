"""Measure what vmtctl's start costs, as multiples of ``python3 -c pass``.

usage: python measure_startup.py [TOOLS_ROOT]

Counted is the CPU time of the process itself: what it says at its very end of RUSAGE_SELF, so
that the system's tools, which are its children, do not count. The median of 40 runs each, taken
in turn, so that a busy machine disturbs all alike. With TOOLS_ROOT (a guest on the desk) `status`
runs all its tools.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 40
LIMIT = 2.5

# Every Python reads it at its start, the one that only passes as well.
_SITE = """\
import atexit, os, resource
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(2, b"\\n%f\\n" % (used.ru_utime + used.ru_stime))
atexit.register(tell)
"""


def cpu_time(arguments: list[str], environment: dict[str, str]) -> float:
    """Return the CPU time of one Python in seconds."""
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, check=False
    )
    return float(done.stderr.split()[-1])


def main() -> int:
    """Print the table; 1 when a line is over the limit."""
    root = ["--tools-root", sys.argv[1]] if len(sys.argv) > 1 else []
    # As the installed script does it; `python -m` would add runpy's own 3 ms.
    start = "import sys; from vmtctl.cli import main; sys.exit(main())"
    cases = {
        "python3 -c pass": ["-c", "pass"],
        "vmtctl --help": ["-c", start, "--help"],
        "vmtctl status": ["-c", start, *root, "status"],
    }
    with tempfile.TemporaryDirectory() as place:
        Path(place, "sitecustomize.py").write_text(_SITE)
        path = os.pathsep.join((place, str(Path(__file__).parent)))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": f"{place}/cache"}
        # An installed package is compiled.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(RUNS):
            for name, arguments in cases.items():
                times[name].append(cpu_time(arguments, environment))
    base = statistics.median(times["python3 -c pass"])
    worst = 0.0
    for name, found in times.items():
        ratio = statistics.median(found) / base
        worst = max(worst, ratio)
        print(f"{name:<16} {statistics.median(found) * 1000:6.1f} ms  {ratio:4.2f} x")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
