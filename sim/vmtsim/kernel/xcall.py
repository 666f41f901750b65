"""xcall(9): functions on every processor, and the barrier (NetBSD sys/kern/subr_xcall.c)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Preempt, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.preempt import Preemption
from vmtsim.kernel.softint import SERIAL, SoftInterrupts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_HIGHPRI = 1
_LOOK = 10_000  # so often a barrier looks whether the others have gone on, in virtual ns


class CrossCalls(Subject):
    """Cross calls of a machine with one processor: low ones in a thread, high ones in a softint."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_xcall.c 1.38": "*"}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._ticket = 0
        self._waiting: dict[int, tuple[int, int]] = {}  # ticket -> function, call site
        self._queue: deque[tuple[int, int, int, int]] = deque()
        self._wakeup = WaitQueue("xcall")
        self._done = WaitQueue("xcall")
        self._low_runs = False
        self._lwp: Lwp | None = None

    def _main(self) -> Model:
        while True:
            while self._queue:
                low = self._queue.popleft()
                yield from self._one(*low)
                self._low_runs = False
                self.kernel.scheduler.wake_all(self._done)
            yield Block(self._wakeup, what="xcall")

    def _one(self, ticket: int, function: int, first: int, second: int) -> Model:
        yield from call_back(self.kernel, "cross call", function, (first, second), mpsafe=True)
        self._waiting.pop(ticket, None)
        self.kernel.scheduler.wake_all(self._done)

    @kernel_function(
        "uint64_t xc_broadcast(unsigned int flags, void (*func)(void *, void *), void *arg1, "
        "void *arg2)"
    )
    def xc_broadcast(self, flags: int, function: int, first: int, second: int) -> Model:
        """One low-priority call at a time: the next waits in here (xc_lowpri)."""
        kernel = self.kernel
        kernel.rules.may_sleep("xc_broadcast")
        while not flags & _HIGHPRI and (self._queue or self._low_runs):
            yield Block(self._done, what="xclow")
        self._ticket += 1
        ticket = self._ticket
        self._waiting[ticket] = (function, kernel.call_site)
        if flags & _HIGHPRI:
            kernel.subject(SoftInterrupts).schedule(
                lambda: self._one(ticket, function, first, second), level=SERIAL
            )
            return ticket
        self._low_runs = True
        self._queue.append((ticket, function, first, second))
        if self._lwp is None:
            objects = kernel.subject(Objects)
            self._lwp = kernel.spawn("xcall/0", "kthread", self._main())
            self._lwp.address = objects.new_lwp("xcall/0")
            objects.bind(self._lwp)
        kernel.scheduler.wake_one(self._wakeup)
        return ticket

    @kernel_function(
        "uint64_t xc_unicast(unsigned int flags, void (*func)(void *, void *), void *arg1, "
        "void *arg2, struct cpu_info *ci)"
    )
    def xc_unicast(self, flags: int, function: int, first: int, second: int, cpu: int) -> Model:
        kernel = self.kernel
        if not cpu:
            kernel.panic("xcall-cpu", f"xc_unicast by {kernel.where()} without a CPU")
        return self.xc_broadcast(flags, function, first, second)

    @kernel_function("void xc_wait(uint64_t where)")
    def xc_wait(self, ticket: int) -> Model:
        self.kernel.rules.may_sleep("xc_wait")
        while ticket in self._waiting:
            yield Block(self._done, what="xcall")

    @kernel_function("void xc_barrier(unsigned int flags)")
    def xc_barrier(self, flags: int) -> Model:
        """Wait until every processor has run the cross call's thread or soft interrupt.

        What kept it from that when this began is over then: preemption disabled, a raised level,
        a soft interrupt.
        """
        kernel = self.kernel
        kernel.rules.may_sleep("xc_barrier")
        preemption, high = kernel.subject(Preemption), bool(flags & _HIGHPRI)
        lwps = [lwp for lwp in kernel.scheduler.lwps if lwp is not kernel.current]
        busy = {lwp: lwp.quiet for lwp in lwps if preemption.section(lwp, high=high)}
        yield Preempt()
        while any(
            lwp.quiet == quiet and lwp.state != "gone" and preemption.section(lwp, high=high)
            for lwp, quiet in busy.items()
        ):
            yield Block(None, deadline=kernel.clock.now + _LOOK, what="xcall")

    def check_unload(self, module: str) -> None:
        """Panic for a cross call that has not come back: it would run code that is gone."""
        for function, site in self._waiting.values():
            place = self.kernel.location(site)
            self.kernel.panic(
                "xcall-left",
                f"module {module} is gone, but the cross call of "
                f"{self.kernel.location(function)} by {place} has not come back: use xc_wait",
                place,
            )
