"""Runs the whole suite under bad conditions and prints one table: results and cost.

``python -m tests.suite_runs [--kind KIND ...] [-- ARGUMENT OF PYTEST ...]``

==========  ========================================================================
plain       as `make test` does
busy        five times, with a busy loop on each core beside it
one-core    three times, on one core alone
directory   in a clone whose path has a blank and letters beyond ASCII
user        in a clone that belongs to the user `nobody`, as that user (needs root,
            and a Python that every user may run: ``--python``)
==========  ========================================================================

Each run has an order of the tests of its own, which its log names.  Seconds of processor time are
user and system time of everything that a run waited for; the busy loops are not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "suite-runs"
KINDS = {"plain": 1, "busy": 5, "one-core": 3, "directory": 1, "user": 1}
_USER_ID = 65534  # sic: nobody(7)
_AS_USER = ("setpriv", f"--reuid={_USER_ID}", f"--regid={_USER_ID}", "--clear-groups")
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


@dataclass(frozen=True)
class Row:
    """One run: what pytest counted, and seconds."""

    kind: str
    number: int
    status: int
    counts: dict[str, int]
    wall: float
    cpu: float

    def __str__(self) -> str:
        failed = self.counts.get("failed", 0) + self.counts.get("error", 0)
        return (
            f"{self.kind:<10} {self.number}  {'ok' if self.status == 0 else 'FAILED':<7}"
            f"{self.counts.get('passed', 0):>7}{failed:>7}{self.counts.get('skipped', 0):>8}"
            f"{self.wall:>8.0f}{self.cpu:>8.0f}"
        )


HEADER = (
    f"{'kind':<10} {'':<2} {'':<7}{'passed':>7}{'failed':>7}{'skipped':>8}{'wall s':>8}{'CPU s':>8}"
)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep every core busy."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextlib.contextmanager
def clone(name: str, python: str) -> Iterator[Path]:
    """Yield a clone of the last commit with its own environment, made by ``python``."""
    with tempfile.TemporaryDirectory(prefix="suite-", ignore_cleanup_errors=True) as folder:
        top = Path(folder) / name
        subprocess.run(["git", "clone", "-q", str(ROOT), str(top)], check=True)
        subprocess.run(
            ["make", "env", f"PYTHON={python}"], cwd=top, check=True, stdout=subprocess.DEVNULL
        )
        yield top


def measure(kind: str, number: int, command: Sequence[str], where: Path) -> Row:
    """Run the suite in ``where`` and count."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{kind}-{number}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=where, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    counts = {
        "error" if what.startswith("error") else what: int(count)
        for count, what in _COUNT.findall(log.read_text(encoding="utf-8", errors="replace")[-400:])
    }
    wall, cpu = time.monotonic() - began, used.ru_utime + used.ru_stime
    return Row(kind, number, process.returncode, counts, wall, cpu)


def why_not_as_user(python: str) -> str:
    """Return the reason why a run as an unprivileged user is impossible, or ""."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return "needs root and setpriv(1)"
    if subprocess.run(
        [*_AS_USER, "env", python, "-c", ""], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        return f"an unprivileged user may not run {python}: name another with --python"
    return ""


def run(kind: str, number: int, arguments: Sequence[str], python: str) -> Row:
    """Do one run of a kind."""
    suite = ["-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *arguments]
    here = [sys.executable, *suite]
    if kind == "busy":
        with busy():
            return measure(kind, number, here, ROOT)
    if kind == "one-core":
        return measure(kind, number, ["taskset", "-c", "0", *here], ROOT)
    if kind == "directory":
        with clone("a copy, schön ελ", python) as top:
            return measure(kind, number, [str(top / ".venv/bin/python"), *suite], top)
    if kind == "user":
        with clone("copy", python) as top:
            top.parent.chmod(0o755)
            subprocess.run(["chown", "-R", f"{_USER_ID}:{_USER_ID}", str(top)], check=True)
            (top / "home").mkdir()
            os.chown(top / "home", _USER_ID, _USER_ID)
            # Root's PATH may contain directories that the user cannot read.
            path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
            user = "USER=nobody"  # sic
            home = ["env", f"HOME={top / 'home'}", user, f"PATH={path}"]
            command = [*_AS_USER, *home, str(top / ".venv/bin/python"), *suite]
            return measure(kind, number, command, top)
    return measure(kind, number, here, ROOT)


def main() -> int:
    """Do the runs, and print a line after each; 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.suite_runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this one (all)")
    base = getattr(sys, "_base_executable", sys.executable)
    parser.add_argument("--python", default=base, help=f"for the clones ({base})")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for pytest, after --")
    args = parser.parse_args()
    rows: list[Row] = []
    print(HEADER, flush=True)
    for kind in args.kind or KINDS:
        if kind == "user" and (why := why_not_as_user(args.python)):
            print(f"{kind:<10}    skipped: {why}")
            continue
        for number in range(1, KINDS[kind] + 1):
            rows.append(run(kind, number, args.arguments, args.python))
            print(rows[-1], flush=True)
    if any(row.status for row in rows):
        print(f"logs: {LOGS.relative_to(ROOT)}/KIND-NUMBER.log")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
