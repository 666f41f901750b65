"""Soft interrupts: a thread of their own in which nothing may sleep."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vmtsim.kernel.api import Block, Subject
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.scheduler import Lwp, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


class SoftInterrupts(Subject):
    """The soft interrupt of the clock level, which runs callouts."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._work: deque[tuple[Callable[[], Model], bool]] = deque()
        self._queue = WaitQueue("softclk/0")
        self.lwp: Lwp | None = None

    def boot(self) -> None:
        """Start the thread."""
        self.lwp = self.kernel.spawn("softclk/0", "softint", self._main())

    def schedule(self, work: Callable[[], Model], *, mpsafe: bool) -> None:
        """Run ``work()`` soon, with the kernel lock unless it is MP-safe."""
        self._work.append((work, mpsafe))
        self.kernel.scheduler.wake_one(self._queue)

    def _main(self) -> Model:
        big = self.kernel.subject(KernelLock)
        while True:
            while self._work:
                work, mpsafe = self._work.popleft()
                if not mpsafe:
                    waiting = big.lock(1)
                    if waiting is not None:
                        yield from waiting
                yield from work()
                if not mpsafe:
                    big.unlock(1)
            yield Block(self._queue, what="softclk")
