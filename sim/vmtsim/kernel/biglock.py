"""KERNEL_LOCK of a processor (NetBSD sys/kern/kern_lock.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.ordering import NoOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.rng import Rng
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.processors import Processor

# One in this many calls that may sleep does sleep, while the caller holds the kernel lock.
_SLEEPS_ONE_IN = 4


class BigLock:
    """The owner of the kernel lock.

    It belongs to a processor, not to a thread: a soft interrupt nests on the lock of the thread
    that it interrupted (_kernel_lock, ci_biglock_count).
    """

    def __init__(self, rng: Rng) -> None:
        self.owner: Lwp | Processor | None = None  # the processor that has it
        self.count = 0
        self._rng = rng
        self.order = NoOrder()
        # The thread that represents the processor on which a thread runs: the one at the bottom.
        self.owner_of: Callable[[Lwp], Lwp | Processor] = _bottom

    def free_for(self, lwp: Lwp) -> bool:
        """Whether a thread can take it now."""
        return self.owner is None or self.owner is self.owner_of(lwp)

    def lock(self, lwp: Lwp, count: int) -> bool:
        """Take it for a thread; false if another processor has it."""
        owner = self.owner_of(lwp)
        if self.owner not in {None, owner}:
            return False
        if not lwp.kernel_locks:
            self.order.takes(lwp, self)  # the last release by its processor, if it nests
        self.owner = owner
        self.count += count
        lwp.kernel_locks += count
        return True

    def unlock(self, lwp: Lwp, count: int) -> None:
        """Release it ``count`` times."""
        lwp.kernel_locks -= count
        self.count -= count
        if not lwp.kernel_locks:
            self.order.gives(lwp, self)
        if not self.count:
            self.owner = None

    def give_up(self, lwp: Lwp) -> None:
        """Release it for a thread that takes it again before it continues (KERNEL_UNLOCK_ALL)."""
        lwp.kernel_lock_pending = lwp.kernel_locks
        self.unlock(lwp, lwp.kernel_locks)

    def take_back(self, lwp: Lwp) -> None:
        """Take it for a thread that needs it, now that the thread can continue."""
        if lwp.kernel_lock_pending:
            self.lock(lwp, lwp.kernel_lock_pending)
            lwp.kernel_lock_pending = 0

    def may_release(self, lwp: Lwp) -> None:
        """Make a thread in a function that may sleep release the lock, at random.

        mi_switch() releases it for any thread that sleeps: sys/kern/kern_sleepq.c,
        KERNEL_UNLOCK_ALL.
        """
        if lwp.kernel_locks and not self._rng.below(_SLEEPS_ONE_IN):
            lwp.after_call = "rest"


def _bottom(lwp: Lwp) -> Lwp:
    """Return the thread that a soft interrupt has interrupted, or ``lwp`` itself."""
    while lwp.pinned is not None:
        lwp = lwp.pinned
    return lwp
