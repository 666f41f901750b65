"""Scenarios: actions of host and guest with their times, and expectations, as YAML.

A step is a mapping with ``at`` (seconds since power-on) or ``after`` (seconds since the previous
step), one verb, and for expectations ``within`` (seconds) and ``not``::

    - at: 5.0
      host.tclo: OS_Halt
    - expect.rpci: "tools.os.statechange.status 1 1"
      within: 2

A step without a time happens at the time of the previous one.  Errors name file and line.
"""

from __future__ import annotations

import enum
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vmtgen.common.dataclass import dataclass, field, replace
from vmtgen.common.errors import MissingInputError
from vmtgen.common.located import Node, Problems, listed, load_yaml, nearest

from vmtsim.core.trace import printable
from vmtsim.host.operator import Operation, RefusedError
from vmtsim.host.options import NANOSECONDS, HostOptions
from vmtsim.scenario.expect import EXPECTATIONS, FACTS, Pattern
from vmtsim.scenario.guest import GuestSettings
from vmtsim.scenario.settings import guest_settings, host_options
from vmtsim.scenario.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.trace import Event, Trace
    from vmtsim.host.machine import Host

DEFAULT = "boot-to-halt"
# Module -> its default scenario, for modules whose scenarios are in a folder of their name.
DEFAULTS = {"vmmemctl": "balloon"}
_WITHIN = 5.0
_TOP = ("summary", "duration", "host", "guest", "steps")
_TIMES = ("at", "after", "within", "not")


class UnknownScenarioError(MissingInputError):
    """Unknown scenario; ``hint`` lists the known ones."""


class Stage(Protocol):
    """The simulation that a scenario runs in."""

    @property
    def host(self) -> Host:
        """The simulated host."""

    @property
    def trace(self) -> Trace:
        """The receiver of all events."""

    def now(self) -> int:
        """Return virtual nanoseconds since power-on."""

    def guest(self, verb: str, argument: Any, /) -> None:
        """Perform an administrator's action in the guest: ``detach``, ``hostname`` ..."""

    def sysctl(self, name: str, /) -> Any:
        """Return the value of a sysctl node of the guest (int or str), None if there is none."""

    def fact(self, name: str, /) -> str | None:
        """Return the current value of one of scenario.expect.FACTS, None if it is not known."""

    def unable(self, step: Step, /) -> str:
        """Return why the step cannot be done, or not be observed, on this stage; "" if it can."""


class Phase(enum.Enum):
    """The two phases of a campaign's run: anything may fail, then everything must recover."""

    SAFETY = "safety"
    LIVENESS = "liveness"


@dataclass(frozen=True)
class Step:
    """One action or expectation.  Times in virtual nanoseconds; ``place`` is FILE:LINE.

    ``phase`` is that of a campaign's run, whose steps have no file.
    """

    at: int
    verb: str
    argument: Any
    place: str
    within: int = 0
    negated: bool = False
    phase: Phase | None = None

    @property
    def expects(self) -> bool:
        """Whether this is an expectation, not an action."""
        return self.verb.startswith("expect.")


@dataclass(frozen=True)
class Scenario:
    """A run as data: the host's options, the guest before the module is loaded, and the steps."""

    name: str
    summary: str
    duration: int
    host: HostOptions
    steps: tuple[Step, ...]
    guest: GuestSettings = field(default_factory=GuestSettings)


def directory() -> Path:
    """Return the folder of the scenarios that ship: inside a wheel, or of a checkout."""
    packaged = Path(__file__).parents[1] / "data" / "scenarios"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "scenarios"


def shipped(module: str = "") -> dict[str, Path]:
    """Return the scenarios that ship, by name: those of a module of DEFAULTS, or all others."""
    folder = directory() / module if module in DEFAULTS else directory()
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(name: str | Path | None, module: str = "") -> Scenario:
    """Return a scenario for ``module`` by its shipped name or its file's path; None: the default.

    Raises LocatedErrors for its problems, UnknownScenarioError if there is no scenario of that
    name.
    """
    text = DEFAULTS.get(module, DEFAULT) if name is None else str(name)
    if "/" in text or text.endswith((".yaml", ".yml")):
        return parse(load_yaml(Path(text)))
    known = {**shipped(), **shipped(module)}
    if text not in known:
        near = nearest(text, known)
        meant = f" (did you mean {near!r}?)" if near else ""
        raise UnknownScenarioError(
            f"unknown scenario {text!r}{meant}",
            hint=f"available: {listed(known, limit=40)}; give a file by its path",
        )
    return parse(load_yaml(known[text], keep=True))


def _found_modules(root: Node, guest: GuestSettings, problems: Problems) -> GuestSettings:
    """Return the settings with absolute paths of modules; a scenario's are relative to its file."""
    paths = [Path(root.path).parent / each for each in guest.modules]
    for path in paths:
        if not path.is_file():
            problems.add(root["guest"]["modules"], f"no such module: {path}")
    return replace(guest, modules=tuple(map(str, paths)))


def parse(root: Node) -> Scenario:
    """Return the scenario that ``root`` holds; raises LocatedErrors with all problems."""
    problems = Problems()
    if root.kind != "mapping":
        problems.add(root, f"expected a mapping, not {root.described}")
        problems.raise_if_any()
    _known(root, _TOP, problems)
    summary = root.get("summary")
    if summary is None or not isinstance(summary.scalar, str):
        problems.add(root["summary"], "expected a `summary` of what the scenario shows")
    options = host_options(root.get("host"), problems)
    guest = _found_modules(root, guest_settings(root.get("guest"), problems), problems)
    steps = _steps(root, problems)
    last = max((step.at + step.within for step in steps), default=0)
    duration = _seconds(root.get("duration"), problems)
    if duration is not None and duration < last:
        problems.add(
            root["duration"], f"{duration / NANOSECONDS:g} s is shorter than the last step needs"
            f" ({last / NANOSECONDS:g} s)"
        )  # fmt: skip
    problems.raise_if_any()
    return Scenario(
        name=Path(root.path).stem,
        summary=str(summary.scalar).strip() if summary is not None else "",
        duration=last + NANOSECONDS if duration is None else duration,
        host=options,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        guest=guest,
    )


def _known(node: Node, names: tuple[str, ...], problems: Problems) -> None:
    if node.kind != "mapping":
        problems.add(node, f"expected a mapping, not {node.described}")
    for name, value in node.entries.items():
        if name not in names:
            problems.add(
                value.key or value,
                f"unknown key {name!r}: expected {listed(names)}",
                hint=nearest(name, names),
            )


def _seconds(node: Node | None, problems: Problems) -> int | None:
    if node is None:
        return None
    value = node.scalar
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        problems.add(node, f"expected seconds from 0 on, not {node.described}")
        return None
    return round(value * NANOSECONDS)


def _steps(root: Node, problems: Problems) -> list[Step]:
    steps: list[Step] = []
    sequence = root.get("steps")
    if sequence is None or sequence.kind != "sequence" or not sequence.elements:
        problems.add(root["steps"], "expected a list of `steps`")
        return steps
    before = 0
    for node in sequence.elements:
        step = _step(node, before, problems)
        if step is not None:
            before = step.at
            steps.append(step)
    return steps


def _step(node: Node, before: int, problems: Problems) -> Step | None:
    if node.kind != "mapping":
        problems.add(node, f"expected a mapping with one verb, not {node.described}")
        return None
    verbs = [name for name in node.entries if name not in _TIMES]
    unknown = [name for name in verbs if name not in VERBS]
    for name in unknown:
        value = node[name]
        problems.add(
            value.key or value, f"unknown verb {name!r}", hint=nearest(name, (*VERBS, *_TIMES))
        )
    if unknown:
        return None
    if len(verbs) != 1:
        found = f"found {listed(verbs)}" if verbs else f"one of {listed(VERBS, limit=40)}"
        problems.add(node, f"expected exactly one verb in a step: {found}")
        return None
    verb = verbs[0]
    if "at" in node.entries and "after" in node.entries:
        problems.add(node["after"], "expected `at` or `after`, not both")
    at = _seconds(node.get("at"), problems)
    after = _seconds(node.get("after"), problems)
    argument = VERBS[verb].check(node[verb], problems)
    expects = verb in EXPECTATIONS
    for name in ("within", "not"):
        if not expects and name in node.entries:
            problems.add(node[name], f"`{name}` belongs to expectations, not to {verb}")
    negated = node.get("not")
    if negated is not None and not isinstance(negated.scalar, bool):
        problems.add(negated, f"expected true or false, not {negated.described}")
    default = 0 if verb == "expect.sysctl" else round(_WITHIN * NANOSECONDS)
    within = _seconds(node.get("within"), problems)
    return Step(
        at=before + (after or 0) if at is None else at,
        verb=verb,
        argument=argument,
        place=f"{node.path}:{node[verb].key.line if node[verb].key else node.line}",  # type: ignore[union-attr]
        within=0 if not expects else default if within is None else within,
        negated=bool(negated is not None and negated.scalar),
    )


@dataclass
class _Open:
    """An expectation that is waiting for its event."""

    step: Step
    deadline: int
    left: int
    seen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """An expectation that was not met: its place, and the actual result."""

    place: str
    message: str
    phase: Phase | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True)
class SkippedStep:
    """A step that the stage could not do or an expectation that it could not check, and why."""

    place: str
    verb: str
    reason: str

    def __str__(self) -> str:
        return f"{self.verb} at {self.place}: {self.reason}"


class ScenarioRun:
    """Runs a scenario on a stage, driven by the simulation's clock like the host.

    ``next_event`` returns when the next step is due, ``advance`` runs it, ``finish`` returns the
    failures. ``skipped_steps`` lists the steps that the stage cannot do or observe.  An
    expectation in it was not checked.  The same holds for the expectations after an omitted
    action, up to the next action that is done.
    """

    def __init__(self, scenario: Scenario, stage: Stage) -> None:
        self.scenario = scenario
        self.failures: list[Failure] = []
        self.skipped_steps: list[SkippedStep] = []
        self._stage = stage
        self._waiting = self._possible()
        self._open: list[_Open] = []
        kinds = {
            EXPECTATIONS[step.verb].kind(step.argument) for step in self._waiting if step.expects
        }
        self._cancel: Callable[[], None] = stage.trace.subscribe(self._happened, kinds - {""})

    @property
    def expected(self) -> int:
        """The number of the scenario's expectations."""
        return sum(step.expects for step in self.scenario.steps)

    @property
    def judged(self) -> int:
        """The number of expectations that could be checked."""
        return self.expected - sum(each.verb in EXPECTATIONS for each in self.skipped_steps)

    @property
    def settled(self) -> bool:
        """Whether every step was done and every expectation is decided."""
        return not self._waiting and not self._open

    def _possible(self) -> list[Step]:
        """Return the steps that the stage can do or observe, and record the others."""
        possible = []
        undone = ""
        for step in self.scenario.steps:
            reason = self._stage.unable(step)
            if not step.expects:
                undone = step.verb if reason else ""
            elif undone and not reason:
                reason = f"{undone} was skipped before it"
            if reason:
                self._skip(step, reason)
            else:
                possible.append(step)
        return possible

    def _skip(self, step: Step, reason: str) -> None:
        self.skipped_steps.append(SkippedStep(step.place, step.verb, reason))
        self._stage.trace.emit(
            "scenario.skipped", place=_in_trace(step.place), verb=step.verb, reason=reason
        )

    def _with_facts(self, step: Step) -> Step | None:
        """Return the expectation with the guest's current facts; None if one is not known."""
        if not isinstance(step.argument, dict):
            return step
        patterns = [each for each in step.argument.values() if isinstance(each, Pattern)]
        names = {name for pattern in patterns for name in pattern.facts}
        if not names:
            return step
        known = {name: self._stage.fact(name) for name in sorted(names)}
        values = {name: value for name, value in known.items() if value is not None}
        if len(values) < len(names):
            missing = ", ".join(FACTS[name] for name in known if name not in values)
            self._skip(step, f"not known here: {missing}")
            return None
        return replace(
            step,
            argument={
                name: each.with_facts(values) if isinstance(each, Pattern) else each
                for name, each in step.argument.items()
            },
        )

    def next_event(self) -> int | None:
        """Return when the next step or deadline is due (virtual ns), or None."""
        if not self._open:
            return self._waiting[0].at if self._waiting else None
        times = [each.deadline for each in self._open]
        if self._waiting:
            times.append(self._waiting[0].at)
        return min(times, default=None)

    def advance(self) -> None:
        """Run the steps that are due, and decide expectations whose time is over."""
        now = self._stage.now()
        due = [step for step in self._waiting if step.at <= now]
        del self._waiting[: len(due)]
        # Expectations first: they must see the effects of an action at the same time.
        for step in due:
            known = self._with_facts(step) if step.expects else None
            if known is not None:
                times = EXPECTATIONS[known.verb].times(known.argument)
                self._open.append(_Open(known, known.at + known.within, times))
        for step in due:
            if not step.expects:
                shown = _shown(step.argument)
                self._stage.trace.emit("scenario.step", verb=step.verb, argument=shown)
                verb = VERBS[step.verb]
                if isinstance(verb, Operation):
                    with suppress(RefusedError):  # skip requests that the host does not offer
                        verb.run(self._stage.host, verb.value(step.argument))
                else:
                    self._stage.guest(verb.name, step.argument)
        for each in [each for each in self._open if each.deadline <= now]:
            if each in self._open:
                self._open.remove(each)
                self._decide(each)

    def finish(self) -> list[Failure]:
        """Decide all open expectations, and return all failures in file order."""
        self._cancel()
        for each in self._open:
            self._decide(each)
        for step in self._waiting:
            self._fail(step, f"{step.verb} was never reached: the run ended before")
        self._open, self._waiting = [], []
        return self.failures

    def _decide(self, each: _Open) -> None:
        step = each.step
        if step.verb == "expect.sysctl":
            for name, expected in step.argument.items():
                value = self._stage.sysctl(name)
                if (str(value) == str(expected)) == step.negated:
                    verb = "is" if step.negated else "is not"
                    self._fail(step, f"{name} {verb} {expected!r}: it is {value!r}")
        elif not step.negated:
            window = f"{step.at / NANOSECONDS:.3f} s and {each.deadline / NANOSECONDS:.3f} s"
            awaited = EXPECTATIONS[step.verb].text_of(step.argument)
            seen = "; there was " + ", ".join(each.seen[-4:]) if each.seen else ""
            self._fail(step, f"no {awaited} between {window}{seen}")

    def _happened(self, event: Event) -> None:
        for each in list(self._open):
            step = each.step
            expectation = EXPECTATIONS[step.verb]
            if expectation.kind(step.argument) != event.kind:
                continue
            if not expectation.matches(step.argument, event):
                each.seen.append(expectation.seen(step.argument, event))
                continue
            each.left -= 1
            if each.left > 0:
                continue
            self._open.remove(each)
            if step.negated:
                self._fail(step, f"{expectation.text_of(step.argument)} occurred unexpectedly")
            else:
                self._stage.trace.emit("scenario.met", place=_in_trace(step.place))

    def _fail(self, step: Step, message: str) -> None:
        failure = Failure(step.place, f"{step.verb}: {message}", step.phase)
        self.failures.append(failure)
        self._stage.trace.emit("scenario.failed", place=_in_trace(step.place), text=failure.message)


def _in_trace(place: str) -> str:
    """Return NAME:LINE of a place: a trace does not depend on the working directory."""
    return place.rpartition("/")[2]


def _shown(argument: Any) -> Any:
    if isinstance(argument, Pattern):
        return argument.text
    return printable(argument) if isinstance(argument, (bytes, str)) else argument
