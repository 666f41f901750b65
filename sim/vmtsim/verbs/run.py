"""``vmtsim run``: one module, one scenario, one seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import UsageError
from vmtgen.common.text import visible

from vmtsim import arguments
from vmtsim.arguments import read_module, seed_range

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from vmtgen.kobj import Module

    from vmtsim.core.trace import Trace
    from vmtsim.run.known import KnownRaces
    from vmtsim.run.scene import ContextRecorder
    from vmtsim.run.simulation import Outcome, Simulation
    from vmtsim.scenario.script import Scenario

SUMMARY = "run a module on a simulated kernel and host, and check it"

_EPILOG = """\
examples:
  vmtsim run vmt.kmod                                twenty seconds of a guest, in full
  vmtsim run vmt.kmod --summary --seed 7             another thread schedule, a short summary
  vmtsim run vmt.kmod --scenario lost-channel        another scenario
  vmtsim run vmt.kmod --scenario ./mine.yaml --seeds 1:50
                                                     fifty schedules; report the first failure
  vmtsim run vmt.kmod --kernel-options generic       panic only where GENERIC detects it
  vmtsim run vmt.kmod --scenario ./mine.yaml --trace run.jsonl --svg run.svg

A finding names the kernels that detect it.  A finding fails the run if one of them would stop, or
be damaged; otherwise it is a warning.

Exit status: 0 when every property held, 1 when one did not or the kernel is damaged, 2 when the
guest hangs, 3 when the kernel would have panicked; `vmtsim --help` lists the others.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim run``."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, vmt.kmod")
    parser.add_argument(
        "--seed",
        type=arguments.seed,
        default=1,
        metavar="N",
        help="random seed; also selects the thread schedule (1)",
    )
    parser.add_argument(
        "--seeds",
        type=seed_range,
        metavar="A:B",
        help="run with each of these seeds, until one fails",
    )
    parser.add_argument(
        "--kernel",
        choices=("plain", "builtin"),
        default="plain",
        help="without a built-in vmt(4), or with one, like GENERIC (plain)",
    )
    parser.add_argument(
        "--kernel-options",
        type=arguments.kernel_options,
        default="all",
        metavar="LIST",
        help="debug options of the kernel: none, generic, all, or a comma-separated list of "
        "DIAGNOSTIC, DEBUG, LOCKDEBUG and HEARTBEAT; each detects some errors and "
        "panics; without it, they damage the kernel (all)",
    )
    arguments.add_concurrency(parser, cpus_default="the scenario's, or 1", points=True)
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        help="scenario to run; `vmtsim scenarios` lists those that ship (boot-to-halt; for "
        "vmmemctl balloon)",
    )
    parser.add_argument("--summary", action="store_true", help="print a short summary")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result as JSON")
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write all events as JSON lines")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the conversation")


def run(args: argparse.Namespace) -> int:
    """Run the module and print the events."""
    from vmtsim.core import output  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.run.known import KnownRaces  # noqa: PLC0415
    from vmtsim.scenario import script  # noqa: PLC0415

    module = read_module(args.file)
    if args.seeds is not None and (args.json or args.trace or args.svg):
        raise UsageError("--json, --trace and --svg take one run: give --seed, not --seeds")
    arguments.check_concurrency(args, "known_races")
    output.check((args.json, args.trace, args.svg))
    scenario = script.load(args.scenario, module.modinfo.name)
    known = KnownRaces(args.known_races)
    if args.preempt is not None and args.preempt.kind == "all":
        if args.seeds is not None or args.json or args.trace or args.svg:
            raise UsageError(
                "--preempt all runs one seed many times: give --seed, and no output files"
            )
        return _run_all(args, module, scenario, known)
    if args.seeds is None:
        status = _run(args, module, scenario, args.seed, known)
        return status or _not_needed(known)
    first, last = args.seeds
    for seed in range(first, last + 1):
        status = _run(args, module, scenario, seed, known, quiet=True)
        if status:
            return status
    status = _not_needed(known)
    if status:
        return status
    count = last - first + 1
    sys.stdout.write(f"verdict  ok: every property held in {count} runs, seeds {first}:{last}\n")
    return 0


def _not_needed(known: KnownRaces) -> int:
    """Report entries of the list that no run needed; return the exit status."""
    for name in known.unused():
        sys.stderr.write(
            f"vmtsim: error: {known.path}: no run had a race of {name}: delete the entry, or run "
            "the scenario that needs it\n"
        )
    return int(bool(known.unused()))


def _simulation(
    args: argparse.Namespace,
    module: Module,
    scenario: Scenario,
    seed: int,
    known: frozenset[str],
    points: Mapping[int, int],
    *,
    look: bool = False,
) -> Simulation:
    """Return a run that has not started; ``look``: detect races, independent of the options."""
    from vmtsim.kernel.rule_table import configured  # noqa: PLC0415
    from vmtsim.run.simulation import Simulation  # noqa: PLC0415

    return Simulation(
        module,
        scenario,
        seed=seed,
        builtin_vmt=args.kernel == "builtin",
        checks=configured(args.kernel_options, module.machine.value),
        cpus=args.cpus or (2 if args.preempt is not None else None),
        races=args.races or look,
        known_races=known,
        preempt=points,
        store_buffers=args.store_buffers,
    )


def _points(
    args: argparse.Namespace, module: Module, scenario: Scenario, seed: int
) -> Mapping[int, int]:
    """Return the points of this run at which a thread is preempted."""
    from vmtsim.run import preempt  # noqa: PLC0415

    if args.preempt is None or args.preempt.kind != "drawn":
        return {} if args.preempt is None else args.preempt.points
    first = _simulation(args, module, scenario, seed, frozenset(), {}, look=True)
    return preempt.drawn(preempt.shared_calls(first), seed, args.preempt.count)


def _run_all(
    args: argparse.Namespace, module: Module, scenario: Scenario, known: KnownRaces
) -> int:
    """Run with every single point; return the status of the first run that fails."""
    from vmtsim.report import run_text  # noqa: PLC0415
    from vmtsim.run import preempt  # noqa: PLC0415

    first = _simulation(args, module, scenario, args.seed, frozenset(), {}, look=True)
    calls = preempt.shared_calls(first)
    runs = 0

    def play(points: Mapping[int, int]) -> tuple[Simulation, Outcome]:
        simulation = _simulation(args, module, scenario, args.seed, known.fields, points)
        return simulation, simulation.run()

    at = -1
    for points, simulation, outcome in preempt.every(calls, play):
        runs += 1
        (call,) = points
        if call != at:
            at = call
            place = calls.index(call) + 1
            sys.stderr.write(f"vmtsim: call {place} of {len(calls)}, {runs} runs so far\n")
        if outcome.status:
            lines = run_text.summary(simulation, outcome)
            _print([*lines, f"replay   {run_text.replay(args, args.seed, points)}"])
            return outcome.status
    sys.stdout.write(
        f"verdict  ok: every property held in {runs} runs, each preempted once between two calls "
        f"({len(calls)} calls, seed {args.seed})\n"
    )
    return 0


def _run(
    args: argparse.Namespace,
    module: Module,
    scenario: Scenario,
    seed: int,
    known: KnownRaces,
    *,
    quiet: bool = False,
) -> int:
    """Run one seed and print the events; ``quiet``: print failures only."""
    from vmtsim.core import output  # noqa: PLC0415
    from vmtsim.kernel.errors import Unmodelled  # noqa: PLC0415
    from vmtsim.kernel.races import Races  # noqa: PLC0415
    from vmtsim.report import run_text  # noqa: PLC0415
    from vmtsim.run.scene import ContextRecorder  # noqa: PLC0415

    points = _points(args, module, scenario, seed)
    simulation = _simulation(args, module, scenario, seed, known.fields, points)
    trace = simulation.trace
    recorder = ContextRecorder(simulation)
    try:
        outcome = simulation.run()
    except Unmodelled:
        # The run ends here: the events so far show how it got to the function.
        _print(run_text.until_now(simulation))
        _write_trace(args, seed, trace)
        raise
    known.used.update(simulation.kernel.subject(Races).used)
    _write_trace(args, seed, trace)
    if args.json is not None:
        output.write_text(args.json, run_text.as_json(simulation, outcome))
    if args.svg is not None:
        from vmtsim.report import chart_svg  # noqa: PLC0415

        output.write_text(args.svg, chart_svg.svg(trace.events))
    if quiet and not outcome.status:
        return 0
    lines = (
        run_text.summary(simulation, outcome)
        if args.summary
        else run_text.full(simulation, outcome)
    )
    if outcome.status:
        if not args.summary:
            recorder.finish()
            lines += _scene(args.file, outcome, recorder)
        lines.append(f"replay   {run_text.replay(args, seed, points)}")
    _print(lines)
    return outcome.status


def _write_trace(args: argparse.Namespace, seed: int, trace: Trace) -> None:
    from vmtsim.core.trace import TraceFile  # noqa: PLC0415

    if args.trace is not None:
        with TraceFile(args.trace, seed=seed, module=args.file.name) as file:
            for event in trace.events:
                file(event)


def _print(lines: list[str]) -> None:
    """Print lines that may contain text from a module or a host."""
    sys.stdout.write("".join(f"{visible(line)}\n" for line in lines))


def _scene(module: Path, outcome: Outcome, recorder: ContextRecorder) -> list[str]:
    """Return the context of the worst finding: its stack, source, locks, threads."""
    from vmtsim.report import scene  # noqa: PLC0415

    worst = max(outcome.findings, key=lambda each: each.status)
    moment = next((each for each in recorder.moments if each.rule == worst.rule), None)
    return [] if moment is None or worst.rule == "scenario" else scene.lines(module, worst, moment)
