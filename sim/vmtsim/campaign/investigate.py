"""The report of a failure: everything that is needed to understand it, on one page of text."""

from __future__ import annotations

import functools
import hashlib
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.campaign import plan as plans
from vmtsim.campaign.player import Player, perform
from vmtsim.campaign.reduce import Reduced, choice_of, reduce
from vmtsim.campaign.subject import Setup, subject_of
from vmtsim.report import chart, scene
from vmtsim.report.layout import field
from vmtsim.report.verdict import failure_class
from vmtsim.run.preempt import written

if TYPE_CHECKING:
    from collections.abc import Callable


_CONVERSATION_LINES = 24


def commit() -> str:
    """Return the commit of the working directory, with ``+`` where files differ; "" without git.

    It is that of the first request of this process.
    """
    return _commit(Path.cwd())


@functools.cache
def _commit(directory: Path) -> str:
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            capture_output=True, text=True, check=True, cwd=directory,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip()


def digest(module: Path) -> str:
    """Return the first half of the module's SHA-256, which identifies a build."""
    return hashlib.sha256(module.read_bytes()).hexdigest()[:32]


def replay_command(
    module: Path, seed: int, setup: Setup | None = None, *, only: str | None = None
) -> str:
    """Return the command that replays exactly this."""
    words = ["vmtsim", "replay", str(module), "--seed", str(seed)]
    words += (setup or Setup()).options
    if only is not None:
        words += ["--only", only]
    return shlex.join(words)


def describe(
    module: Path,
    seed: int,
    rule: str,
    setup: Setup | None = None,
    *,
    reduced: Reduced | None = None,
) -> list[str]:
    """Run ``seed`` again (reduced, if given) and report its first violation of ``rule``.

    The lines have at most about 100 columns.  Empty if the rule holds this time.
    """
    setup = setup or Setup()
    subject = subject_of(module, setup)
    plan = plans.draw(seed, subject, builtin=setup.builtin, cpus=setup.cpus)
    if reduced is None:
        whole = perform(module, plan, subject, setup)
        player, findings = whole.player, whole.findings
    else:
        choice = choice_of(reduced.items)
        player = Player(module, plan, subject, choice=choice, setup=setup, points=reduced.points)
        findings = player.play()
    finding = next((each for each in findings if each.rule == rule), None)
    if finding is None:
        return []
    moment = next((each for each in player.moments if each.rule == rule), None)
    at = moment.at if moment is not None else finding.at
    lines = field(failure_class(finding.status), f"{finding.rule}: {finding.message}")
    kernel = "with a built-in vmt(4)" if plan.builtin else "without a vmt(4)"
    lines += field("seed", f"{seed}, on a kernel {kernel}")
    known = commit()
    if not subject.vmware:
        lines += field("driver", subject.described())
    lines += field("module", f"{module.name}, sha256 {digest(module)}"
                    + (f", commit {known}" if known else ""))  # fmt: skip
    lines += field("time", f"{at / 1e9:.6f} virtual s")
    if player.points:
        lines += field("preempt", f"call+instructions: {written(player.points)}")
    lines += scene.lines(module, finding, moment)
    lines += _schedule(reduced)
    events = [event for event in player.trace.events if event.at <= at]
    conversation = chart.text(events)[-_CONVERSATION_LINES:]
    lines += ["conversation", *(f"  {line}" for line in conversation)] if conversation else []
    only = None if reduced is None else reduced.only
    return [*lines, f"replay   {replay_command(module, seed, setup, only=only)}"]


def _schedule(reduced: Reduced | None) -> list[str]:
    if reduced is None:
        return []
    left = (
        "fails without any fault or action" if not reduced.items else f"{len(reduced.items)} left"
    )
    note = ", budget used up" if reduced.exhausted else ""
    lines = field(
        "schedule", f"{reduced.total} faults and actions, reduced in {reduced.runs} runs: "
        f"{left}{note}"
    )  # fmt: skip
    return [*lines, *(f"  {item.label:<5} {item.text}" for item in reduced.items)]


def investigate(
    module: Path,
    seed: int,
    rule: str,
    setup: Setup | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _runs, _left: None,
) -> list[str]:
    """Reduce a failure and report it; report the whole run if the reduced one fails differently."""
    reduced = reduce(module, seed, rule, setup, progress=progress)
    lines = describe(module, seed, rule, setup, reduced=reduced) if reduced else []
    return lines or describe(module, seed, rule, setup)
