"""Measures a command: processor seconds, wall-clock seconds, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """``cpu`` and ``wall`` in seconds, children included; ``peak`` bytes of the largest process.

    The peak is at least that of the calling process: Linux also counts the memory before exec.
    """

    cpu: float
    wall: float
    peak: int


def python(*words: str) -> tuple[str, ...]:
    """Return the command that runs this Python with ``words``."""
    return (sys.executable, *words)


def run_measured(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> Usage:
    """Run ``command`` to its end; RuntimeError with its last output where it fails."""
    with tempfile.TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=printed
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            words = printed.read().decode("utf-8", "replace").strip()[-2000:]
            raise RuntimeError(f"{' '.join(command)}: status {process.returncode}: {words}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes: getrusage(2)
    return Usage(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * unit)


def least_cpu(
    commands: Mapping[str, Sequence[str]],
    *,
    cwd: Path,
    runs: int,
    environment: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Return the least CPU seconds of each command, by name.

    They run in turn, so that a busy machine slows all alike; before several runs, an extra run
    warms the caches.
    """
    for command in commands.values() if runs > 1 else ():
        run_measured(command, cwd=cwd, environment=environment)
    found = dict.fromkeys(commands, float("inf"))
    for _ in range(runs):
        for name, command in commands.items():
            spent = run_measured(command, cwd=cwd, environment=environment)
            found[name] = min(found[name], spent.cpu)
    return found
