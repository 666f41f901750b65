"""The smallest schedule that still fails: delta debugging over faults and actions.

The algorithm is ddmin of Zeller and Hildebrandt ("Simplifying and Isolating Failure-Inducing
Input", 2002): omit ever smaller parts as long as the same rule is still broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.campaign import plan as plans
from vmtsim.campaign.player import Choice, Player, perform
from vmtsim.campaign.subject import Setup, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from vmtsim.campaign.injector import Injection

T = TypeVar("T")

# A run that only has to fail again ends this long (virtual ns) after the first failure.
_MARGIN = 30_000_000_000
# Limit of runs for a reduction; what is left then is small enough to read.
BUDGET = 250


def ddmin(items: Sequence[T], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Return a part of ``items``, in order, that fails and from which no element can be removed.

    ``fails`` must hold for all of ``items``.
    """
    kept = tuple(items)
    if not kept or fails(()):
        return ()
    parts = 2
    while len(kept) >= 2:
        size = -(-len(kept) // parts)
        chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
        for index, chunk in enumerate(chunks):
            if len(chunks) > 2 and fails(chunk):
                kept, parts = chunk, 2
                break
            rest = tuple(item for other, c in enumerate(chunks) if other != index for item in c)
            if fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(kept):
                break
            parts = min(2 * parts, len(kept))
    return kept


@dataclass(frozen=True)
class Item:
    """A part of a schedule: an action by its number, or an injection.

    ``label`` names it on the command line: a12 is an action, f3 a fault.
    """

    action: int | None
    injection: Injection | None
    at: int
    text: str

    @property
    def label(self) -> str:
        """The name for ``--only``."""
        return f"a{self.action}" if self.injection is None else f"f{self.injection.number}"


@dataclass(frozen=True)
class Reduced:
    """A reduction: what is left of ``total`` items, after how many runs, and its first failure.

    ``points`` are where threads were preempted in the whole run, and stay part of the rest.
    """

    items: tuple[Item, ...]
    total: int
    runs: int
    exhausted: bool
    points: Mapping[int, int] = field(default_factory=dict)

    @property
    def only(self) -> str:
        """The value of ``--only`` that replays exactly this."""
        return ",".join(item.label for item in self.items) or "none"


def schedule(player: Player) -> tuple[Item, ...]:
    """Return everything that may be omitted from a completed run."""
    steps = player.plan.scenario.steps[: player.plan.actions]
    items = [
        Item(number, None, step.at, f"{step.at / 1e9:.6f} s  {step.verb}: {_short(step.argument)}")
        for number, step in enumerate(steps)
    ]
    items += [
        Item(None, injection, injection.at, str(injection))
        for injection in player.injector.injections
    ]
    return tuple(sorted(items, key=lambda item: item.at))


def _short(argument: object) -> str:
    text = repr(argument)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def choice_of(items: Sequence[Item]) -> Choice:
    """Return the choice with these items and no others."""
    return Choice(
        frozenset(item.action for item in items if item.action is not None),
        tuple(item.injection for item in items if item.injection is not None),
    )


class _BudgetError(Exception):
    """The budget of runs is used up."""


def reduce(
    module: Path,
    seed: int,
    rule: str,
    setup: Setup | None = None,
    *,
    budget: int = BUDGET,
    progress: Callable[[int, int], None] = lambda _runs, _left: None,
) -> Reduced | None:
    """Reduce the schedule of ``seed`` to the smallest that breaks ``rule``.

    None if replaying the recorded schedule does not fail: then only the whole run shows the
    failure.
    ``progress(runs, items left)`` is called after each run.
    """
    setup = setup or Setup()
    subject = subject_of(module, setup)
    plan = plans.draw(seed, subject, builtin=setup.builtin, cpus=setup.cpus)
    performance = perform(module, plan, subject, setup)
    found = next((each for each in performance.findings if each.rule == rule), None)
    if found is None:
        return None
    whole = performance.player
    moment = next((each for each in whole.moments if each.rule == rule), None)
    until = (moment.at if moment is not None else found.at) + _MARGIN
    items = schedule(whole)
    runs = 1
    best = items

    def fails(part: tuple[Item, ...]) -> bool:
        nonlocal runs, best
        if runs >= budget:
            raise _BudgetError
        runs += 1
        player = Player(
            module, plan, subject,
            choice=choice_of(part), until=until, setup=setup, points=whole.points,
        )  # fmt: skip
        # A run that ends early unloads the module while processes still use it: rules that this
        # breaks are not the failure.
        failed = any(each.rule == rule and each.at < until for each in player.play())
        if failed and len(part) < len(best):
            best = part
        progress(runs, len(best))
        return failed

    if not fails(items):
        return None
    try:
        return Reduced(ddmin(items, fails), len(items), runs, exhausted=False, points=whole.points)
    except _BudgetError:
        return Reduced(best, len(items), runs, exhausted=True, points=whole.points)


def parse_only(text: str, items: Sequence[Item]) -> tuple[Item, ...]:
    """Return the items that ``--only`` names; raises ValueError for an unknown name."""
    if text.strip() in {"", "none"}:
        return ()
    names = [word.strip() for word in text.split(",")]
    known = {item.label: item for item in items}
    missing = [word for word in names if word not in known]
    if missing:
        raise ValueError(
            f"no {', '.join(missing)} in the schedule of this seed: it has "
            f"{sum(i.injection is None for i in items)} actions (a0 ...) and "
            f"{sum(i.injection is not None for i in items)} faults (f0 ...)"
        )
    return tuple(item for item in items if item.label in names)
