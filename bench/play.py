"""Runs seeds and idle time with the vmtsim of any commit; ``bench.beside`` starts this program.

``play.py ROOT MODULE seeds FIRST LAST`` and ``play.py ROOT MODULE idle SECONDS``.  ROOT is a
checkout; the program imports only its packages and their dependencies.  Prints JSON: for each
seed its CPU seconds and whether it failed, or the CPU seconds of the idle time.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def _play() -> Any:
    """Return the function that plays a seed; its module had another name in early commits."""
    try:
        return importlib.import_module("vmtsim.campaign.player").play
    except ModuleNotFoundError:
        return importlib.import_module("vmtsim.campaign.play").play


def seeds(module: Path, first: int, last: int) -> dict[int, tuple[float, bool]]:
    """Play seeds ``first`` to ``last``."""
    play = _play()
    play(module, first)  # exclude what is read and parsed once
    found = {}
    for seed in range(first, last + 1):
        start = time.process_time()
        failed = bool(play(module, seed).status)
        found[seed] = (time.process_time() - start, failed)
    return found


def idle(module: Path, seconds: int) -> float:
    """Let idle time of a loaded driver pass, after two minutes to settle."""
    machine = importlib.import_module("tests.driver.rig").Rig(module)
    machine.run(120)
    start = time.process_time()
    machine.run(seconds)
    return time.process_time() - start


def main(root: str, module: str, what: str, *numbers: str) -> None:
    """Run the command of the command line."""
    sys.path[:0] = [root, f"{root}/gen", f"{root}/sim"]
    import vmtsim  # noqa: PLC0415 - that of ROOT

    if Path(root) not in Path(str(vmtsim.__file__)).parents:
        raise SystemExit(f"play.py: {vmtsim.__file__} was imported, not the vmtsim of {root}")
    work: Any = {"seeds": seeds, "idle": idle}[what]
    print(json.dumps(work(Path(module), *map(int, numbers))))


if __name__ == "__main__":
    main(*sys.argv[1:])
