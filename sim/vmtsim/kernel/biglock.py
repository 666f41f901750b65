"""KERNEL_LOCK, as a processor has it (NetBSD sys/kern/kern_lock.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.ordering import NoOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.rng import Rng
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.processors import Processor

# Out of how many functions that may sleep one does, while its caller holds the kernel lock.
_RESTS = 4


class BigLock:
    """Who has the kernel lock.

    It belongs to a processor, not to a thread: a soft interrupt nests on the lock of the thread
    that it interrupted (_kernel_lock, ci_biglock_count).
    """

    def __init__(self, rng: Rng) -> None:
        self.owner: Lwp | Processor | None = None  # the processor that has it
        self.count = 0
        self._rng = rng
        self.order = NoOrder()
        # What stands for the processor on which a thread runs: the thread at the bottom.
        self.seat: Callable[[Lwp], Lwp | Processor] = _bottom

    def free_for(self, lwp: Lwp) -> bool:
        """Whether a thread can take it now."""
        return self.owner is None or self.owner is self.seat(lwp)

    def lock(self, lwp: Lwp, count: int) -> bool:
        """Take it for a thread; false where another processor has it."""
        seat = self.seat(lwp)
        if self.owner not in {None, seat}:
            return False
        if not lwp.kernel_locks:
            self.order.takes(lwp, self)  # what its processor gave up last, where it nests
        self.owner = seat
        self.count += count
        lwp.kernel_locks += count
        return True

    def unlock(self, lwp: Lwp, count: int) -> None:
        """Give it back ``count`` times."""
        lwp.kernel_locks -= count
        self.count -= count
        if not lwp.kernel_locks:
            self.order.gives(lwp, self)
        if not self.count:
            self.owner = None

    def give_up(self, lwp: Lwp) -> None:
        """Give it back for a thread that takes it again before it goes on (KERNEL_UNLOCK_ALL)."""
        lwp.kernel_lock_wanted = lwp.kernel_locks
        self.unlock(lwp, lwp.kernel_locks)

    def take_back(self, lwp: Lwp) -> None:
        """Take what the thread wants, now that it can go on."""
        if lwp.kernel_lock_wanted:
            self.lock(lwp, lwp.kernel_lock_wanted)
            lwp.kernel_lock_wanted = 0

    def may_rest(self, lwp: Lwp) -> None:
        """Let a thread that is in a function which may sleep give the lock up, by chance.

        mi_switch() gives it up for whoever sleeps: sys/kern/kern_sleepq.c, KERNEL_UNLOCK_ALL.
        """
        if lwp.kernel_locks and not self._rng.below(_RESTS):
            lwp.after_call = "rest"


def _bottom(lwp: Lwp) -> Lwp:
    """Return the thread that a soft interrupt has interrupted, or ``lwp`` itself."""
    while lwp.pinned is not None:
        lwp = lwp.pinned
    return lwp
