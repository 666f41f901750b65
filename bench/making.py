"""Measures generation, build, lint and a simulated run in CPU seconds, and the modules' sizes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure, Found
from bench.timing import least_cpu, python, run_measured

if TYPE_CHECKING:
    from bench.figures import Plan

ROOT = Path(__file__).resolve().parents[1]
MACHINES = ("amd64", "i386", "aarch64")
ALONE = "Python alone"
GROUP = "making the driver"
SIZE_GOAL = 40.0  # KiB of text and rodata on amd64


def commands(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the commands that are measured with warm caches; they write below the plan's place."""
    module, out = str(plan.module("amd64")), str(plan.place)
    build = python("-m", "vmtgen", "build", "--out", out)
    both = '"$0" -m vmtgen build --out "$1" >&2 && exec "$0" -m vmtgen lint "$2"'
    return {
        ALONE: python("-c", "pass"),
        "generate": python("-m", "vmtgen", "generate", "--out", str(plan.place / "generated")),
        "build, nothing to compile": build,
        "lint": python("-m", "vmtgen", "lint", module),
        "build and lint": ("sh", "-c", both, build[0], out, module),
        "vmtsim run": python("-m", "vmtsim", "run", module),
    }


GOALS = {"generate": 1.5, "build and lint": 1.5, "vmtsim run": 3.0}


def build_all(plan: Plan) -> None:
    """Build the driver for each machine into the plan's place."""
    for machine in MACHINES:
        words = ("-m", "vmtgen", "build", "--machine", machine, "--out", str(plan.place))
        run_measured(python(*words), cwd=ROOT)


def from_nothing() -> Figure:
    """Return the time of a build with an empty cache, compared with the compiler's calls alone."""
    ours, alone = float("inf"), float("inf")
    for _ in range(3):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            words = ("-m", "bench.cold", "kmod/vmt", str(place / "out"))
            record = place / "calls.json"
            run_measured(python(*words, str(place / "recorded"), str(record)), cwd=ROOT)
            ours = min(ours, run_measured(python(*words, str(place / "cache")), cwd=ROOT).cpu)
            calls = json.loads(record.read_text(encoding="utf-8"))
            total = 0.0
            for call in calls:
                environment = {
                    "PATH": os.environ.get("PATH", os.defpath),
                    "LC_ALL": "C",
                    "HOME": call["home"],
                }
                total += run_measured(call["command"], cwd=call["cwd"], environment=environment).cpu
            alone = min(alone, total)
    return Figure(GROUP, "build from nothing", ours, "CPU s", "clang alone", alone)


def sizes(plan: Plan) -> list[Figure]:
    """Return the KiB of kernel memory that each module takes."""
    from vmtgen.kobj import read_module  # noqa: PLC0415 - keeps what is timed here small

    found: list[Figure] = []
    weights = {name: read_module(plan.module(name)).sizes for name in MACHINES}
    for machine, weight in weights.items():
        parts = ", ".join(f"{part} {size / 1024:.1f}" for part, size in weight.items())
        found.append(
            Figure(
                "module size",
                f"{machine}: text and rodata ({parts})",
                (weight["text"] + weight["rodata"]) / 1024,
                "KiB",
                "" if machine == "amd64" else "amd64",
                None
                if machine == "amd64"
                else (weights["amd64"]["text"] + weights["amd64"]["rodata"]) / 1024,
                goal=SIZE_GOAL if machine == "amd64" else None,
            )
        )
    return found


def measure(plan: Plan) -> Found:
    """Measure all these figures."""
    used = least_cpu(commands(plan), cwd=ROOT, runs=1 if plan.quick else plan.runs)
    alone = used.pop(ALONE)
    figures = [
        Figure(GROUP, name, value, "CPU s", ALONE, alone, goal=GOALS.get(name))
        for name, value in used.items()
    ]
    if plan.quick:
        note = "not in a quick run"
        nothing = Figure(GROUP, "build from nothing", None, "CPU s", "clang alone", note=note)
    else:
        nothing = from_nothing()
    return Found((*figures, nothing, *sizes(plan)))
