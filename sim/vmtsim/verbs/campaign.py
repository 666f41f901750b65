"""``vmtsim campaign``: many seeds, each with faults of its own."""

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

SUMMARY = "play many seeds with faults, and judge safety and liveness"
_STRICT = 1
_EPILOG = """\
The module is loaded once to see what it is. One that opens a channel to VMware gets a VMware host
with faults; any other driver gets processes that open, read, write, poll, map and ask its devices,
an administrator who detaches, unloads, loads and sets it, little memory, and calls that fail.

examples:
  vmtsim campaign build/11.0/amd64/vmt.kmod                  100 seeds on all processors
  vmtsim campaign seven.kmod --seeds 1:2000 --json r.json    a character device
  vmtsim campaign seven.kmod --scenario seven.yaml           with the ioctls of a scenario
  vmtsim campaign seven.kmod --resume r.json                 the seeds that r.json lacks
  vmtsim campaign vmt.kmod --cpus 2 --races --preempt 2      two processors, stopped anywhere

Ctrl-C, SIGTERM and SIGHUP end a campaign early: what was played so far is written and counts. The
file of --json is also written every few seconds, so that --resume goes on after a crash, too.
"""


def add_setup(parser: argparse.ArgumentParser) -> None:
    """Declare what a campaign and the replay of one seed have in common."""
    parser.add_argument(
        "--kernel",
        choices=("plain", "builtin"),
        help="always this kernel, without or with a vmt(4) of its own; otherwise each seed of a "
        "driver of VMware's tools chooses",
    )
    parser.add_argument(
        "--host",
        choices=("vmware", "none"),
        help="whether there is a VMware host; the module shows otherwise, by opening a channel",
    )
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        help="take the ioctl commands and the texts that are written from its steps; those that "
        "the code compares with are known",
    )
    arguments.add_concurrency(
        parser, cpus_default="each seed draws 1 to 4, with --races at least 2", points=False
    )


def setup(args: argparse.Namespace) -> Setup:
    """Return what the options of ``add_setup`` say."""
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
    """Read ``K/N``: part K, from 1 on, of N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: a shard is K/N with K from 1 to N, as in 2/4")
    return int(match[1]), int(match[2])


def part(first: int, last: int, number: int, count: int) -> tuple[int, int]:
    """Return the seeds of shard ``number`` of ``count``: neighbours, as equal as can be."""
    total = last - first + 1
    return first + total * (number - 1) // count, first + total * number // count - 1


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r}: a number above 0 is wanted")
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
        help="begin nothing after so much real time; without --seeds, go on until then",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (all CPUs)"
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="play on the dask.distributed cluster of this scheduler, HOST:PORT; what is played "
        "twice is played here the second time, by --jobs processes",
    )
    parser.add_argument(
        "--settled",
        type=int,
        metavar="N",
        help="end early, when N seeds in a row have shown no new order of two accesses to shared "
        "memory; with --races",
    )
    parser.add_argument("--shard", type=shard, metavar="K/N", help="play part K of N of the seeds")
    add_setup(parser)
    parser.add_argument(
        "--canary", type=Path, metavar="FILE", help="a module with a defect that must be found"
    )
    parser.add_argument(
        "--canary-seeds", type=int, default=40, metavar="N", help="within so many seeds (40)"
    )
    parser.add_argument(
        "--stories",
        type=int,
        default=3,
        metavar="N",
        help="reduce and tell so many kinds of failures (3)",
    )
    parser.add_argument(
        "--twice", type=int, default=20, metavar="N", help="play one seed in N twice (20; 0: none)"
    )
    parser.add_argument(
        "--all-sometimes",
        action="store_true",
        help="fail if something that must happen sometimes never did",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result as JSON")
    parser.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="go on with the campaign whose --json FILE this is: play the seeds that it lacks (of "
        "--seeds, or of its own), and write the sum to --json, or to FILE",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page about it")
    parser.add_argument("--quiet", action="store_true", help="no progress, the result alone")


def _check(module: Path) -> None:
    """Report once, before any seed is played, what is wrong with a module.

    Raises ReportedError; Unmodelled where it cannot even be loaded for want of a model.
    """
    from vmtsim.kernel.errors import Unmodelled  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.run.survey import survey  # noqa: PLC0415

    read_module(module)
    missing = survey(module).unmodelled
    if missing:
        raise Unmodelled(
            missing,
            hint=f"`vmtsim models {module}` lists all that it lacks; docs/kernel-models.md "
            "explains how to add a model",
        )


def run(args: argparse.Namespace) -> int:
    """Play it and print what it came to."""
    from vmtsim.campaign.cluster import cluster  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.campaign.interruption import Interruption  # noqa: PLC0415
    from vmtsim.campaign.progress import teller  # noqa: PLC0415
    from vmtsim.campaign.record import read  # noqa: PLC0415
    from vmtsim.campaign.runner import Campaign, Settings  # noqa: PLC0415
    from vmtsim.campaign.workers import processes  # noqa: PLC0415
    from vmtsim.core import output  # noqa: PLC0415

    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: at least one process is needed")
    if args.twice < 0:
        raise UsageError(f"--twice {args.twice}: 0 for none, or one in how many")
    if args.settled is not None and (args.settled < 1 or not args.races):
        raise UsageError("--settled: how many seeds, 1 or more, and with --races")
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
        twice=args.twice,
        canary=args.canary,
        canary_seeds=args.canary_seeds,
        stories=args.stories,
        settled=args.settled,
    )

    def save(record: Record) -> None:
        if args.json is not None and output.replaceable(args.json):
            output.write_text(args.json, record.json())

    interruption = Interruption()
    with interruption.listening():
        players = processes(args.jobs) if args.dask is None else cluster(args.dask, args.jobs)
        with teller(quiet=args.quiet) as told, players as pool:
            campaign = Campaign(
                settings, pool, told, interruption=interruption, save=save, resumed=resumed
            )
            record = campaign.run()
        interruption.finish()
        return finish(args, record, campaign.cut_status)


def _seeds(args: argparse.Namespace, resumed: Record | None) -> tuple[int, int | None]:
    """Return the first and the last seed to play; None for the last where minutes are the end."""
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
        raise UsageError(f"--shard {args.shard[0]}/{args.shard[1]}: no seed is left for it")
    return first, last


def finish(args: argparse.Namespace, record: Record, cut_status: int) -> int:
    """Write and print a record; return the exit status, ``cut_status`` where it is not 0."""
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
