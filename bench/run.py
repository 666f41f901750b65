"""A whole run: builds the driver, then measures each part in a separate process.

So no part's memory affects another, and a part that fails does not stop the others.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import Found, Result
from bench.making import build_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Plan

PARTS = (
    "making",
    "startup",
    "driver",
    "speed",
    "inside",
    "races",
    "beside",
    "remote",
    "length",
    "specs",
    "messages",
    "addresses",
    "seeds",
)


def machine() -> dict[str, Any]:
    """Return the kind of this machine, without its name."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {"cores": os.cpu_count(), "cpu": model, "python": platform.python_version()}


def measured(name: str, plan: Plan) -> Found:
    """Measure one part, in its own process."""
    found = importlib.import_module(f"bench.{name}").measure(plan)
    assert isinstance(found, Found)
    return found


def run(names: Sequence[str], plan: Plan, *, build: bool = True) -> Result:
    """Build the driver, then measure each part; record a failure and continue."""
    start = time.monotonic()
    result = Result(machine(), plan.quick)
    if build:
        build_all(plan)
    context = multiprocessing.get_context("spawn")
    for at, name in enumerate(names, 1):
        print(f"bench: {name} ({at} of {len(names)})", file=sys.stderr)
        with ProcessPoolExecutor(1, context) as pool:
            try:
                result.add(pool.submit(measured, name, plan).result())
            except Exception as error:  # any error is reported with its figure
                result.failed[name] = f"{type(error).__name__}: {error}"
                print(f"bench: {name} failed: {result.failed[name]}", file=sys.stderr)
    result.seconds = time.monotonic() - start
    return result
