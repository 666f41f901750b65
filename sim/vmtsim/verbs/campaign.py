"""``vmtsim campaign``: run many seeds, each with its own faults."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import UsageError
from vmtgen.common.text import visible

from vmtsim import arguments
from vmtsim.arguments import read_module, seed_range

if TYPE_CHECKING:
    from vmtsim.campaign.record import Record
    from vmtsim.campaign.subject import Setup

SUMMARY = "run many seeds with injected faults and check safety and liveness"
_STRICT = 1
_EPILOG = """\
vmtsim loads the module once to find out what kind of driver it is. A driver that opens a channel to
VMware gets a VMware host that injects faults. Any other driver gets processes that open, read,
write, poll, map and call ioctl on its devices, an administrator who detaches, unloads and loads it
and sets its sysctl nodes, low memory, and kernel calls that fail.

examples:
  vmtsim campaign build/11.0/amd64/vmt.kmod                  100 seeds on all processors
  vmtsim campaign seven.kmod --seeds 1:2000 --json r.json    a character device driver
  vmtsim campaign seven.kmod --scenario seven.yaml           with the ioctls of a scenario
  vmtsim campaign seven.kmod --resume r.json                 continue with the missing seeds
  vmtsim campaign vmt.kmod --cpus 2 --races --preempt 2      two processors, preempted anywhere

Ctrl-C, SIGTERM and SIGHUP end a campaign early. The result so far is written and is valid. vmtsim
also writes the --json file every few seconds, so that --resume can continue after a crash.
"""


def add_setup(parser: argparse.ArgumentParser) -> None:
    """Declare the options that a campaign and the replay of one seed share."""
    parser.add_argument(
        "--kernel",
        choices=("plain", "builtin"),
        help="run every seed on this kernel, without or with a vmt(4) of its own; by default each "
        "seed of a VMware Tools driver chooses",
    )
    parser.add_argument(
        "--host",
        choices=("vmware", "none"),
        help="with or without a VMware host; by default, with one if the module opens a channel",
    )
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        help="take ioctl commands and written texts from the steps of this scenario, in addition "
        "to the commands that the module's code compares with",
    )
    arguments.add_concurrency(
        parser, cpus_default="each seed draws 1 to 4, with --races at least 2", points=False
    )


def setup(args: argparse.Namespace) -> Setup:
    """Return the settings that the options of ``add_setup`` select."""
    from vmtsim.campaign.subject import Setup, Words, words_of  # noqa: PLC0415 - `--help` needs none
    from vmtsim.run.known import KnownRaces  # noqa: PLC0415

    arguments.check_concurrency(args, "known_races", "preempt")
    return Setup(
        builtin=None if args.kernel is None else args.kernel == "builtin",
        vmware=None if args.host is None else args.host == "vmware",
        scenario=args.scenario or "",
        words=words_of(args.scenario) if args.scenario else Words(),
        cpus=args.cpus,
        races=args.races,
        known_races=str(args.known_races or ""),
        known=KnownRaces(args.known_races).fields,
        preempt=args.preempt or 0,
        store_buffers=args.store_buffers,
    )


def shard(text: str) -> tuple[int, int]:
    """Parse ``K/N``: part K of N, counted from 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: a shard is K/N with K from 1 to N, as in 2/4")
    return int(match[1]), int(match[2])


def part(first: int, last: int, number: int, count: int) -> tuple[int, int]:
    """Return the contiguous range of seeds of shard ``number`` of ``count``, of equal sizes."""
    total = last - first + 1
    return first + total * (number - 1) // count, first + total * number // count - 1


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim campaign``."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, vmt.kmod or another")
    parser.add_argument(
        "--seeds", type=seed_range, metavar="A:B", help="first and last seed (1:100)"
    )
    parser.add_argument(
        "--minutes",
        type=_positive,
        metavar="M",
        help="stop starting new seeds after M minutes; without --seeds, run until then",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="worker processes (one per CPU)",
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="run the seeds on the dask.distributed cluster of this scheduler, HOST:PORT; the "
        "re-runs of --check-determinism run here, in --jobs processes",
    )
    parser.add_argument(
        "--settled",
        type=int,
        metavar="N",
        help="stop when N consecutive seeds have shown no new order of two accesses to shared "
        "memory; with --races",
    )
    parser.add_argument("--shard", type=shard, metavar="K/N", help="run part K of N of the seeds")
    add_setup(parser)
    parser.add_argument(
        "--canary",
        type=Path,
        metavar="FILE",
        help="a module with a known defect, which the campaign must find",
    )
    parser.add_argument(
        "--canary-seeds",
        type=int,
        default=40,
        metavar="N",
        help="number of seeds in which the canary must be found (40)",
    )
    parser.add_argument(
        "--max-reports",
        type=int,
        default=3,
        metavar="N",
        help="minimise and report the first N failure kinds (3)",
    )
    parser.add_argument(
        "--check-determinism",
        type=int,
        default=20,
        metavar="N",
        help="re-run one seed in N and compare traces (20; 0: none)",
    )
    parser.add_argument(
        "--all-sometimes",
        action="store_true",
        help="fail if an event that must occur in some run never occurred",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result as JSON")
    parser.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="continue the campaign of this --json file: run its missing seeds (of --seeds, or of "
        "its own range), and write the sum to --json, or to FILE",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write an HTML page")
    parser.add_argument("--quiet", action="store_true", help="print the result only, no progress")


def _check(module: Path) -> None:
    """Check the module before any seed runs, so that a defect is reported once.

    Raises ReportedError; Unmodelled if it cannot be loaded because a kernel function has no model.
    """
    from vmtsim.kernel.errors import Unmodelled  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.run.survey import survey  # noqa: PLC0415

    read_module(module)
    missing = survey(module).unmodelled
    if missing:
        raise Unmodelled(
            missing,
            hint=f"`vmtsim models {module}` lists all that is missing; docs/kernel-models.md "
            "explains how to add a model",
        )


def run(args: argparse.Namespace) -> int:
    """Run the campaign and print the result."""
    from vmtsim.campaign.cluster import cluster  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.campaign.interruption import Interruption  # noqa: PLC0415
    from vmtsim.campaign.progress import display  # noqa: PLC0415
    from vmtsim.campaign.record import read  # noqa: PLC0415
    from vmtsim.campaign.runner import Campaign, Settings  # noqa: PLC0415
    from vmtsim.campaign.workers import processes  # noqa: PLC0415
    from vmtsim.core import output  # noqa: PLC0415

    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: expected at least one process")
    if args.check_determinism < 0:
        raise UsageError(f"--check-determinism {args.check_determinism}: expected 0 or more")
    if args.settled is not None and (args.settled < 1 or not args.races):
        raise UsageError("--settled: expected a number of seeds from 1 on, and --races")
    resumed = None
    if args.resume is not None:
        resumed = read(args.resume)
        args.json = args.json or args.resume
    first, last = _seeds(args, resumed)
    for module in filter(None, (args.file, args.canary)):
        _check(module)
    output.check((args.json, args.html))
    settings = Settings(
        module=args.file,
        first=first,
        last=last,
        setup=setup(args),
        minutes=args.minutes,
        check_determinism=args.check_determinism,
        canary=args.canary,
        canary_seeds=args.canary_seeds,
        max_reports=args.max_reports,
        settled=args.settled,
    )

    def save(record: Record) -> None:
        if args.json is not None and output.replaceable(args.json):
            output.write_text(args.json, record.json())

    interruption = Interruption()
    with interruption.listening():
        players = processes(args.jobs) if args.dask is None else cluster(args.dask, args.jobs)
        # The pool first: a display may have a thread, and the pool would start fresh processes.
        with players as pool, display(quiet=args.quiet) as listener:
            campaign = Campaign(
                settings, pool, listener, interruption=interruption, save=save, resumed=resumed
            )
            record = campaign.run()
        interruption.finish()
        return finish(args, record, campaign.cut_status)


def _seeds(args: argparse.Namespace, resumed: Record | None) -> tuple[int, int | None]:
    """Return the first and the last seed; None for the last if --minutes ends the campaign."""
    if args.seeds is not None:
        first, last = args.seeds
    elif resumed is not None and resumed.planned and args.shard is None:
        first, last = resumed.planned[0][0], resumed.planned[-1][1]
    else:
        first, last = 1, None if args.minutes else 100
    if args.shard is None:
        return first, last
    if last is None:
        raise UsageError("--shard divides a range of seeds: give --seeds A:B")
    first, last = part(first, last, *args.shard)
    if last < first:
        raise UsageError(f"--shard {args.shard[0]}/{args.shard[1]}: this shard has no seeds")
    return first, last


def finish(args: argparse.Namespace, record: Record, cut_status: int) -> int:
    """Write and print a record; return the exit status, ``cut_status`` unless it is 0."""
    from vmtsim.core.output import write_text  # noqa: PLC0415
    from vmtsim.report import campaign_page, campaign_text  # noqa: PLC0415

    if args.json is not None:
        write_text(args.json, record.json())
    if args.html is not None:
        write_text(args.html, campaign_page.html(record))
    sys.stdout.write("".join(f"{visible(line)}\n" for line in campaign_text.text(record)))
    if cut_status:
        return cut_status
    if args.all_sometimes and record.never:
        return record.status or _STRICT
    return record.status
