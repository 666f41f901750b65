"""Lists the lines of the driver's C that run in all shipped scenarios and tests of this directory.

    PYTHONPATH=sim:gen .venv/bin/python tests/driver/lines.py [--at-least 97]

prints the table of ``vmtsim coverage`` over both.  Lines that never ran are explained in
docs/FEATURES.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vmtgen.build.compile import build_module
from vmtsim.run import coverage
from vmtsim.run.simulation import Simulation
from vmtsim.scenario import script

TOP = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description="which lines of the driver's C ran")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="pytest -n N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        module = build_module(TOP / "kmod" / "vmt", out=Path(place)).module.path
        collected = coverage.Coverage(module)
        for name in script.shipped():
            for builtin in (False, True):
                simulation = Simulation(module, script.load(name), builtin_vmt=builtin)
                collected.watch(simulation)
                simulation.run()
                collected.ended()
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", str(args.jobs), "tests/driver"],
            cwd=TOP,
            env={**os.environ, "DRIVER_LINES": place},
            capture_output=True,
            text=True,
            check=False,
        )
        sys.stdout.write(ran.stdout.splitlines()[-1] + "\n\n")
        files = {file.name: file for file in collected.files(TOP / "kmod" / "vmt")}
        for notes in Path(place).glob("*.jsonl"):
            for text in notes.read_text(encoding="utf-8").splitlines():
                for name, line in json.loads(text):
                    if name in files and line in files[name].hits:
                        files[name].hits[line] += 1
    found = list(files.values())
    sys.stdout.write("\n".join(coverage.table(found)) + "\n")
    whole = coverage.total(found)
    if ran.returncode:
        sys.stdout.write(ran.stdout)
        return 1
    return int(whole.run * 100 < args.at_least * whole.total)


if __name__ == "__main__":
    sys.exit(main())
