"""Soft interrupts: a thread for each level, which must not sleep.

NetBSD sys/kern/kern_softint.c (softint_init, softint_execute, softint_dispatch).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vmtsim.kernel.api import Block, Subject
from vmtsim.kernel.lwp import Lwp, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.processors import Processor

# sys/sys/intr.h
BIO, CLOCK, SERIAL, NET = range(4)
# The thread of each level, and the distance of its IPL from IPL_SOFTCLOCK: a higher one interrupts
# a lower one.
_LEVELS = {CLOCK: ("softclk", 0), BIO: ("softbio", 1), NET: ("softnet", 2), SERIAL: ("softser", 3)}
# sys/arch/x86/include/intrdefs.h and sys/arch/aarch64/include/intr.h
_IPL_SOFTCLOCK = {"amd64": 2, "i386": 2, "aarch64": 1}


class _Level:
    """One level of a processor: its thread and the pending handlers."""

    def __init__(self, lwp_name: str, processor: Processor) -> None:
        self.processor = processor
        self.work: deque[Callable[[], Model]] = deque()
        self.queue = WaitQueue(lwp_name)
        self.lwp: Lwp | None = None
        self.idle = True


class SoftInterrupts(Subject):
    """The soft interrupt threads of each processor."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._levels = {
            (each, level): _Level(f"{name}/{each.index}", each)
            for each in kernel.processors
            for level, (name, _above) in _LEVELS.items()
        }

    def boot(self) -> None:
        """Start the threads that run callouts; the others start at their first use."""
        for processor in self.kernel.processors:
            self._thread(self._levels[processor, CLOCK], CLOCK)

    def ipl(self, level: int) -> int:
        """Return the interrupt priority level of SOFTINT_CLOCK, _BIO, _NET or _SERIAL."""
        return _IPL_SOFTCLOCK[self.kernel.cpu.machine] + _LEVELS[level][1]

    def _thread(self, own: _Level, level: int) -> Lwp:
        if own.lwp is None:
            own.lwp = self.kernel.spawn(own.queue.name, "softint", self._main(own), own.processor)
            own.lwp.spl = self.ipl(level)
        return own.lwp

    def schedule(
        self,
        work: Callable[[], Model],
        processor: Processor,
        *,
        level: int = CLOCK,
        on: Lwp | None = None,
    ) -> None:
        """Run ``work()`` on a processor, as soon as that allows it.

        ``on`` is the requesting thread on it, if there is one.
        """
        own = self._levels[processor, level]
        lwp = self._thread(own, level)
        own.work.append(work)
        if own.idle:
            own.idle = False
            self.kernel.scheduler.wake_one(own.queue)
            self.kernel.scheduler.choice.start_softint(lwp, on)

    def _main(self, own: _Level) -> Model:
        while True:
            while own.work:
                yield from own.work.popleft()()
            self.kernel.current.quiet += 1
            own.idle = True
            yield Block(own.queue, what=own.queue.name)
