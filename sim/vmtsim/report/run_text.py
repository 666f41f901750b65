"""The output of a run: the console and the conversation, or a short summary, or JSON."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.kernel.console import Console
from vmtsim.report import chart
from vmtsim.report.layout import field
from vmtsim.report.verdict import verdict
from vmtsim.run.findings import OK
from vmtsim.run.preempt import written
from vmtsim.scenario.script import shipped

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from vmtsim.core.trace import Event
    from vmtsim.run.simulation import Outcome, Simulation

_LONGEST = 40  # characters of a message in the summary
_MOST_MISSED = 3  # expectations repeated below: the conversation has them all


def _where(path: Path) -> str:
    """Return the shortest form of a path."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _module_line(simulation: Simulation) -> str:
    module = simulation.module
    size = module.path.stat().st_size
    return (
        f"{module.modinfo.name} for NetBSD {module.modinfo.version_text}/{module.machine.value}, "
        f"{size} bytes, {len(module.imports)} imports"
    )


def until_now(simulation: Simulation) -> list[str]:
    """Return the console and the conversation so far, and the time."""
    lines = ["console:", ""]
    lines += simulation.kernel.subject(Console).text().splitlines()
    lines += ["", "conversation (seconds since power-on):", ""]
    lines += chart.text(simulation.trace.events) or ["nothing was sent to the host"]
    return [*lines, "", f"stopped  at {simulation.now() / 1e9:.6f} virtual s"]


def full(simulation: Simulation, outcome: Outcome) -> list[str]:
    """Return the console, the conversation and the verdict."""
    lines = [*until_now(simulation)[:-1], f"module   {_module_line(simulation)}"]
    lines += _verdict(outcome)
    return lines + _hint(simulation, outcome)


def _hint(simulation: Simulation, outcome: Outcome) -> list[str]:
    """Return a hint if no device attached, or if the driver sent nothing to the host."""
    events = simulation.trace.events
    loaded = any(event.kind == "modctl.load" and not event["error"] for event in events)
    attaches = "config_init_component" in simulation.module.imports
    if loaded and attaches and not any(event.kind == "device.attach" for event in events):
        return [
            "hint     no device attached: the driver's match function returned 0, or the simulated",
            "         machine has no parent of its tables (cpufeaturebus: aarch64, since 10.99.12)",
        ]
    missed = any(finding.rule == "scenario" for finding in outcome.findings)
    if not missed or outcome.traps or outcome.scenario not in shipped():
        return []
    name = simulation.module.modinfo.name
    return [
        f"hint     {name} sent nothing to the host, but {outcome.scenario} expects a conversation:",
        "         try --scenario alone, or write a scenario: see docs/your-driver.md",
    ]


def _verdict(outcome: Outcome) -> list[str]:
    lines = []
    missed = [finding for finding in outcome.findings if finding.rule == "scenario"]
    for finding in outcome.findings:
        if finding in missed[_MOST_MISSED:]:
            continue
        text = f"{finding.at / 1e9:.6f} s: {finding.rule}: {finding.message}"
        lines += field("finding" if finding.status else "warning", text)
        if finding.detected and not finding.status:
            lines += field("detected", finding.detected)
    if len(missed) > _MOST_MISSED:
        lines.append(f"         and {len(missed) - _MOST_MISSED} more, above")
    lines.append(
        f"run      seed {outcome.seed}, scenario {outcome.scenario}, "
        f"{outcome.virtual_time / 1e9:.3f} virtual s, {outcome.kernel_calls} kernel calls, "
        f"{outcome.traps} traps, {outcome.switches} thread switches"
    )
    if outcome.orders is not None:
        lines.append(f"orders   {outcome.orders} of two accesses to shared memory")
    if outcome.halted:
        lines.append(f"end      the guest went down: {outcome.halted}")
    held = sum(held for _name, held in outcome.properties)
    lines.append(f"verdict  {verdict(outcome.status)} ({held} of {len(outcome.properties)})")
    return lines


def summary(simulation: Simulation, outcome: Outcome) -> list[str]:
    """Return at most 15 lines: the module, the messages, and the result.

    Hints, and failed commands of the administrator, are extra lines.
    """
    events = simulation.trace.events
    lines = [
        f"module   {_module_line(simulation)}",
        f"kernel   {_kernel_line(simulation)}",
        *_conversation(events, short=bool(outcome.findings)),
    ]
    results = [row for row in chart.rows(events) if row.kind == "guest"]
    for label, good in (("printed", True), ("refused", False)):
        texts = [row.left for row in results if row.good == good]
        if texts:
            lines += _joined(label, texts, 2)
    if outcome.findings:
        first = max(outcome.findings, key=lambda each: each.status > OK)
        if first.rule == "module-loads":
            # The kernel's message explains the failure, and the rest of the run does not help.
            entries = [line.text for line in simulation.kernel.subject(Console).lines]
            lines += [f"console  {line}" for line in entries[-3:]]
        text = textwrap.wrap(f"{first.rule}: {first.message}", 88)
        label = "finding" if first.status else "warning"
        lines += [f"{label}  {text[0]}", *(f"         {line}" for line in text[1:3])]
        if len(outcome.findings) > 1:
            lines.append(f"         and {len(outcome.findings) - 1} more")
    if outcome.halted:
        lines.append(f"end      the guest went down: {outcome.halted}")
    lines.append(
        f"verdict  {verdict(outcome.status)}; seed {outcome.seed}, "
        f"{outcome.virtual_time / 1e9:.0f} virtual s"
    )
    lines.append(f"file     {_where(simulation.module.path)}")
    return lines + _hint(simulation, outcome)


def _kernel_line(simulation: Simulation) -> str:
    """Return the console's line when the device attached."""
    attached = [
        f"{event['device']} at {event['parent']}"
        for event in simulation.trace.events
        if event.kind == "device.attach"
    ]
    lines = [line.text for line in simulation.kernel.subject(Console).lines]
    # The module printed no line for devices that are native at boot.
    printed = [line for line in lines if any(line.startswith(f"{each}:") for each in attached)]
    return printed[0] if printed else "no device attached"


def _conversation(events: Iterable[Event], *, short: bool) -> list[str]:
    """Return the host's requests with their answers, and the guest's messages, abbreviated."""
    sent: list[str] = []
    received: list[str] = []
    power: list[str] = []
    for event in events:
        if event.kind == "tclo.reply":
            message = chart.shown(event["message"], _LONGEST)
            reply = chart.shown(event["reply"], _LONGEST).removesuffix("<space>")
            received.append(f"{message} -> {reply}")
        elif event.kind == "rpci":
            sent.append(chart.shown(event["request"], _LONGEST).removesuffix("<space>"))
        elif event.kind == "powerd":
            power.append(f"{event['script']} {event['name']}")
    lines = []
    lines += _joined("host", received, 1 if short else 3)
    lines += _joined("guest", sent, 1 if short else 2)
    lines += _joined("powerd", power, 1)
    return lines


def _joined(label: str, items: list[str], limit: int) -> list[str]:
    if not items:
        return [f"{label:<8} nothing"]
    message = ", ".join(dict.fromkeys(items))
    wrapped = textwrap.wrap(message, 88, max_lines=limit, placeholder=" ...")
    return [f"{label:<8} {wrapped[0]}", *(f"         {line}" for line in wrapped[1:])]


def as_json(simulation: Simulation, outcome: Outcome) -> str:
    """Return the outcome as JSON."""
    module = simulation.module
    record = {
        "format": "vmtsim-outcome",
        "version": 2,
        "module": {
            "name": module.modinfo.name,
            "file": module.path.name,
            "release": module.modinfo.version_text,
            "machine": module.machine.value,
            "size": module.path.stat().st_size,
            "imports": len(module.imports),
        },
        "seed": outcome.seed,
        "scenario": outcome.scenario,
        "status": outcome.status,
        "halted": outcome.halted,
        "properties": dict(outcome.properties),
        "findings": [
            {
                "rule": f.rule,
                "message": f.message,
                "at": f.at,
                "status": f.status,
                "detected": f.detected,
            }
            for f in outcome.findings
        ],
        "virtual_ns": outcome.virtual_time,
        "kernel_calls": outcome.kernel_calls,
        "traps": outcome.traps,
        "switches": outcome.switches,
        "orders": outcome.orders,
        "console": [
            {"at": line.at, "text": line.text} for line in simulation.kernel.subject(Console).lines
        ],
    }
    return json.dumps(record, indent=2) + "\n"


def replay(args: argparse.Namespace, seed: int, points: Mapping[int, int]) -> str:
    """Return the command that replays this run; ``points`` are those of ``--preempt``."""
    words = ["vmtsim run", _quoted(str(args.file)), f"--seed {seed}"]
    if args.kernel != "plain":
        words.append(f"--kernel {args.kernel}")
    if args.kernel_options != "all":
        words.append(f"--kernel-options {args.kernel_options}")
    if args.cpus is not None:
        words.append(f"--cpus {args.cpus}")
    if points:
        words.append(f"--preempt {written(points)}")
    if args.races:
        words.append("--races")
    if args.store_buffers:
        words.append("--store-buffers")
    if args.known_races is not None:
        words.append(f"--known-races {_quoted(str(args.known_races))}")
    if args.scenario is not None:
        words.append(f"--scenario {_quoted(str(args.scenario))}")
    return " ".join(words)


def _quoted(text: str) -> str:
    import shlex  # noqa: PLC0415 - only for failures

    return shlex.quote(text)
