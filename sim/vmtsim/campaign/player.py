"""The run of one seed, and its result as plain data that can be sent between processes."""

from __future__ import annotations

import hashlib
import threading
import time
import traceback
import zlib
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field, replace
from vmtgen.common.errors import SOFTWARE

from vmtsim.campaign import plan as plans
from vmtsim.campaign.bundle import ModuleBundle
from vmtsim.campaign.injector import Injection, Injector
from vmtsim.campaign.sometimes import Watch, expected
from vmtsim.campaign.subject import Setup, subject_of
from vmtsim.core.garbage import collector_paused
from vmtsim.core.trace import Trace
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.errors import Unmodelled
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.races import Races
from vmtsim.run import invariants, preempt
from vmtsim.run.findings import NOT_LIVE, Finding
from vmtsim.run.scene import ContextRecorder, Moment
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import Phase

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vmtsim.campaign.plan import Plan
    from vmtsim.campaign.subject import Subject

# Kernel calls and traps of one seed: a limit for one that never ends.  A busy seed has some
# 150,000.
LIMIT = 5_000_000
# Findings about objects that are left if a module cannot be unloaded, as in its survey.
_AS_EVER = frozenset({"module-unloads", "devices-gone"})
# "Sometimes" properties that exist only with an option.
KNOWN = "known race: "
STOPPED = "a thread preempted between two calls"
# Python's own lock lets only one thread of a process run at a time anyway.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Choice:
    """The part of a seed's schedule to run: numbers of actions, and injections; None is all."""

    actions: frozenset[int]
    injections: tuple[Injection, ...]


@dataclass
class Played:
    """The result of one run.  Times in virtual ns, ``wall`` in seconds.

    ``expected`` has the names of the "sometimes" properties, ``subject`` describes the
    module.  ``trace`` holds the compressed lines of the trace if they were requested, ``trouble``
    the traceback if the simulator itself failed, or the part of the kernel that has no model.
    """

    seed: int
    status: int = 0
    findings: list[Finding] = field(default_factory=list)
    virtual: int = 0
    wall: float = 0.0
    kernel_calls: int = 0
    traps: int = 0
    switches: int = 0
    events: int = 0
    reached: dict[str, int] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    subject: str = ""
    injections: int = 0
    actions: int = 0
    module: str = ""
    builtin: bool = False
    last_action: str = ""
    # Orders of two accesses to shared memory that occurred: vmtsim.kernel.races.
    orders: frozenset[str] = frozenset()
    trace: bytes | None = None
    trouble: str = ""

    @property
    def trace_lines(self) -> list[str]:
        """The lines of the trace; none if it was not kept."""
        return zlib.decompress(self.trace).decode("ascii").splitlines() if self.trace else []

    @property
    def trace_digest(self) -> str:
        """SHA-256 of the trace; "no trace" if it was not kept, or the simulator failed."""
        return hashlib.sha256(zlib.decompress(self.trace)).hexdigest() if self.trace else "no trace"


class Player:
    """Runs a plan once.  After ``play`` the simulation can be inspected.

    ``choice`` omits a part of the schedule; ``until`` (virtual ns) ends the run early; ``points``
    are where a thread is preempted between two calls.
    """

    def __init__(
        self,
        module: Path,
        plan: Plan,
        subject: Subject,
        *,
        choice: Choice | None = None,
        until: int | None = None,
        watch: Callable[[Simulation], None] | None = None,
        setup: Setup | None = None,
        points: Mapping[int, int] | None = None,
    ) -> None:
        setup = setup or Setup()
        self.points = dict(points or {})
        scenario = plan.scenario
        if choice is not None:
            steps = tuple(
                step
                for number, step in enumerate(scenario.steps)
                if number >= plan.actions or number in choice.actions
            )
            scenario = replace(scenario, steps=steps)
        if until is not None:
            steps = tuple(step for step in scenario.steps if step.at <= until)
            scenario = replace(scenario, steps=steps, duration=min(until, scenario.duration))
        self._cut = until is not None
        self._subject = subject
        self.plan = plan
        self.trace = Trace(keep=True)
        script = None if choice is None else choice.injections
        self.simulation = Simulation(
            module,
            scenario,
            seed=plan.seed,
            builtin_vmt=plan.builtin,
            trace=self.trace,
            faults=lambda context: Injector(context, plan.odds, script),
            races=setup.races,
            known_races=setup.known,
            preempt=self.points,
            store_buffers=setup.store_buffers,
        )
        faults = self.simulation.host.faults
        assert isinstance(faults, Injector)
        self.injector = faults
        kernel = self.simulation.kernel
        scheduler = kernel.scheduler
        scheduler.limit = LIMIT
        if subject.vmware:
            self.injector.may_refuse = lambda: (
                scheduler.current is not None and scheduler.current.kind == "kthread"
            )
        else:
            # Once it is loaded: otherwise there would be nothing to run.
            self.injector.may_refuse = lambda: self.simulation.now() > SECOND
        kernel.subject(Kmem).refuse = self.injector.refuse_memory
        self.name = self.simulation.module.modinfo.name
        self.watch = Watch(kernel, self.trace, subject)
        self.recorder = ContextRecorder(self.simulation)
        self._finish = invariants.watch(self.simulation)
        if watch is not None:
            watch(self.simulation)

    def play(self) -> list[Finding]:
        """Run it, and return the findings."""
        outcome = self.simulation.run()
        self._finish()
        self.recorder.finish()
        self.watch.finish()
        self.watch.reached.update(
            {f"{KNOWN}{name}": 1 for name in self.simulation.kernel.subject(Races).used}
        )
        self.watch.reached[STOPPED] += self.simulation.kernel.scheduler.hits
        found = [
            replace(finding, rule="liveness", status=NOT_LIVE)
            if finding.phase is Phase.LIVENESS
            else finding
            for finding in outcome.findings
            if finding.status  # a warning does not fail a seed
            and not (finding.rule in _AS_EVER and self._subject.survey.unload)
        ]
        found += self._early_end()
        return found

    def _early_end(self) -> list[Finding]:
        """Report a machine that went down early, or that did not go down at the end as planned."""
        halted = self.simulation.outcome.halted
        planned = self.plan.last_action in {"shutdown", "no-powerd"}
        last = self.plan.scenario.steps[-1].at
        now = self.simulation.now()
        if halted and (not planned or now < last):
            text = f"the machine went down ({halted}) although powerd was listening"
            return [Finding("went-down", text, now)]
        if planned and not halted and not self._cut and not self.simulation.outcome.status:
            text = f"the machine did not go down at the end, as expected ({self.plan.last_action})"
            return [Finding("liveness", text, now, NOT_LIVE)]
        return []

    @property
    def orders(self) -> set[str]:
        """The orders of two accesses to shared memory that occurred in the run."""
        return self.simulation.kernel.subject(Races).orders

    @property
    def moments(self) -> list[Moment]:
        """The contexts of the findings."""
        return self.recorder.moments


@dataclass(frozen=True)
class Performance:
    """The result of a seed: the last player, its findings, and everything that was reached."""

    player: Player
    findings: list[Finding]
    orders: frozenset[str]
    reached: Counter[str]


def perform(module: Path, plan: Plan, subject: Subject, setup: Setup) -> Performance:
    """Run a plan; if that finds nothing, run it once more with threads preempted.

    The second run happens if ``setup`` has points, which are drawn near memory that was shared
    in the first run.
    """
    player = Player(module, plan, subject, setup=setup)
    shared = preempt.watch_shared(player.simulation) if setup.preempt else set()
    findings = player.play()
    orders, reached = player.orders, player.watch.reached
    if shared and not findings:
        points = preempt.drawn(sorted(shared), plan.seed, setup.preempt)
        player = Player(module, plan, subject, setup=setup, points=points)
        findings = player.play()
        orders = orders | player.orders
        reached = reached + player.watch.reached
    return Performance(player, findings, frozenset(orders), reached)


def play(
    module: Path, seed: int, setup: Setup | None = None, *, keep_trace: bool = False
) -> Played:
    """Run ``seed`` and return its result; a failure of the simulator has status 70."""
    with collector_paused():
        return _play(module, seed, setup or Setup(), keep_trace=keep_trace)


def _play(module: Path, seed: int, setup: Setup, *, keep_trace: bool) -> Played:
    started = time.perf_counter()
    played = Played(seed)
    subject = subject_of(module, setup)
    plan = plans.draw(seed, subject, builtin=setup.builtin, cpus=setup.cpus)
    played.subject = subject.described()
    try:
        performance = perform(module, plan, subject, setup)
    except Unmodelled as error:
        return _stopped(played, str(error), started)
    except (ArithmeticError, AssertionError, AttributeError, LookupError,
            MemoryError, NotImplementedError, RuntimeError, TypeError, ValueError):  # fmt: skip
        return _stopped(played, traceback.format_exc(), started)
    player, played.findings = performance.player, performance.findings
    played.orders = performance.orders
    outcome = player.simulation.outcome
    played.status = max((finding.status for finding in played.findings), default=0)
    played.virtual = outcome.virtual_time
    played.kernel_calls, played.traps = outcome.kernel_calls, outcome.traps
    played.switches = outcome.switches
    played.events = len(player.trace.events)
    played.reached = dict(performance.reached)
    played.expected = (
        *expected(subject, player.watch.counters),
        *(f"{KNOWN}{name}" for name in sorted(setup.known)),
        *((STOPPED,) if setup.preempt else ()),
    )
    # Faults of a plan, and those that a step requests.
    played.injections = sum(event.kind == "fault" for event in player.trace.events)
    played.actions = plan.actions
    played.module, played.builtin, played.last_action = player.name, plan.builtin, plan.last_action
    if keep_trace:
        lines = "".join(f"{event.json()}\n" for event in player.trace.events)
        played.trace = zlib.compress(lines.encode("ascii"), 6)
    played.wall = time.perf_counter() - started
    return played


def _stopped(played: Played, trouble: str, started: float) -> Played:
    """Return a run that the simulator could not complete."""
    played.status, played.trouble = SOFTWARE, trouble
    played.wall = time.perf_counter() - started
    return played


def play_one(module: Path | ModuleBundle, seed: int, setup: Setup, keep_trace: bool) -> Played:
    """Run a seed: the unit of work for an executor."""
    with _ONE_AT_A_TIME:
        path = module.unpacked() if isinstance(module, ModuleBundle) else module
        return play(path, seed, setup, keep_trace=keep_trace)
