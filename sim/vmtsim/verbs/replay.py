"""``vmtsim replay``: run one seed of a campaign again, whole or minimised."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import UsageError
from vmtgen.common.text import visible

from vmtsim.arguments import read_module, seed
from vmtsim.verbs import campaign

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from vmtsim.run.findings import Finding

SUMMARY = "replay one seed of a campaign and report a failure in full"

_EPILOG = """\
examples:
  vmtsim replay vmt.kmod --seed 42                   the whole run of seed 42
  vmtsim replay vmt.kmod --seed 42 --schedule        the actions and faults of the seed
  vmtsim replay vmt.kmod --seed 42 --reduce          the smallest schedule that still fails
  vmtsim replay vmt.kmod --seed 42 --only a3,f17     only these actions and faults

Give the options that the report of the campaign shows: they are part of the seed's meaning.
docs/failure-report.md explains the report.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim replay``."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, vmt.kmod")
    parser.add_argument("--seed", type=seed, required=True, metavar="N", help="the seed")
    campaign.add_setup(parser)
    parser.add_argument(
        "--only",
        metavar="LIST",
        help="keep only these actions and faults, such as a3,f17; `none` keeps none",
    )
    parser.add_argument(
        "--reduce",
        action="store_true",
        help="minimise: find the smallest schedule that still fails",
    )
    parser.add_argument("--schedule", action="store_true", help="list actions and faults")
    parser.add_argument("--summary", action="store_true", help="print the findings only")
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write all events as JSON lines")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the conversation")


def run(args: argparse.Namespace) -> int:
    """Replay the seed and print its events."""
    from vmtsim.campaign import investigate  # noqa: PLC0415
    from vmtsim.campaign import plan as plans  # noqa: PLC0415
    from vmtsim.campaign import reduce as reducing  # noqa: PLC0415
    from vmtsim.campaign.player import Player, perform  # noqa: PLC0415
    from vmtsim.campaign.subject import subject_of  # noqa: PLC0415
    from vmtsim.core import output  # noqa: PLC0415
    from vmtsim.core.trace import TraceFile  # noqa: PLC0415
    from vmtsim.report import chart, chart_svg  # noqa: PLC0415

    read_module(args.file)
    output.check((args.trace, args.svg))
    setup = campaign.setup(args)
    subject = subject_of(args.file, setup)
    plan = plans.draw(args.seed, subject, builtin=setup.builtin, cpus=setup.cpus)
    performance = perform(args.file, plan, subject, setup)
    player, findings = performance.player, performance.findings
    items = reducing.schedule(player)
    reduced = None
    if args.only is not None:
        try:
            chosen = reducing.parse_only(args.only, items)
        except ValueError as error:
            raise UsageError(f"--only: {error}") from None
        points, choice = player.points, reducing.choice_of(chosen)
        player = Player(args.file, plan, subject, choice=choice, setup=setup, points=points)
        findings = player.play()
        reduced = reducing.Reduced(chosen, len(items), 1, exhausted=False, points=points)
        items = chosen
    elif args.reduce and findings:
        worst = max(findings, key=lambda each: each.status)
        reduced = reducing.reduce(args.file, args.seed, worst.rule, setup)
    if args.trace is not None:
        with TraceFile(args.trace, seed=args.seed, module=args.file.name) as file:
            for event in player.trace.events:
                file(event)
    if args.svg is not None:
        output.write_text(args.svg, chart_svg.svg(player.trace.events))
    lines = []
    if args.schedule:
        lines += [f"{item.label:<5} {item.text}" for item in items]
    if not findings:
        if not args.summary:
            lines += chart.text(player.trace.events)
        lines.append(f"verdict  ok: seed {args.seed}, {player.simulation.now() / 1e9:.0f} "
                     "virtual s")  # fmt: skip
    for rule in dict.fromkeys(finding.rule for finding in findings):
        if args.summary:
            finding = next(each for each in findings if each.rule == rule)
            lines.append(f"finding  {rule}: {finding.message}")
            continue
        applies = reduced if args.only is not None or rule == worst_rule(findings) else None
        report = investigate.describe(args.file, args.seed, rule, setup, reduced=applies)
        lines += [*report, ""]
    sys.stdout.write("".join(f"{visible(line)}\n" for line in lines))
    return max((finding.status for finding in findings), default=0)


def worst_rule(findings: Sequence[Finding]) -> str:
    """Return the rule of the worst failure."""
    return max(findings, key=lambda each: each.status).rule
