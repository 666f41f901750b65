"""Figures of this machine, measured in one run: ``make bench``.

Prints a Markdown table and keeps the same as JSON in build/bench.json.  The
CPU seconds are those of the command and its children; a ratio compares two
of them from this very run, which is what survives a change of machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import driver, remote, startup

ROOT = Path(__file__).resolve().parents[1]
MODULE = "build/11.0/amd64/vmt.kmod"


@dataclass(frozen=True)
class Task:
    """A command to measure; ``goal`` is in CPU seconds."""

    name: str
    command: tuple[str, ...]
    goal: float


def python(*words: str) -> tuple[str, ...]:
    return (sys.executable, *words)


TASKS = (
    Task("regenerate", python("-m", "vmtgen", "generate"), 1.5),
    Task(
        "build and lint one target",
        ("sh", "-c", f'"$0" -m vmtgen build && "$0" -m vmtgen lint {MODULE}', sys.executable),
        1.5,
    ),
    Task("vmtsim run", python("-m", "vmtsim", "run", MODULE), 3.0),
)
STARTUP_GOAL = 2.5  # times Python alone


def cpu_seconds(command: tuple[str, ...]) -> float:
    """Run ``command`` and return its CPU seconds, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def verdict(value: float, goal: float) -> str:
    return "ok" if value <= goal else "MISSED"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="the best of N runs counts (%(default)s)"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", metavar="FILE")
    args = parser.parse_args()

    rows = []
    print("| what (warm) | CPU seconds | goal | |")
    print("|---|---:|---:|---|")
    for task in TASKS:
        cpu_seconds(task.command)  # warms the caches
        best = min(cpu_seconds(task.command) for _ in range(args.runs))
        rows.append({"name": task.name, "cpu_seconds": best, "goal": task.goal})
        print(f"| {task.name} | {best:.2f} | {task.goal:.1f} | {verdict(best, task.goal)} |")
    starts = startup.medians(ROOT / "userland")
    for name, used in starts.items():
        ratio = used / starts[startup.ALONE]
        rows.append({"name": name, "cpu_seconds": used, "ratio": ratio, "goal_ratio": STARTUP_GOAL})
        print(
            f"| {name} | {used:.3f} ({ratio:.2f} times Python alone) | {STARTUP_GOAL} times"
            f" | {verdict(ratio, STARTUP_GOAL)} |"
        )
    for cost in driver.rows(ROOT / MODULE):
        rows.append(asdict(cost))
        stock = "" if cost.stock is None else f" (stock driver: {cost.stock:g})"
        told = "ok" if cost.met else "MISSED"
        print(f"| {cost.name} | {cost.value:.4g} {cost.unit}{stock} | {cost.goal:g} | {told} |")
    for row in remote.rows():
        rows.append(row)
        rate = row["calls_per_second"]
        print(f"| {row['name']} | {rate:.0f} backdoor calls a second served | | |")

    args.json.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.json.with_suffix(".new")
    unfinished.write_text(
        json.dumps({"version": 1, "cores": os.cpu_count(), "rows": rows}, indent=1) + "\n"
    )
    unfinished.replace(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
