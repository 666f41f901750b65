"""KERNEL_LOCK: recursive, given up by a sleeping thread (NetBSD sys/kern/kern_lock.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Preempt, Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model


class KernelLock(Subject):
    """The big lock; the scheduler keeps its owner, because sleeping gives it up."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_lock.c 1.188": "*"}

    def lock(self, count: int) -> Model | None:
        """Take it ``count`` times for the running thread; waits for another owner."""
        scheduler = self.kernel.scheduler
        lwp = self.kernel.current
        if scheduler.kernel_lock_owner in {None, lwp}:
            scheduler.kernel_lock_owner = lwp
            scheduler.kernel_lock_count += count
            return None
        return self._wait(count)

    def _wait(self, count: int) -> Model:
        self.kernel.current.kernel_lock_wanted = count
        # The scheduler lets this thread go on only when it has got the lock for it.
        yield Preempt()

    def unlock(self, count: int, *, every: bool = False) -> int:
        """Give it back ``count`` times, or as often as held; returns how often it was held."""
        scheduler = self.kernel.scheduler
        kernel = self.kernel
        held = scheduler.kernel_lock_count
        if scheduler.kernel_lock_owner is not kernel.current:
            if every:
                return 0
            kernel.panic(
                "kernel-lock-not-held",
                f"KERNEL_UNLOCK by {kernel.where()} in thread {kernel.current.name}, which does "
                "not hold the kernel lock",
            )
        if every:
            count = held
        if count > held:
            kernel.panic(
                "kernel-lock-not-held",
                f"KERNEL_UNLOCK({count}) by {kernel.where()}: it is held {held} times",
            )
        scheduler.kernel_lock_count -= count
        if not scheduler.kernel_lock_count:
            scheduler.kernel_lock_owner = None
        return held

    def held(self) -> bool:
        """Whether the running thread holds it."""
        return self.kernel.scheduler.kernel_lock_owner is self.kernel.current

    @kernel_function("void _kernel_lock(int nlocks)")
    def kernel_lock(self, count: int) -> Model | None:
        return self.lock(count)

    @kernel_function("void _kernel_unlock(int nlocks, int *countp)")
    def kernel_unlock(self, count: int, count_at: int) -> None:
        # 0: all; -1: all but it must be one; n: n times.
        held = self.unlock(max(count, 1), every=count == 0)
        if count_at:
            self.kernel.memory.put_u32(count_at, held)

    @kernel_function("bool _kernel_locked_p(void)")
    def kernel_locked(self) -> bool:
        return self.held()
