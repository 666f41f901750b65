"""Context rules of the kernel: where a thread may sleep, as DIAGNOSTIC and LOCKDEBUG check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.pserialize import PSerialize

if TYPE_CHECKING:
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.mutex import Mutex

# kern.heartbeat.max_period: the longest time without a clock interrupt, or without a soft
# interrupt, of a CPU (NetBSD sys/kern/kern_heartbeat.c).
HEARTBEAT = 15 * SECOND


class Rules:
    """Checks that models call at their start; each panics with a full description."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def ticks(self, function: str, ticks: int) -> None:
        """Panic for a negative timeout: callout_schedule_locked in sys/kern/kern_timeout.c.

        cv_timedwait(9) and kpause(9) get there through sleepq_block in sys/kern/kern_sleepq.c.
        """
        if ticks < 0:
            kernel = self.kernel
            kernel.panic(
                "callout-ticks",
                f"{function} by {kernel.where()} with {ticks} ticks: a computation of ticks has "
                "overflowed",
            )

    def may_sleep(
        self, function: str, *, holding: int = 0, softint: bool = False, sleeps: bool = False
    ) -> None:
        """Panic unless the calling thread may sleep now.

        It may not in a soft interrupt, with a spin mutex held, or inside a pserialize read section
        (ASSERT_SLEEPABLE in NetBSD sys/kern/kern_lock.c).  ``holding`` is the address of an
        interlock that the function releases; ``softint`` allows soft interrupts; a function that
        always ``sleeps`` gets to mi_switch in kern_synch.c, which asserts more than that macro.  If
        it may, it does at random: it releases the kernel lock.
        """
        kernel = self.kernel
        lwp = kernel.current
        kernel.scheduler.biglock.may_release(lwp)
        if lwp.in_softint and not softint:
            kernel.panic(
                "sleep-in-softint",
                f"{function} called in soft interrupt context ({lwp.name}), which must not "
                f"sleep, by {kernel.where()}",
            )
        if lwp.pserialize:
            kernel.panic(
                "switch-in-pserialize" if sleeps else "sleep-in-pserialize",
                f"{function} called inside a pserialize read section (entered by "
                f"{kernel.subject(PSerialize).entered(lwp)}), which must not sleep, "
                f"by {kernel.where()}",
            )
        for lock in lwp.held:
            if lock.spin and lock.address != holding:
                kernel.panic(
                    "switch-with-spin-mutex" if sleeps else "sleep-with-spin-mutex",
                    f"{function} called by {kernel.where()} with spin mutex {lock.describe()} "
                    f"held (taken by {kernel.location(lock.taken_at)})",
                )

    def waits(self, function: str) -> None:
        """Report a sysctl handler that waits for another thread, or for time.

        It holds the lock of the whole tree, in NetBSD sys/kern/kern_sysctl.c (sys___sysctl), so
        that every other sysctl(2) that changes anything, or any at all, waits too.
        """
        kernel = self.kernel
        node = kernel.current.sysctl_node
        if node:
            kernel.violation(
                "sysctl-handler-sleeps",
                f"{function} called by {kernel.where()} in the handler of {node}, with the lock of "
                "the whole sysctl tree held: every other sysctl(2) waits until it returns",
            )

    def not_suspending(self, rule: str, function: str, why: str) -> None:
        """Report a thread that has suspended a file system and may have to wait for it."""
        kernel = self.kernel
        lwp = kernel.scheduler.current
        if lwp is not None and lwp.suspends:
            kernel.violation(
                rule,
                f"{function} called by {kernel.where()} in thread {lwp.name}, which has suspended "
                f"the file system {lwp.suspends}: {why}",
            )

    def heartbeat(self, mutex: Mutex) -> None:
        """Panic for a spin mutex that blocks the CPU's clock interrupts for too long."""
        kernel = self.kernel
        held = kernel.clock.now - mutex.taken_on
        if held > HEARTBEAT:
            kernel.panic(
                "heartbeat",
                f"the spin mutex {mutex.describe()}, taken by {kernel.location(mutex.taken_at)}, "
                f"was held for {held / 1e9:.1f} s, detected in a call by {kernel.where()}: the "
                "other CPUs panic after 15 s",
            )

    def busy(self) -> None:
        """Panic if the calling thread has kept the CPU from others for too long."""
        kernel = self.kernel
        lwp = kernel.current
        for lock in lwp.held:
            if lock.spin:
                self.heartbeat(lock)
        ran = kernel.clock.now - lwp.began
        if lwp.in_softint and ran > HEARTBEAT:
            kernel.panic(
                "heartbeat",
                f"the soft interrupt thread {lwp.name} has run for {ran / 1e9:.1f} s, now in a "
                f"call by {kernel.where()}: no other soft interrupt gets the CPU, and it panics "
                "after 15 s (softints stuck)",
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
