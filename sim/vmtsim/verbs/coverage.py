"""``vmtsim coverage``: the lines of the module's C that ran."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import MissingInputError

from vmtsim.arguments import read_module, seed_range

if TYPE_CHECKING:
    import argparse

SUMMARY = "report which C lines of a module run in scenarios or campaign seeds"

_EPILOG = """\
examples:
  vmtsim coverage vmt.kmod                           with all scenarios that ship
  vmtsim coverage vmt.kmod --scenario ./mine.yaml    with one scenario
  vmtsim coverage vmt.kmod --seeds 1:20 --html cov.html
                                                     with seeds of a campaign, as a page

A run that fails is a warning. With --at-least the exit status is 1 if fewer lines ran.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim coverage``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the module, with its .debug twin beside it"
    )
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        action="append",
        help="run this scenario; may be repeated (default without --seeds: all that ship)",
    )
    parser.add_argument(
        "--seeds", type=seed_range, metavar="A:B", help="run these seeds of a campaign"
    )
    parser.add_argument("--source", metavar="DIR", type=Path, help="directory of the C files")
    parser.add_argument("--lcov", metavar="FILE", type=Path, help="write an lcov tracefile")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write an HTML page")
    parser.add_argument(
        "--at-least",
        type=float,
        metavar="PERCENT",
        help="fail if less than PERCENT of all lines ran",
    )


def run(args: argparse.Namespace) -> int:
    """Run the scenarios and seeds, count and print."""
    from vmtsim.campaign import plan as plans  # noqa: PLC0415
    from vmtsim.campaign.player import Player  # noqa: PLC0415
    from vmtsim.campaign.subject import Setup, subject_of  # noqa: PLC0415
    from vmtsim.core import output  # noqa: PLC0415
    from vmtsim.report import coverage_page  # noqa: PLC0415
    from vmtsim.run import coverage  # noqa: PLC0415
    from vmtsim.run.simulation import Simulation  # noqa: PLC0415
    from vmtsim.scenario import script  # noqa: PLC0415

    read_module(args.file)
    if args.source is not None and not args.source.is_dir():
        raise MissingInputError(f"{args.source}: no such directory: expected that of the C files")
    output.check((args.lcov, args.html))
    collected = coverage.Coverage(args.file)
    failed = []
    names = args.scenario or ([] if args.seeds else list(script.shipped()))
    for name in names:
        for builtin in (False, True):
            simulation = Simulation(args.file, script.load(name), builtin_vmt=builtin)
            collected.watch(simulation)
            if simulation.run().status:
                failed.append(str(name))
            collected.ended()
    if args.seeds is not None:
        subject = subject_of(args.file, Setup())
        for seed in range(args.seeds[0], args.seeds[1] + 1):
            plan = plans.draw(seed, subject)
            player = Player(args.file, plan, subject, watch=collected.watch)
            if player.play():
                failed.append(f"seed {seed}")
            collected.ended()
    files = collected.files(args.source)
    if args.lcov is not None:
        output.write_text(args.lcov, coverage.lcov(files))
    if args.html is not None:
        output.write_text(args.html, coverage_page.html(collected, files))
    sys.stdout.write("\n".join(coverage.table(files)) + "\n")
    if failed:
        shown = ", ".join(dict.fromkeys(failed))
        sys.stderr.write(f"vmtsim: warning: some runs failed: {shown}\n")
        if not (args.scenario or args.seeds):
            sys.stderr.write("hint: --scenario FILE runs a scenario made for the module\n")
    whole = coverage.total(files)
    if args.at_least is not None and whole.run * 100 < args.at_least * whole.total:
        sys.stderr.write(
            f"vmtsim: error: {coverage.percent(whole.run, whole.total)} of the lines ran, "
            f"{args.at_least:g} % are required\n"
        )
        return 1
    return 0
