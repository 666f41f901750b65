"""Kernel preemption and interrupt priority of a thread (NetBSD sys/kern/kern_synch.c, spl(9)).

It records whether a thread could be moved to another CPU now, which soft interrupts it blocks on
its CPU, and which of these it has not undone.  With one CPU, switches between threads also
represent other CPUs, so nothing here prevents one; with more (vmtsim.kernel.processors) it keeps a
thread on its CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Preempt, Subject, kernel_function
from vmtsim.kernel.choice import blocks_softints
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.softint import SERIAL, SoftInterrupts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp


class Preemption(Subject):
    """Each thread's count of disabled preemption, and its interrupt priority level."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_synch.c 1.366": "*",
        "sys/arch/amd64/amd64/spl.S 1.49": "splraise spllower",
        "sys/arch/arm/pic/pic_splfuncs.c 1.24": "_splraise _spllower splx",
    }
    # The models order by raised levels: Ordering.excludes.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._disabled: dict[Lwp, list[int]] = {}  # call sites of kpreempt_disable
        self._raised: dict[Lwp, int] = {}  # call site of the latest splraise

    def boot(self) -> None:
        """Register for the end of threads: mi_userret() of sys/userret.h, and amd64's syscall."""
        scheduler = self.kernel.scheduler
        before = scheduler.on_exit

        def gone(lwp: Lwp) -> None:
            left = self.left_behind(lwp, lwp.spl if lwp.in_softint else 0)
            self.forget(lwp)
            self._raised.pop(lwp, None)
            if left is not None and scheduler.current is lwp:
                rule, words, place = left
                report = self.kernel.panic if rule == "preemption-left" else self.kernel.violation
                report(rule, f"thread {lwp.name} ended {words}", place)
            before(lwp)

        scheduler.on_exit = gone

    def disabled(self) -> bool:
        """Whether the running thread cannot be moved: kpreempt_disabled() of the kernel."""
        lwp = self.kernel.current
        return bool(
            lwp.in_softint
            or lwp.pserialize  # a read section runs at splsoftserial
            or self._disabled.get(lwp)
            or lwp.spl
            or any(lock.spin for lock in lwp.held)
        )

    def section(self, lwp: Lwp, *, high: bool) -> bool:
        """Whether a thread keeps xc_barrier(9) waiting: see sys/kern/subr_xcall.c.

        A low cross call runs in a thread of each CPU, a high one (``high``) in the soft interrupt
        of the serial level, which kpreempt_disable() and the lower levels do not keep out.
        """
        if high:
            serial = self.kernel.subject(SoftInterrupts).ipl(SERIAL)
            return lwp.state != "asleep" and blocks_softints(lwp, serial)
        if lwp.in_softint:
            return lwp.state != "asleep"
        return bool(self._disabled.get(lwp)) or blocks_softints(lwp, 1)

    def left_behind(self, lwp: Lwp, spl: int = 0) -> tuple[str, str, Place] | None:
        """Return (rule, text, place) for a state that the thread should have undone by now."""
        sites = self._disabled.get(lwp)
        if sites:
            place = self.kernel.location(sites[-1])
            return "preemption-left", f"with preemption disabled by {place}", place
        if lwp.spl > spl:
            place = self.kernel.location(self._raised.get(lwp, 0))
            return "spl-left", f"at interrupt priority level {lwp.spl}, raised by {place}", place
        return None

    def forget(self, lwp: Lwp, spl: int = 0) -> None:
        """Undo everything for a thread that has been reported."""
        self._disabled.pop(lwp, None)
        lwp.nopreempt = 0
        lwp.spl = spl

    def stays_on_cpu(self) -> bool:
        """Whether the running thread stays on its CPU: not preemptible, or bound to it."""
        return self.disabled() or self.kernel.subject(Objects).is_bound(self.kernel.current)

    @kernel_function("void kpreempt_disable(void)")
    def kpreempt_disable(self) -> None:
        lwp = self.kernel.current
        lwp.nopreempt += 1
        self._disabled.setdefault(lwp, []).append(self.kernel.call_site)
        self.kernel.order.excludes(lwp, 0)

    @kernel_function("void kpreempt_enable(void)")
    def kpreempt_enable(self) -> None:
        kernel = self.kernel
        sites = self._disabled.get(kernel.current)
        if not sites:
            kernel.panic(
                "preemption-not-disabled",
                f"kpreempt_enable by {kernel.where()} in thread {kernel.current.name}, which has "
                "not called kpreempt_disable",
            )
        sites.pop()
        kernel.current.nopreempt -= 1
        kernel.order.lowers(kernel.current, 0)
        if not sites:
            del self._disabled[kernel.current]
            kernel.current.quiet += 1

    @kernel_function("bool kpreempt_disabled(void)")
    def kpreempt_disabled(self) -> bool:
        return self.disabled()

    @kernel_function("void preempt_point(void)")
    def preempt_point(self) -> Model:
        self.kernel.rules.may_sleep("preempt_point")
        yield Preempt()

    # On aarch64 splraise() and spllower() are inline, and splx() is not (arch/arm/pic).
    @kernel_function("int splraise(int level)", machines=("amd64", "i386"))
    @kernel_function("int _splraise(int level)", machines=("aarch64",))
    def splraise(self, level: int) -> int:
        lwp = self.kernel.current
        old = lwp.spl
        if level > old:
            lwp.spl = level
            self.kernel.order.excludes(lwp, level)
            self._raised[lwp] = self.kernel.call_site
        return old

    @kernel_function("void spllower(int level)", machines=("amd64", "i386"))
    @kernel_function("void _spllower(int level)", machines=("aarch64",))
    @kernel_function("void splx(int level)", machines=("aarch64",))
    def spllower(self, level: int) -> None:
        lwp = self.kernel.current
        if level < lwp.spl:
            self.kernel.order.lowers(lwp, lwp.spl)
            lwp.spl = level
            lwp.quiet += 1
