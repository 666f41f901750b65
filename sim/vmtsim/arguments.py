"""Checks of arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import NO_PERMISSION, MissingInputError, ReportedError, UsageError

if TYPE_CHECKING:
    from vmtgen.kobj import Module

    from vmtsim.run.preempt import Preempt


def seed(text: str) -> int:
    """Read a seed, a whole number from 0 on; for ``argparse``."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: a seed is a whole number from 0 on")
    return value


def seed_range(text: str) -> tuple[int, int]:
    """Read ``A:B`` (both included) or one seed."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: seeds are given as A:B, as in 1:2000")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if last < first:
        raise argparse.ArgumentTypeError(f"{text!r}: the last seed comes before the first")
    return first, last


def cpus(text: str) -> int:
    """Read a number of processors, 1 to 8; for ``argparse``."""
    if not re.fullmatch("[1-8]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to 8 processors can be simulated")
    return int(text)


def add_concurrency(parser: argparse.ArgumentParser, *, cpus_default: str, points: bool) -> None:
    """Declare what a run, a campaign and a replay say of processors, races and stops.

    ``points``: ``--preempt`` also takes what only one run can, ``all`` and the points of a report.
    """
    parser.add_argument(
        "--cpus",
        type=cpus,
        metavar="N",
        help=f"processors of the guest, 1 to 8 ({cpus_default}); with one, what runs beside a "
        "thread has no name",
    )
    parser.add_argument(
        "--races",
        action="store_true",
        help="look for data races: accesses that nothing orders (with two processors at least; "
        "about twice the time)",
    )
    parser.add_argument(
        "--known-races",
        type=Path,
        metavar="FILE",
        help="with --races: races that are known and why they are right, as YAML (docs/races.md); "
        "an entry that no run needs is an error (of a campaign: with --all-sometimes)",
    )
    drawn = (
        "stop threads between two kernel calls, too, in a second play: at N points (1 to 9) that "
        "the seed draws near memory that the first play showed to be shared"
    )
    parser.add_argument(
        "--preempt",
        type=preempt if points else stops,
        metavar="N|all|POINTS" if points else "N",
        help=f"{drawn}; at each single point near it in turn (all), a play for each; or at the "
        "points that a report names, CALL+INSTRUCTIONS,..."
        if points
        else f"{drawn}; with --races",
    )
    parser.add_argument(
        "--store-buffers",
        action="store_true",
        help="let other processors see late what one has stored, as x86 and aarch64 allow: shows "
        "what a missing memory barrier does (with two processors at least)",
    )


def check_concurrency(args: argparse.Namespace, *with_races: str) -> None:
    """Raise UsageError where options of ``add_concurrency`` contradict each other.

    ``with_races`` are those that are nothing without ``--races``.
    """
    for option in ("races", "preempt", "store_buffers"):
        if getattr(args, option) and args.cpus == 1:
            raise UsageError(
                f"--{option.replace('_', '-')} needs processors with names: "
                "give --cpus 2 or more, or none"
            )
    for option in with_races:
        if getattr(args, option) is not None and not args.races:
            raise UsageError(f"--{option.replace('_', '-')} goes with --races, which is not given")


def preempt(text: str) -> Preempt:
    """Read a value of ``--preempt``; for ``argparse``."""
    from vmtsim.run.preempt import Preempt  # noqa: PLC0415 - `--help` needs none of it

    try:
        return Preempt.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def stops(text: str) -> int:
    """Read at how many points a thread is stopped, 1 to 9; for ``argparse``."""
    if not re.fullmatch("[1-9]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 9 points")
    return int(text)


def kernel_options(text: str) -> str:
    """Check a value of ``--kernel-options``; vmtsim.kernel.rule_table.configured reads it."""
    from vmtsim.kernel.rule_table import configured  # noqa: PLC0415 - `--help` needs none of it

    try:
        configured(text, "amd64")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def read_module(path: Path) -> Module:
    """Return the module in ``path``.

    Raises ReportedError: status 66 where there is no file, 77 where it cannot be read, 65 where the
    kernel would not take it.
    """
    from vmtgen.kobj import KobjError  # noqa: PLC0415 - `--help` needs none of it
    from vmtgen.kobj import read_module as read  # noqa: PLC0415

    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            # Also because reading a pipe could wait for ever.
            what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
            raise MissingInputError(f"{path}: {what}: expected the path of a module")
        return read(path)
    except PermissionError as error:
        raise ReportedError(f"{path}: {error.strerror}", exit_status=NO_PERMISSION) from error
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror or error}") from error
    except KobjError as error:
        text = str(error).replace("\n", f"\nvmtsim: error: {path}: ")
        raise ReportedError(
            f"{path}: {text}",
            hint=f"`vmtgen lint {shlex.quote(str(path))}` lists all that is wrong with a module",
        ) from error
