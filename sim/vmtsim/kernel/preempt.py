"""Kernel preemption and interrupt priority of a thread (NetBSD sys/kern/kern_synch.c, spl(9)).

Only what others ask for is kept: whether a thread could be moved to another CPU right now.
Switches between threads stand for other CPUs too, so nothing here forbids one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.scheduler import Lwp


class Preemption(Subject):
    """How often each thread has forbidden preemption, and its interrupt priority level."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_synch.c 1.366": "*",
        "sys/arch/amd64/amd64/spl.S 1.49": "splraise spllower",
        "sys/arch/arm/pic/pic_splfuncs.c 1.24": "_splraise _spllower splx",
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._disabled: dict[Lwp, list[int]] = {}  # call sites of kpreempt_disable
        self._levels: dict[Lwp, int] = {}

    def disabled(self) -> bool:
        """Whether the running thread cannot be moved: kpreempt_disabled() of the kernel."""
        lwp = self.kernel.current
        return bool(
            lwp.in_softint
            or lwp.pserialize  # a read section runs at splsoftserial
            or self._disabled.get(lwp)
            or self._levels.get(lwp)
            or any(lock.spin for lock in lwp.held)
        )

    def stays_on_cpu(self) -> bool:
        """Whether the running thread stays on its CPU: not preemptible, or bound to it."""
        return self.disabled() or self.kernel.subject(Objects).is_bound(self.kernel.current)

    @kernel_function("void kpreempt_disable(void)")
    def kpreempt_disable(self) -> None:
        self._disabled.setdefault(self.kernel.current, []).append(self.kernel.call_site)

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
        if not sites:
            del self._disabled[kernel.current]

    @kernel_function("bool kpreempt_disabled(void)")
    def kpreempt_disabled(self) -> bool:
        return self.disabled()

    # On aarch64 splraise() and spllower() are inline, and splx() is not (arch/arm/pic).
    @kernel_function("int splraise(int level)", machines=("amd64", "i386"))
    @kernel_function("int _splraise(int level)", machines=("aarch64",))
    def splraise(self, level: int) -> int:
        lwp = self.kernel.current
        old = self._levels.get(lwp, 0)
        self._levels[lwp] = max(old, level)
        return old

    @kernel_function("void spllower(int level)", machines=("amd64", "i386"))
    @kernel_function("void _spllower(int level)", machines=("aarch64",))
    @kernel_function("void splx(int level)", machines=("aarch64",))
    def spllower(self, level: int) -> None:
        lwp = self.kernel.current
        if level < self._levels.get(lwp, 0):
            self._levels[lwp] = level
        if not self._levels.get(lwp):
            self._levels.pop(lwp, None)
