"""xcall(9): functions on every processor, and the barrier (NetBSD sys/kern/subr_xcall.c)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Block, Preempt, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.preempt import Preemption
from vmtsim.kernel.softint import SERIAL, SoftInterrupts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.processors import Processor

_HIGHPRI = 1
_LOOK = 10_000  # interval at which a barrier checks the others, in virtual ns


@dataclass(eq=False)
class _Call:
    """A call in progress; ``left`` counts the processors that have not run it."""

    ticket: int
    function: int
    arguments: tuple[int, int]
    site: int
    left: int


class CrossCalls(Subject):
    """Cross calls: low ones in a thread of each processor, high ones in its soft interrupt."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_xcall.c 1.38": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._ticket = 0
        self._waiting: dict[int, _Call] = {}
        self._calls: dict[int, _Call] = {}  # those of the run, with their results
        self._queues: dict[Processor, deque[_Call]] = {each: deque() for each in kernel.processors}
        self._wakeups = {each: WaitQueue("xcall") for each in kernel.processors}
        self._done = WaitQueue("xcall")
        self._low: _Call | None = None
        self._lwps: dict[Processor, Lwp] = {}

    def _main(self, processor: Processor) -> Model:
        queue = self._queues[processor]
        while True:
            while queue:
                yield from self._one(queue.popleft())
            yield Block(self._wakeups[processor], what="xcall")

    def _one(self, call: _Call) -> Model:
        order, lwp = self.kernel.order, self.kernel.current
        order.begins(lwp, call)
        yield from call_back(self.kernel, "cross call", call.function, call.arguments, mpsafe=True)
        order.ends(lwp, call)
        call.left -= 1
        if call.left:
            return
        del self._waiting[call.ticket]
        if call is self._low:
            self._low = None
        self.kernel.scheduler.wake_all(self._done)

    @kernel_function(
        "uint64_t xc_broadcast(unsigned int flags, void (*func)(void *, void *), void *arg1, "
        "void *arg2)"
    )
    def xc_broadcast(self, flags: int, function: int, first: int, second: int) -> Model:
        targets = self.kernel.processors
        return (yield from self._start("xc_broadcast", flags, function, (first, second), targets))

    @kernel_function(
        "uint64_t xc_unicast(unsigned int flags, void (*func)(void *, void *), void *arg1, "
        "void *arg2, struct cpu_info *ci)"
    )
    def xc_unicast(self, flags: int, function: int, first: int, second: int, cpu: int) -> Model:
        kernel = self.kernel
        target = kernel.processor_at(cpu)
        if target is None:
            kernel.panic(
                "xcall-cpu",
                f"xc_unicast by {kernel.where()} to {kernel.describe(cpu)}, which is no CPU",
            )
        return (yield from self._start("xc_unicast", flags, function, (first, second), [target]))

    def _start(
        self,
        name: str,
        flags: int,
        function: int,
        arguments: tuple[int, int],
        targets: Sequence[Processor],
    ) -> Model:
        """Allow one low-priority call at a time: the next one waits here (xc_lowpri)."""
        kernel = self.kernel
        kernel.rules.may_sleep(name)
        while not flags & _HIGHPRI and self._low is not None:
            yield Block(self._done, what="xclow")
        self._ticket += 1
        call = _Call(self._ticket, function, arguments, kernel.call_site, len(targets))
        self._waiting[call.ticket] = self._calls[call.ticket] = call
        kernel.order.gives(kernel.current, call)
        if flags & _HIGHPRI:
            softints = kernel.subject(SoftInterrupts)
            for processor in targets:
                softints.schedule(lambda: self._one(call), processor, level=SERIAL)
            return call.ticket
        self._low = call
        for processor in targets:
            self._queues[processor].append(call)
            if processor not in self._lwps:
                self._lwps[processor] = self._new_thread(processor)
            kernel.scheduler.wake_one(self._wakeups[processor])
        return call.ticket

    def _new_thread(self, processor: Processor) -> Lwp:
        objects = self.kernel.subject(Objects)
        name = f"xcall/{processor.index}"
        lwp = self.kernel.spawn(name, "kthread", self._main(processor), processor)
        lwp.address = objects.new_lwp(name)
        objects.bind(lwp)
        return lwp

    @kernel_function("void xc_wait(uint64_t where)")
    def xc_wait(self, ticket: int) -> Model:
        self.kernel.rules.may_sleep("xc_wait")
        call = self._calls.get(ticket)
        while ticket in self._waiting:
            yield Block(self._done, what="xcall")
        if call is not None:
            self.kernel.order.takes(self.kernel.current, call)

    @kernel_function("void xc_barrier(unsigned int flags)")
    def xc_barrier(self, flags: int) -> Model:
        """Wait until every processor has run the cross call's thread or soft interrupt.

        Then the states that blocked it at the start have ended: disabled preemption, a raised
        level, a soft interrupt.
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
        kernel.order.crosses(kernel.current, kernel.processors)

    def check_unload(self, module: str) -> None:
        """Panic for a cross call that has not returned: it would run unloaded code."""
        for call in self._waiting.values():
            if self.kernel.loaded_at(call.function) is not None:
                continue
            place = self.kernel.location(call.site)
            self.kernel.panic(
                "xcall-left",
                f"module {module} is unloaded, but the cross call of "
                f"{self.kernel.location(call.function)} by {place} has not returned: use xc_wait",
                place,
            )
