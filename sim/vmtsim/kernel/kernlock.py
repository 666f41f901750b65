"""KERNEL_LOCK: recursive, released by a sleeping thread (NetBSD sys/kern/kern_lock.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Preempt, Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model


class KernelLock(Subject):
    """The big lock; the scheduler keeps its owner, because sleeping releases it."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_lock.c 1.188": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def lock(self, count: int) -> Model | None:
        """Take it ``count`` times for the running thread; waits for another processor."""
        if self.kernel.scheduler.biglock.lock(self.kernel.current, count):
            return None
        return self._wait(count)

    def _wait(self, count: int) -> Model:
        self.kernel.current.kernel_lock_pending = count
        # The scheduler resumes this thread only when it has got the lock for it.
        yield Preempt()

    def unlock(self, count: int) -> None:
        """Release it ``count`` times, for the running thread."""
        self.kernel.scheduler.biglock.unlock(self.kernel.current, count)

    def held(self) -> bool:
        """Whether the running thread has taken it."""
        return bool(self.kernel.current.kernel_locks)

    @kernel_function("void _kernel_lock(int nlocks)")
    def kernel_lock(self, count: int) -> Model | None:
        return self.lock(count)

    @kernel_function("void _kernel_unlock(int nlocks, int *countp)")
    def kernel_unlock(self, count: int, count_at: int) -> None:
        """Release it: 0 is all, -1 (KERNEL_UNLOCK_LAST) the only one, 1 is one of them.

        If it is not held, the kernel returns, and LOCKDEBUG panics for all except 0 and -1.
        """
        kernel = self.kernel
        held = kernel.current.kernel_locks
        wrong = ""
        if not held:
            if count > 0:
                wrong = f"thread {kernel.current.name} does not hold the kernel lock"
        elif count == -1 and held != 1:
            wrong = f"KERNEL_UNLOCK_LAST, but it is held {held} times"
        elif count > 1:
            wrong = f"KERNEL_UNLOCK({count}): the argument must be 1, -1 or 0"
        if wrong:
            kernel.violation("kernel-lock-not-held", f"KERNEL_UNLOCK by {kernel.where()}: {wrong}")
        if held:
            self.unlock(held if count == 0 else min(max(count, 1), held))
        if count_at:
            kernel.memory.put_u32(count_at, held)

    @kernel_function("bool _kernel_locked_p(void)")
    def kernel_locked(self) -> bool:
        """Whether any processor has it: sys/kern/kern_lock.c checks only the lock."""
        return self.kernel.scheduler.biglock.owner is not None
