"""``vmtsim run``: one module, one scenario, one seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.arguments import read_module, seed

if TYPE_CHECKING:
    import argparse

SUMMARY = "boot a kernel, load a module, let a host talk to it, judge"

_EPILOG = """\
examples:
  vmtsim run vmt.kmod                                twenty seconds of a guest's life, in full
  vmtsim run vmt.kmod --summary --seed 7             another order of threads, a dozen lines
  vmtsim run vmt.kmod --scenario lost-channel        what else can happen
  vmtsim run vmt.kmod --scenario ./mine.yaml --trace run.jsonl --svg run.svg

Ends with 0 when all is fine, 1 when a property did not hold, 2 when the guest hangs, 3 when the
kernel would have panicked; `vmtsim --help` lists the others.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim run``."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, vmt.kmod")
    parser.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="order of threads and all chance (1)"
    )
    parser.add_argument(
        "--kernel",
        choices=("plain", "builtin"),
        default="plain",
        help="without a vmt(4) of its own, or with one as GENERIC has it (plain)",
    )
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        default="boot-to-halt",
        help="what happens; `vmtsim scenarios` lists those that ship (boot-to-halt)",
    )
    parser.add_argument(
        "--summary", action="store_true", help="print a dozen lines, not everything"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the outcome as JSON")
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write all events, JSON lines")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the conversation")


def run(args: argparse.Namespace) -> int:
    """Run it and print what happened."""
    from vmtsim import output, report, scenario  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.simulation import Simulation  # noqa: PLC0415
    from vmtsim.trace import Trace, TraceFile  # noqa: PLC0415

    read_module(args.file)
    output.check((args.json, args.trace, args.svg))
    trace = Trace(keep=True)
    simulation = Simulation(
        args.file,
        scenario.load(args.scenario),
        seed=args.seed,
        builtin_vmt=args.kernel == "builtin",
        trace=trace,
    )
    if args.trace is not None:
        with TraceFile(args.trace, seed=args.seed, module=args.file.name) as file:
            trace.subscribe(file)
            outcome = simulation.run()
    else:
        outcome = simulation.run()
    if args.json is not None:
        output.write_text(args.json, report.as_json(simulation, outcome))
    if args.svg is not None:
        from vmtsim import chart_svg  # noqa: PLC0415

        output.write_text(args.svg, chart_svg.svg(trace.events))
    lines = (
        report.summary(simulation, outcome) if args.summary else report.full(simulation, outcome)
    )
    sys.stdout.write("\n".join(lines) + "\n")
    if outcome.status:
        replay = report.replay(args)
        sys.stdout.write(f"again    {replay}\n")
    return outcome.status
