"""Context rules of the kernel: who may sleep where, as DIAGNOSTIC and LOCKDEBUG check them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.pserialize import PSerialize

if TYPE_CHECKING:
    from vmtsim.kernel.kernel import Kernel


class Rules:
    """Checks that models call at their start; each panics with the whole story."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def may_sleep(self, function: str, *, holding: int = 0) -> None:
        """Panic unless the calling thread may sleep now.

        Not in a soft interrupt, not with a spin mutex held, not inside a pserialize read
        section (ASSERT_SLEEPABLE in NetBSD sys/kern/kern_lock.c).  ``holding`` is the address of
        an interlock that the function gives up.
        """
        kernel = self.kernel
        lwp = kernel.current
        if lwp.in_softint:
            kernel.panic(
                "sleep-in-softint",
                f"{function} called in soft interrupt context ({lwp.name}), where nothing may "
                f"sleep, by {kernel.where()}",
            )
        if lwp.pserialize:
            kernel.panic(
                "sleep-in-pserialize",
                f"{function} called inside a pserialize read section (entered by "
                f"{kernel.subject(PSerialize).entered(lwp)}), where nothing may sleep, "
                f"by {kernel.where()}",
            )
        for lock in lwp.held:
            if lock.spin and lock.address != holding:
                kernel.panic(
                    "sleep-with-spin-mutex",
                    f"{function} called by {kernel.where()} with spin mutex {lock.describe()} "
                    f"held (taken by {kernel.location(lock.taken_at)})",
                )

    def no_locks(self, function: str, rule: str) -> None:
        """Report mutexes that the calling thread holds."""
        kernel = self.kernel
        held = kernel.current.held
        if held:
            names = ", ".join(
                f"{lock.describe()} (taken by {kernel.location(lock.taken_at)})" for lock in held
            )
            kernel.violation(rule, f"{function} called by {kernel.where()} with mutex {names} held")

    def thread_context(self, function: str) -> None:
        """Panic in a hard or soft interrupt."""
        kernel = self.kernel
        lwp = kernel.current
        if lwp.in_softint:
            kernel.panic(
                "softint-context",
                f"{function} called in soft interrupt context ({lwp.name}) by {kernel.where()}",
            )
        if lwp.pserialize:
            kernel.violation(
                "kmem-in-pserialize",
                f"{function} called inside a pserialize read section (entered by "
                f"{kernel.subject(PSerialize).entered(lwp)}) by {kernel.where()}: make room "
                "before the section",
            )
