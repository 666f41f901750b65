"""Parsers of arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import NO_PERMISSION, MissingInputError, ReportedError, UsageError

if TYPE_CHECKING:
    from vmtgen.kobj import Module

    from vmtsim.run.preempt import Preempt


def seed(text: str) -> int:
    """Parse a seed, a non-negative integer; for ``argparse``."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: a seed is a non-negative integer")
    return value


def seed_range(text: str) -> tuple[int, int]:
    """Parse ``A:B`` (both included) or one seed."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: seeds are given as A:B, as in 1:2000")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if last < first:
        raise argparse.ArgumentTypeError(f"{text!r}: the last seed comes before the first")
    return first, last


def cpus(text: str) -> int:
    """Parse a number of processors, 1 to 8; for ``argparse``."""
    if not re.fullmatch("[1-8]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 8 processors")
    return int(text)


def add_concurrency(parser: argparse.ArgumentParser, *, cpus_default: str, points: bool) -> None:
    """Declare the options of processors, races and preemption of run, campaign and replay.

    ``points``: ``--preempt`` also accepts values for a single run: ``all`` and a report's points.
    """
    parser.add_argument(
        "--cpus",
        type=cpus,
        metavar="N",
        help="processors of the guest, 1 to 8; with 1, concurrent threads have no processor number "
        f"(default: {cpus_default})",
    )
    parser.add_argument(
        "--races",
        action="store_true",
        help="detect data races: accesses without a defined order (needs two processors; takes "
        "about twice as long)",
    )
    parser.add_argument(
        "--known-races",
        type=Path,
        metavar="FILE",
        help="with --races: YAML list of known races with reasons (docs/races.md); an entry that "
        "no run needs is an error (of a campaign: with --all-sometimes)",
    )
    drawn = (
        "run a second time and preempt threads between two kernel calls: at N points (1 to 9) that "
        "the seed draws near memory that was shared in the first run"
    )
    parser.add_argument(
        "--preempt",
        type=preempt if points else stops,
        metavar="N|all|POINTS" if points else "N",
        help=f"{drawn}; at every single point near it in turn (all), one run each; or at the "
        "points that a report names, CALL+INSTRUCTIONS,..."
        if points
        else f"{drawn}; with --races",
    )
    parser.add_argument(
        "--store-buffers",
        action="store_true",
        help="delay a processor's stores to others, as x86 and aarch64 allow: shows what a missing "
        "memory barrier does (needs two processors)",
    )


def check_concurrency(args: argparse.Namespace, *with_races: str) -> None:
    """Raise UsageError if options of ``add_concurrency`` contradict each other.

    ``with_races`` are those that require ``--races``.
    """
    for option in ("races", "preempt", "store_buffers"):
        if getattr(args, option) and args.cpus == 1:
            raise UsageError(
                f"--{option.replace('_', '-')} needs two processors or more: "
                "give --cpus 2, or omit --cpus"
            )
    for option in with_races:
        if getattr(args, option) is not None and not args.races:
            raise UsageError(f"--{option.replace('_', '-')} requires --races")


def preempt(text: str) -> Preempt:
    """Parse a value of ``--preempt``; for ``argparse``."""
    from vmtsim.run.preempt import Preempt  # noqa: PLC0415 - `--help` needs none of it

    try:
        return Preempt.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def stops(text: str) -> int:
    """Parse at how many points a thread is preempted, 1 to 9; for ``argparse``."""
    if not re.fullmatch("[1-9]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 9 points")
    return int(text)


def kernel_options(text: str) -> str:
    """Check a value of ``--kernel-options``; vmtsim.kernel.rule_table.configured parses it."""
    from vmtsim.kernel.rule_table import configured  # noqa: PLC0415 - `--help` needs none of it

    try:
        configured(text, "amd64")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def read_module(path: Path) -> Module:
    """Return the module in ``path``.

    Raises ReportedError: status 66 if the file does not exist, 77 if it cannot be read, 65 if the
    kernel would not load it.
    """
    from vmtgen.kobj import KobjError  # noqa: PLC0415 - `--help` needs none of it
    from vmtgen.kobj import read_module as read  # noqa: PLC0415

    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            # Also because reading a pipe could block forever.
            what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
            raise MissingInputError(f"{path}: {what}: expected the path of a module")
        return read(path)
    except PermissionError as error:
        raise ReportedError(f"{path}: {error.strerror}", exit_status=NO_PERMISSION) from error
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror or error}") from error
    except KobjError as error:
        import shlex  # noqa: PLC0415 - only on the way to an error

        text = str(error).replace("\n", f"\nvmtsim: error: {path}: ")
        raise ReportedError(
            f"{path}: {text}",
            hint=f"`vmtgen lint {shlex.quote(str(path))}` lists all problems of a module",
        ) from error
