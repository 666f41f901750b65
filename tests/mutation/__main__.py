"""Mutation tests of a sample of the code: ``python -m tests.mutation [--sample N] [--seed N]``.

Each mutant is one small change to a file of a room, in a copy of the checkout; the tests of that
room run until one fails. A mutant that survives and is not in explained.yaml needs a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vmtgen.common.located import load_yaml

from .sites import Site, sites

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).parent / "explained.yaml"
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", ".*_cache")
# The installer syncs each file that it writes, which is slow on a shared disk.
_MEMORY = Path("/dev/shm")
_PATIENCE = 5.0  # times as long as the tests take with nothing wrong: it hangs


@dataclass(frozen=True)
class Room:
    """Python files, as patterns, and the tests for them, quickest first."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = (
    Room(
        "loader",
        ("gen/vmtgen/compiler/spec/*.py", "gen/vmtgen/common/*.py"),
        ("tests/gen/test_located.py", "tests/gen/spec"),
    ),
    Room(
        "kobj",
        ("gen/vmtgen/kobj/*.py",),
        tuple(
            f"tests/gen/module/test_{name}.py"
            for name in (
                "relocations",
                "rule_table",
                "refusals",
                "link",
                "lint",
                "build",
                "lint_others",
            )
        ),
    ),
    Room(
        "installer",
        ("userland/vmtctl/install/*.py",),
        tuple(
            f"tests/userland/test_{name}.py"
            for name in ("installer_promises", "installer", "odd_trees")
        ),
    ),
)


def explained() -> dict[tuple[str, str, str, str], str]:
    """The reason of each equivalent mutant, by the key of its site."""
    return {
        (entry["file"], entry["line"], entry["was"], entry["now"]): entry["reason"]
        for entry in load_yaml(EXPLAINED).plain()
    }


def all_sites(room: Room) -> list[Site]:
    """Every mutant of a room, in order."""
    files = sorted({file for pattern in room.files for file in ROOT.glob(pattern)})
    return [
        site
        for file in files
        for site in sites(file.relative_to(ROOT).as_posix(), file.read_bytes())
    ]


@dataclass(frozen=True)
class Copy:
    """A copy of the checkout that may be broken."""

    top: Path

    def tests_pass(self, room: Room, patience: float | None = None) -> bool:
        """Run the tests of the room until one fails; one that hangs has failed."""
        paths = (str(self.top / name) for name in ("gen", "sim", "userland"))
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *room.tests],
            cwd=self.top,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "TMPDIR": str(self.top.parent),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(patience) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False

    def survives(self, room: Room, site: Site, patience: float) -> bool:
        """Whether no test detects the change."""
        file = self.top / site.file
        right = file.read_bytes()
        try:
            self._write(file, site.applied(right))
            return self.tests_pass(room, patience)
        finally:
            self._write(file, right)

    @staticmethod
    def _write(file: Path, text: bytes) -> None:
        file.write_bytes(text)
        # Python believes a compiled file whose source has the same size and second.
        Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)


def main() -> int:
    """Print each survivor and the figures; 1 where one is not explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="of all rooms (60)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which ones (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--room", action="append", choices=[room.name for room in ROOMS])
    args = parser.parse_args()
    reasons = explained()
    everything = {room: all_sites(room) for room in ROOMS}
    known = {site.key for found in everything.values() for site in found}
    for file, line, was, now in reasons.keys() - known:
        print(f"STALE  {EXPLAINED.name}: {file}: no {line!r} with {was!r} to become {now!r}")
    if reasons.keys() - known:
        return 1
    rooms = [room for room in ROOMS if not args.room or room.name in args.room]
    unexplained = 0
    with tempfile.TemporaryDirectory(
        prefix="mutation-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None
    ) as folder:
        copies: queue.Queue[Copy] = queue.Queue()
        for number in range(args.jobs):
            shutil.copytree(ROOT, Path(folder) / str(number), ignore=_NOT_COPIED, symlinks=True)
            copies.put(Copy(Path(folder) / str(number)))
        for room in rooms:
            count = min(args.sample // len(rooms), len(everything[room]))
            chosen = sorted(random.Random(args.seed).sample(everything[room], count))
            unexplained += judged(room, chosen, copies, reasons)
    return 1 if unexplained else 0


def judged(
    room: Room,
    chosen: list[Site],
    copies: queue.Queue[Copy],
    reasons: dict[tuple[str, str, str, str], str],
) -> int:
    """Try the mutants of a room; return how many survive without an explanation."""

    def time_unchanged(copied: Copy) -> float:
        began = time.monotonic()
        if not copied.tests_pass(room):
            raise SystemExit(f"{room.name}: the tests fail on the unmodified code")
        return _PATIENCE * (time.monotonic() - began)

    def attempt(site: Site) -> bool:
        copied = copies.get()
        try:
            alive = copied.survives(room, site, patience)
        finally:
            copies.put(copied)
        if alive:
            print(f"{reasons.get(site.key, 'SURVIVED')}  {site}", flush=True)
        return alive

    with ThreadPoolExecutor(copies.qsize()) as pool:
        patience = max(pool.map(time_unchanged, list(copies.queue)))
        survived = list(pool.map(attempt, chosen))
    survivors = [site for site, alive in zip(chosen, survived, strict=True) if alive]
    strange = sum(site.key not in reasons for site in survivors)
    print(
        f"{room.name}: {len(chosen) - len(survivors)} of {len(chosen)} mutants killed, "
        f"{len(survivors) - strange} explained, {strange} not",
        flush=True,
    )
    return strange


if __name__ == "__main__":
    sys.exit(main())
