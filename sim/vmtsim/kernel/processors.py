"""Several processors with numbers: ``--cpus N``.

A processor has a thread, and soft interrupts on top of it that have interrupted each other (NetBSD
sys/kern/kern_softint.c, softint_dispatch).  At every kernel call the seed may let another processor
continue. A thread loses its processor only where the kernel could take it: when it sleeps, or where
it may be preempted (sys/kern/kern_synch.c, kpreempt).  It then continues on any free processor,
unless it is bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.choice import Choice, blocks_softints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmtsim.core.rng import Rng
    from vmtsim.kernel.biglock import BigLock
    from vmtsim.kernel.lwp import Lwp


# A thread that was preempted between two calls waits for at most this many choices.
_BACK = 50


class Processor:
    """One processor.  ``address`` is its struct cpu_info, ``stack`` its threads, latest last."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.address = 0
        self.stack: list[Lwp] = []

    @property
    def name(self) -> str:
        """The processor's name in messages, such as cpu0."""
        return f"cpu{self.index}"

    @property
    def top(self) -> Lwp | None:
        """The thread that runs on it, or is stopped on it; None if it is idle."""
        return self.stack[-1] if self.stack else None


def preemptible(lwp: Lwp) -> bool:
    """Whether the kernel may take the processor from a thread that does not sleep: kpreempt()."""
    return not (
        lwp.kind == "softint"
        or lwp.nopreempt
        or lwp.spl
        or lwp.pserialize
        or lwp.kernel_locks
        or lwp.kernel_lock_pending
        or lwp.spins_on is not None
        or any(lock.spin for lock in lwp.held)
    )


class SeveralProcessors(Choice):
    """Chooses a processor, and the thread that continues there."""

    def __init__(
        self, ready: list[Lwp], biglock: BigLock, rng: Rng, processors: Sequence[Processor]
    ) -> None:
        super().__init__(ready, biglock, rng)
        self.processors = processors
        # Whether a thread stays on its processor (l_pflag, LP_BOUND): set by the subject Objects.
        self.is_bound: Callable[[Lwp], bool] = lambda _lwp: False
        self._chosen: tuple[Lwp, Processor] | None = None
        self._behind: Lwp | None = None  # waits while others can continue,
        self._turns = 0  # for this many choices
        biglock.owner_of = lambda lwp: lwp.processor

    # -- placement -----------------------------------------------------------------------------

    @staticmethod
    def _interruptible(lwp: Lwp, processor: Processor) -> bool:
        """Whether a soft interrupt can start on its processor."""
        top = processor.top
        if top is None:
            return True
        if top.kind == "softint" and top.spl >= lwp.spl:
            return False
        return not blocks_softints(top, lwp.spl)

    def _free_for(self, lwp: Lwp) -> list[Processor]:
        """Return the processors on which a thread without one could continue, idle ones first."""
        if lwp.kind == "softint":
            own = lwp.processor
            if lwp.starting:
                return [own] if self._interruptible(lwp, own) else []
            return [own] if own.top is None or self._gives_way(own) else []
        if lwp.placed and self.is_bound(lwp):
            own = lwp.processor
            return [own] if own.top is None or self._gives_way(own) else []
        idle = [each for each in self.processors if not each.stack]
        return idle or [each for each in self.processors if self._gives_way(each)]

    @staticmethod
    def _gives_way(processor: Processor) -> bool:
        stack = processor.stack
        return len(stack) == 1 and stack[0].state == "ready" and preemptible(stack[0])

    def eligible(self, lwp: Lwp) -> bool:
        """Whether a thread that is ready can continue."""
        if lwp.interrupted:
            return False
        if lwp.kernel_lock_pending and not self.biglock.free_for(lwp):
            return False
        if lwp.spins_on is not None and lwp.spins_on.owner is not None:
            return False
        return lwp.on_processor or bool(self._free_for(lwp))

    # -- the choice ----------------------------------------------------------------------------

    def start_softint(self, lwp: Lwp, on: Lwp | None = None) -> None:
        """Start an idle soft interrupt, as soon as its processor allows it."""
        lwp.starting = True
        if on is not None:
            on.after_call = on.after_call or "switch"

    def pick(self) -> Lwp | None:
        """Each processor has one thread that must continue there; the seed chooses a processor."""
        ready = self.ready
        if not ready:
            return None
        interrupted = {
            lwp.processor
            for lwp in ready
            if lwp.starting and self._interruptible(lwp, lwp.processor)
        }
        able: list[tuple[Lwp, Processor]] = []
        for lwp in ready:
            if not self.eligible(lwp):
                continue
            places = [lwp.processor] if lwp.on_processor else self._free_for(lwp)
            if not lwp.starting:
                places = [each for each in places if each not in interrupted]
            able += [(lwp, each) for each in places]
        if not able:
            return None
        if self._behind is not None:
            able = self._without(self._behind, able)
        urgent, self.urgent = self.urgent, None
        candidates = [each for each in able if each[0] is urgent] or able
        self._chosen = (
            candidates[self.rng.below(len(candidates))] if len(candidates) > 1 else candidates[0]
        )
        return self._chosen[0]

    def yields_to_others(self, lwp: Lwp) -> None:
        """Let others run before a preempted thread, as PCT lowers its priority."""
        self._behind, self._turns = lwp, _BACK

    def _without(
        self, behind: Lwp, able: list[tuple[Lwp, Processor]]
    ) -> list[tuple[Lwp, Processor]]:
        self._turns -= 1
        others = [each for each in able if each[0] is not behind]
        if not others or not self._turns:
            self._behind = None
            return able
        return others

    def begins(self, lwp: Lwp) -> None:
        """Assign a processor to a thread."""
        chosen, self._chosen = self._chosen, None
        if lwp.on_processor:
            return
        known = chosen is not None and chosen[0] is lwp
        processor = chosen[1] if known and chosen else self._free_for(lwp)[0]
        top = processor.top
        if top is not None:
            if lwp.kind == "softint":
                lwp.pinned = top
                top.interrupted = True
            else:
                processor.stack.pop()
                top.on_processor = False
        processor.stack.append(lwp)
        lwp.processor = processor
        lwp.on_processor = lwp.placed = True
        lwp.starting = False

    def ends(self, lwp: Lwp) -> None:
        """Release the processor of a thread that sleeps or has exited."""
        if lwp.state == "ready" or not lwp.on_processor:
            return
        lwp.processor.stack.remove(lwp)
        lwp.on_processor = False
        if lwp.pinned is not None:
            lwp.pinned.interrupted = False
            lwp.pinned = None

    def may_switch(self, lwp: Lwp) -> bool:
        """Decide whether another thread runs here, on this processor or another."""
        for each in self.ready:
            if (
                each.starting
                and each.processor is lwp.processor
                and self._interruptible(each, lwp.processor)
            ):
                return True
        return self.rng.below(self.switch_odds) == 0
