"""Compares the simulator with that of another commit, in one run: ``make bench BASE=COMMIT``.

The commit is unpacked below build/bench, and runs with its own Python files in separate processes.
Both run the same module, the driver of that commit, to compare the simulators; and each runs the
driver of its own commit, which is the time that a user waits.  The two run in turn, in small
portions, so that a busy machine slows both alike.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.build.compile import build_module
from vmtgen.common.errors import ReportedError

from bench.figures import Figure, Found
from bench.timing import least_cpu, python

if TYPE_CHECKING:
    from bench.figures import Plan

ROOT = Path(__file__).resolve().parents[1]
GROUP = "beside"
PORTION = 10
TURNS = 2  # the best of this many counts, for each seed
# The highest cost of the same work, as a part of the cost at that commit.
GOAL = 1.15
# The same for the seeds of a campaign with the same driver, the cost of the simulator alone, and
# for a short run, which is mostly start.
SEEDS_GOAL = 0.6
START_GOAL = 0.6
START_RUNS = 20
_START = """
import sys
root = sys.argv[1]
sys.path[:0] = [f"{root}/gen", f"{root}/sim"]
from vmtsim.cli import main
sys.exit(main(["run", "--summary", sys.argv[2]]))
"""


class BaseError(ReportedError):
    """The other commit cannot be unpacked."""


def unpack(commit: str, place: Path) -> Path:
    """Write the files of ``commit`` into a new directory below ``place``; returns it.

    Raises BaseError.
    """
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", commit],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        printed = archive.stderr.decode(errors="replace").strip()
        raise BaseError(
            f"BASE={commit}: {printed}",
            hint="a clone without history lacks it: git fetch --unshallow",
        )
    target = place / f"base-{commit}"
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(target, filter="data")
    return target


def _play(root: Path, module: Path, *what: object) -> Any:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "play.py"), str(root), str(module), *map(str, what)],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    if done.returncode:
        raise RuntimeError(f"{root.name}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def _driver(root: Path) -> Path:
    """Return the directory of vmt's C, which was one level higher in early commits."""
    directory = root / "kmod" / "vmt"
    return directory if (directory / "Makefile").exists() else root / "kmod"


def measure(plan: Plan) -> Found:
    """Compare seeds, a short run and an idle hour; measure nothing without a commit."""
    if not plan.base:
        note = "make bench BASE=COMMIT compares with that commit"
        return Found((Figure(GROUP, "an earlier commit", None, "CPU s", note=note),))
    place = plan.place.resolve()
    base = unpack(plan.base, place)
    module = build_module(
        _driver(base), out=place / "base-driver", name="vmt", cache=ROOT / "build" / ".cache"
    ).path
    own = plan.module("amd64").resolve()
    ways = {"the same driver": (module, module), "its own driver": (module, own)}
    figures = []
    for name, (then, now) in ways.items():
        figures += _seeds(plan, name, (base, then), (ROOT, now))
        figures.append(_start(plan, name, (base, then), (ROOT, now)))
    hour = 60 if plan.quick else 3600
    for name, (then, now) in ways.items():
        costs = [(_play(base, then, "idle", hour), _play(ROOT, now, "idle", hour))
                 for _ in range(1 if plan.quick else 3)]  # fmt: skip
        before, after = (min(each) for each in zip(*costs, strict=True))
        figures.append(_figure(plan, f"{hour} idle seconds, {name}", after, before))
    return Found(tuple(figures))


def _seeds(plan: Plan, name: str, then: tuple[Path, Path], now: tuple[Path, Path]) -> list[Figure]:
    """Compare the seeds that pass on both: a failing seed stops early."""
    last = 2 if plan.quick else plan.seeds
    spent = [0.0, 0.0]
    passed = 0
    for first in range(1, last + 1, PORTION):
        end = min(first + PORTION - 1, last)
        turns = [
            [_play(*each, "seeds", first, end) for each in (then, now)]
            for _ in range(1 if plan.quick else TURNS)
        ]
        for seed in turns[0][0]:
            found = [[side[seed] for side in turn] for turn in turns]
            if not any(failed for _, failed in found[0]):
                passed += 1
                for side in range(2):
                    spent[side] += min(turn[side][0] for turn in found)
    note = "" if passed else "no seed passes on both"
    title = f"{passed} of seeds 1:{last}, {name}"
    goal = SEEDS_GOAL if then[1] == now[1] else GOAL
    return [_figure(plan, title, spent[1] if passed else None, spent[0], note, goal)]


def _start(plan: Plan, name: str, then: tuple[Path, Path], now: tuple[Path, Path]) -> Figure:
    """Compare whole processes of ``vmtsim run --summary``."""
    commands = {
        which: python("-c", _START, *map(str, each))
        for which, each in (("then", then), ("now", now))
    }
    # An installed package is compiled.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    runs = 2 if plan.quick else START_RUNS
    spent = least_cpu(commands, cwd=ROOT, runs=runs, environment=environment)
    title = f"a run of the default scenario from start to exit, {name}"
    return _figure(plan, title, spent["now"], spent["then"], goal=START_GOAL)


def _figure(
    plan: Plan, name: str, value: float | None, base: float, note: str = "", goal: float = GOAL
) -> Figure:
    return Figure(
        GROUP, name, value, "CPU s", f"commit {plan.base}", base, goal=goal, of_ratio=True,
        note=note,
    )  # fmt: skip
