"""condvar(9) and kpause(9) (NetBSD sys/kern/kern_condvar.c, kern_synch.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.mutex import Mutex, Mutexes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


class CondVar:
    """One condition variable: its sleepers and its wait message."""

    __slots__ = ("made_at", "mutex", "queue")

    def __init__(self, message: str, made_at: int) -> None:
        self.queue = WaitQueue(message)
        self.made_at = made_at
        self.mutex: Mutex | None = None


class CondVars(Subject):
    """All condition variables that modules have made, by address."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_condvar.c 1.63": "*",
        "sys/kern/kern_synch.c 1.366": "kpause",
    }
    # The waking thread comes before the woken one: Ordering.wakes.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[CondVar] = LiveObjects(
            self,
            Words("condition variable", "initialised"),
            unknown="condvar-uninitialised",
            left="condvar-not-destroyed",
            name=lambda cv: f"'{cv.queue.name}'",
        )
        self._rng = kernel.rng.fork("signal")
        kernel.subject(Kmem).on_free.append(self._check_free)

    def _check_free(self, start: int, end: int, function: str) -> None:
        """Panic for memory that is freed with sleepers; forget condition variables without any."""
        kernel = self.kernel
        for address, cv in self.live.inside(start, end):
            del self.live[address]
            if cv.queue.lwps:
                kernel.panic(
                    "free-with-condvar",
                    f"{function} by {kernel.where()}: "
                    f"{', '.join(lwp.name for lwp in cv.queue.lwps)} sleep on the condition "
                    f"variable '{cv.queue.name}' in it",
                )
            kernel.violation(
                "condvar-not-destroyed",
                f"{function} by {kernel.where()}: the condition variable '{cv.queue.name}' in it "
                f"(made by {kernel.location(cv.made_at)}) was not destroyed",
            )

    @kernel_function("void cv_init(kcondvar_t *cv, const char *wmesg)")
    def cv_init(self, address: int, message: str | None) -> None:
        kernel = self.kernel
        if message is None:
            kernel.panic("null-pointer", f"cv_init by {kernel.where()} without a wait message")
        old = self.live.get(address)
        if old is not None:
            # cv_init() checks nothing: it loses the sleepers, if there are any.
            report = kernel.panic if old.queue else kernel.violation
            report(
                "condvar-init-with-sleepers" if old.queue else "condvar-already-initialised",
                f"cv_init by {kernel.where()}: the condition variable {self.live.at(address)} is "
                f"already initialised, by {self.live.made(old)}",
            )
        self.live.add("cv_init", address, CondVar(message, kernel.call_site))
        kernel.memory.put_pointer(address, 0)

    @kernel_function("void cv_destroy(kcondvar_t *cv)")
    def cv_destroy(self, address: int) -> None:
        kernel = self.kernel
        cv = self.live.find("cv_destroy", address)
        if cv.queue.lwps:
            waiters = ", ".join(lwp.name for lwp in cv.queue.lwps)
            kernel.panic(
                "condvar-destroy-waited-on",
                f"cv_destroy by {kernel.where()}: {waiters} sleep on the condition variable "
                f"'{cv.queue.name}' at {kernel.describe(address)}",
            )
        self.live.remove(address)

    def _wait(
        self, function: str, address: int, mutex_at: int, deadline: int | None, *, signal: bool
    ) -> Model:
        """Sleep; returns True when woken, False at the deadline, None on a signal."""
        kernel = self.kernel
        cv = self.live.find(function, address)
        mutexes = kernel.subject(Mutexes)
        mutex = mutexes.live.get(mutex_at)
        lwp = kernel.current
        site = kernel.call_site
        if mutex is None or mutex.owner is not lwp:
            kernel.panic(
                "condvar-without-mutex",
                f"{function} by {kernel.where()}: the mutex at {kernel.describe(mutex_at)} is "
                "not held by the caller",
            )
        if lwp.in_softint:
            kernel.panic(
                "condvar-in-softint",
                f"{function} called in soft interrupt context ({lwp.name}) by {kernel.where()}",
            )
        kernel.rules.may_sleep(function, holding=mutex_at, sleeps=True)
        kernel.rules.waits(function)
        if cv.queue.lwps and cv.mutex is not None and cv.mutex is not mutex:
            kernel.violation(
                "condvar-two-mutexes",
                f"{function} by {kernel.where()}: others sleep on '{cv.queue.name}' with another "
                f"mutex, {cv.mutex.describe()}",
            )
        cv.mutex = mutex
        mutexes.release(mutex)
        woken = yield Block(cv.queue, deadline=deadline, what=cv.queue.name, signal=signal)
        yield from mutexes.enter_slowly(mutex, lwp, site)
        return woken

    def _deadline(self, function: str, ticks: int) -> int | None:
        """Return no deadline for 0 ticks, which means forever."""
        self.kernel.rules.ticks(function, ticks)
        return self.kernel.clock.tick_deadline(ticks) if ticks > 0 else None

    @kernel_function("void cv_wait(kcondvar_t *cv, kmutex_t *mtx)")
    def cv_wait(self, address: int, mutex: int) -> Model:
        yield from self._wait("cv_wait", address, mutex, None, signal=False)

    @kernel_function("int cv_wait_sig(kcondvar_t *cv, kmutex_t *mtx)")
    def cv_wait_sig(self, address: int, mutex: int) -> Model:
        woken = yield from self._wait("cv_wait_sig", address, mutex, None, signal=True)
        return self._interrupted() if woken is None else 0

    @kernel_function("int cv_timedwait(kcondvar_t *cv, kmutex_t *mtx, int ticks)")
    def cv_timedwait(self, address: int, mutex: int, ticks: int) -> Model:
        woken = yield from self._wait(
            "cv_timedwait", address, mutex, self._deadline("cv_timedwait", ticks), signal=False
        )
        return 0 if woken else Errno.EWOULDBLOCK

    @kernel_function("int cv_timedwait_sig(kcondvar_t *cv, kmutex_t *mtx, int ticks)")
    def cv_timedwait_sig(self, address: int, mutex: int, ticks: int) -> Model:
        deadline = self._deadline("cv_timedwait_sig", ticks)
        woken = yield from self._wait("cv_timedwait_sig", address, mutex, deadline, signal=True)
        if woken is None:
            return self._interrupted()
        return 0 if woken else Errno.EWOULDBLOCK

    def _interrupted(self) -> Errno:
        """ERESTART, or EINTR for a handler without SA_RESTART: sleepq_sigtoerror()."""
        return Errno.EINTR if self._rng.below(2) else Errno.ERESTART

    @kernel_function("void cv_signal(kcondvar_t *cv)")
    def cv_signal(self, address: int) -> None:
        cv = self.live.find("cv_signal", address)
        self._check_waker("cv_signal", cv)
        self.kernel.scheduler.wake_first(cv.queue)

    @kernel_function("void cv_broadcast(kcondvar_t *cv)")
    def cv_broadcast(self, address: int) -> None:
        cv = self.live.find("cv_broadcast", address)
        self._check_waker("cv_broadcast", cv)
        self.kernel.scheduler.wake_all(cv.queue)

    def _check_waker(self, function: str, cv: CondVar) -> None:
        """Report a wake-up without the mutex: it can be lost.

        Just after mutex_exit() it is allowed: sys/kern/kern_condvar.c, above cv_signal().
        """
        kernel = self.kernel
        mutex = cv.mutex
        if (
            cv.queue.lwps
            and mutex is not None
            and mutex.owner is not kernel.current
            and mutex.last != (kernel.current, kernel.current.sleeps)
        ):
            kernel.violation(
                "condvar-wake-without-mutex",
                f"{function} of '{cv.queue.name}' by {kernel.where()} without its mutex "
                f"{mutex.describe()}: the wake-up can be lost",
            )

    @kernel_function("bool cv_has_waiters(kcondvar_t *cv)")
    def cv_has_waiters(self, address: int) -> bool:
        return bool(self.live.find("cv_has_waiters", address).queue)

    @kernel_function("int kpause(const char *wmesg, bool intr, int timo, kmutex_t *mtx)")
    def kpause(self, message: str | None, interruptible: bool, ticks: int, mutex_at: int) -> Model:
        kernel = self.kernel
        if not ticks and not interruptible:
            kernel.panic("kpause-forever", f"kpause by {kernel.where()} without timeout or signal")
        mutexes = kernel.subject(Mutexes)
        mutex = mutexes.mine("kpause", mutex_at) if mutex_at else None
        site = kernel.call_site
        lwp = kernel.current
        deadline = self._deadline("kpause", ticks)
        kernel.rules.may_sleep("kpause", holding=mutex_at, sleeps=True)
        kernel.rules.waits("kpause")
        if mutex is not None:
            mutexes.release(mutex)
        woken = yield Block(None, deadline=deadline, what=message or "", signal=interruptible)
        if mutex is not None:
            yield from mutexes.enter_slowly(mutex, lwp, site)
        return self._interrupted() if woken is None else Errno.EWOULDBLOCK
