"""Chooses the next thread if processors have no numbers: ``--cpus 1``.

The machine reports one processor, and a thread that continues while another stands still runs on a
second one that the guest cannot see.  A soft interrupt takes the processor of the thread that it
interrupts, which stands still until the handler returns or sleeps (NetBSD sys/kern/kern_softint.c,
softint_dispatch); threads elsewhere continue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.core.rng import Rng
    from vmtsim.kernel.biglock import BigLock
    from vmtsim.kernel.lwp import Lwp


def blocks_softints(lwp: Lwp, level: int) -> bool:
    """Whether a thread keeps soft interrupts of a level (an IPL) from its processor."""
    return bool(
        lwp.spl >= level
        or lwp.pserialize  # splsoftserial
        or lwp.spins_on is not None
        or any(lock.spin for lock in lwp.held)
    )


class Choice:
    """Chooses among the threads that are ready, by the seed."""

    def __init__(self, ready: list[Lwp], biglock: BigLock, rng: Rng) -> None:
        self.ready = ready
        self.biglock = biglock
        self.rng = rng
        # The scheduler switches at one in this many opportunities; the seed draws the number.
        self.switch_odds = 2 << rng.below(5)
        self.urgent: Lwp | None = None  # runs next, independent of the seed
        self._soft_rng = rng.fork("softint")
        self._aside: Lwp | None = None  # a soft interrupt during which other processors run
        self._last: Lwp | None = None  # the previous thread on the processor
        self._soft_due: list[Lwp] = []  # soft interrupts that wait for a thread's processor

    # -- soft interrupts -----------------------------------------------------------------------

    def start_softint(self, lwp: Lwp, on: Lwp | None = None) -> None:
        """Start an idle soft interrupt, on the processor of ``on`` or on any."""
        lwp.starting = True
        lwp.due_on = on
        if on is not None:
            self._soft_due.append(lwp)
            on.after_call = on.after_call or "switch"

    def begins(self, lwp: Lwp) -> None:
        """Record that a thread gets a processor: a soft interrupt takes it from another."""
        if not lwp.starting:
            return
        lwp.starting = False
        on, lwp.due_on = lwp.due_on, None
        if on is not None:
            self._soft_due.remove(lwp)
        last = self._last if on is None else on
        if (
            last is not None
            and last.state == "ready"
            and not last.interrupted
            and not blocks_softints(last, lwp.spl)
            and (on is not None or last.kind == "softint" or self._soft_rng.below(2))
        ):
            lwp.pinned = last
            last.interrupted = True

    def ends(self, lwp: Lwp) -> None:
        """Record that a thread has stopped: it is ready again, asleep or has exited."""
        if lwp.state != "ready" and lwp.pinned is not None:
            lwp.pinned.interrupted = False
            lwp.pinned = None
        self._last = lwp

    # -- the choice ----------------------------------------------------------------------------

    def eligible(self, lwp: Lwp) -> bool:
        """Whether a thread that is ready can continue."""
        if lwp.interrupted:
            return False
        if lwp.kernel_lock_pending and not self.biglock.free_for(lwp):
            return False
        on = lwp.due_on
        return on is None or on.state != "ready" or not blocks_softints(on, lwp.spl)

    def pick(self) -> Lwp | None:
        """Soft interrupts first; among threads the seed chooses."""
        ready = self.ready
        if not ready:
            return None
        if len(ready) == 1:
            return ready[0] if self.eligible(ready[0]) else None
        able = [lwp for lwp in ready if self.eligible(lwp)]
        if not able:
            return None
        urgent, self.urgent = self.urgent, None
        aside, self._aside = self._aside, None
        softint: Lwp | None = None
        for lwp in able:
            if lwp is urgent:
                return lwp
            if lwp.kind == "softint" and (softint is None or lwp.spl > softint.spl):
                softint = lwp
        if softint is not None:
            threads = [lwp for lwp in able if lwp.kind != "softint"]
            if softint is not aside or not threads:
                return softint
            able = threads
        return able[self.rng.below(len(able))] if len(able) > 1 else able[0]

    def yields_to_others(self, lwp: Lwp) -> None:
        """Let others run before a thread that was preempted between two calls."""

    def may_switch(self, lwp: Lwp) -> bool:
        """Decide whether another thread gets the processor here; at least one is ready."""
        if lwp.kind == "softint":
            return self._may_set_aside(lwp)
        for softint in self._soft_due:
            if softint.due_on is lwp and not blocks_softints(lwp, softint.spl):
                return True
        return self.rng.below(self.switch_odds) == 0

    def _may_set_aside(self, lwp: Lwp) -> bool:
        """Decide whether a soft interrupt is interrupted, or other processors run during it."""
        able = [each for each in self.ready if self.eligible(each)]
        if any(each.kind == "softint" and each.spl > lwp.spl for each in able):
            return True
        threads = any(each.kind != "softint" for each in able)
        if threads and not self._soft_rng.below(self.switch_odds):
            self._aside = lwp
            return True
        return False
