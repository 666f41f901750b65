"""The context of a failure: threads and their stacks, locks held, live objects.

A ContextRecorder records it when a rule is broken (and at the end, if the run stopped there),
because the run then continues and the stack changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.cpu import CpuFault
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.mutex import Mutexes
from vmtsim.run.invariants import IN_TRAP

if TYPE_CHECKING:
    from vmtsim.core.trace import Event
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.run.simulation import Simulation

_MOST_MOMENTS = 8
_DEEPEST = 16


@dataclass(frozen=True)
class Moment:
    """The context at ``at`` (virtual ns): readable texts, ``stack`` innermost first.

    ``in_trap``: the guest was inside a call to the host, and the innermost frame is the trap
    itself.
    """

    at: int
    rule: str
    thread: str
    stack: tuple[Place, ...]
    in_trap: bool
    locks: tuple[str, ...]
    threads: tuple[str, ...]
    objects: tuple[str, ...]


class ContextRecorder:
    """Records the context whenever a simulation reports a violation."""

    def __init__(self, simulation: Simulation) -> None:
        self.moments: list[Moment] = []
        self._simulation = simulation
        simulation.trace.subscribe(self._violation, ["violation"])
        simulation.trace.subscribe(self._missed, ["scenario.failed"])

    def _violation(self, event: Event) -> None:
        if len(self.moments) < _MOST_MOMENTS:
            rule = str(event["rule"])
            protocol = event.get("side") != "guest"
            name = f"protocol: {rule}" if protocol else rule
            # The host's code runs after a trap began: what it reports happened there.
            in_trap = protocol or rule in IN_TRAP
            pc = self._simulation.kernel.scheduler.trapped_at if in_trap else 0
            self.moments.append(self._look(name, pc))

    def _missed(self, event: Event) -> None:
        if len(self.moments) < _MOST_MOMENTS:
            self.moments.append(self._look(str(event["place"]), 0))

    def finish(self) -> None:
        """Record once more if the run ended with a finding."""
        findings = self._simulation.outcome.findings
        known = {moment.rule for moment in self.moments}
        for finding in findings:
            if finding.rule not in known and len(self.moments) < _MOST_MOMENTS:
                known.add(finding.rule)
                self.moments.append(self._look(finding.rule, 0))

    def _look(self, rule: str, pc: int) -> Moment:
        kernel = self._simulation.kernel
        lwp = kernel.scheduler.current
        held = lwp.held if lwp is not None else []
        return Moment(
            at=self._simulation.now(),
            rule=rule,
            thread=lwp.name if lwp is not None else "",
            stack=tuple(_stack(kernel, lwp, pc or kernel.faulted_at)),
            in_trap=bool(pc),
            locks=tuple(
                f"mutex {lock.describe()}, taken by {kernel.location(lock.taken_at)}"
                for lock in held
            ),
            threads=tuple(_thread(kernel, each) for each in kernel.scheduler.lwps),
            objects=tuple(_objects(self._simulation)),
        )


def _stack(kernel: Kernel, lwp: Lwp | None, pc: int) -> list[Place]:
    """Return where the running thread is, with its callers as far as frames can be followed."""
    if lwp is None:
        return []
    places = [kernel.location(pc, call=False)] if pc else []
    try:
        if not pc and kernel.call_site:
            places.append(kernel.location(kernel.call_site))
        callers = kernel.cpu.return_addresses(_DEEPEST)
    except CpuFault:
        return places
    for address in callers:
        place = kernel.locate(address, call=True)
        if place is None:
            break
        if place not in places[-1:]:
            places.append(place)
    return places


def _thread(kernel: Kernel, lwp: Lwp) -> str:
    """Return the state of a thread: running, ready, or asleep on what and where."""
    text = f"{lwp.name}: {lwp.state}"
    if lwp.state == "asleep":
        text += f" on {lwp.what or 'something'}"
    frame = lwp.frames[-1] if lwp.frames else None
    if frame is not None and frame.entry is not None and not frame.in_guest:
        try:
            site = kernel.site_of(lwp)
        except CpuFault:
            return text
        text += f", in {frame.entry.name} called by {kernel.location(site)}"
    return text


def _objects(simulation: Simulation) -> list[str]:
    """Return the live objects: memory, mutexes, channels, modules."""
    kernel = simulation.kernel
    found = [
        f"{allocation.size} bytes of {allocation.owner}, allocated by "
        f"{kernel.location(allocation.made_at)}"
        for allocation in kernel.subject(Kmem).live.values()
        if allocation.owner == "kmem"
    ]
    found += [
        f"mutex {mutex.describe()}, made by {kernel.location(mutex.made_at)}"
        for mutex in kernel.subject(Mutexes).live.values()
    ]
    channels = simulation.host.transport.channels
    found += [f"channel {number} ({channels[number].protocol})" for number in sorted(channels)]
    found += [f"module {name}" for name in kernel.subject(Modules).loaded]
    return found
