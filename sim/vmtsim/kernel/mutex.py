"""mutex(9) with the checks of LOCKDEBUG (NetBSD sys/kern/kern_mutex.c, subr_lockdebug.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Preempt, Subject, kernel_function
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lockorder import LockOrder
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

# IPL_NONE and the soft interrupt levels make an adaptive mutex, IPL_VM and above a spin mutex.
IPL_VM = {"amd64": 6, "i386": 6, "aarch64": 5}
_ALIVE = 0x6D757478  # content of an initialised kmutex_t, which detects copies and overwriting


class Mutex:
    """One mutex.  ``taken_at`` is the call site of the holder's mutex_enter."""

    __slots__ = (
        "address",
        "ipl",
        "kernel",
        "last",
        "made_at",
        "owner",
        "queue",
        "spin",
        "taken_at",
        "taken_on",
    )

    def __init__(self, kernel: Kernel, address: int, ipl: int, *, spin: bool) -> None:
        self.kernel = kernel
        self.address = address
        self.ipl = ipl
        self.spin = spin
        self.made_at = kernel.call_site
        self.owner: Lwp | None = None
        self.last: tuple[Lwp | None, int] = (None, 0)  # the last owner, and how often it had slept
        self.taken_at = 0
        self.taken_on = 0  # virtual ns
        self.queue = WaitQueue("mutex")

    def describe(self) -> str:
        """Return the position of the mutex, in words."""
        return f"at {self.kernel.describe(self.address)}"


class Mutexes(Subject):
    """All mutexes that modules have made."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_mutex.c 1.112": "*",
        "sys/arch/amd64/amd64/lock_stubs.S 1.38": "mutex_spin_enter mutex_spin_exit",
    }
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[Mutex] = LiveObjects(
            self,
            Words("mutex", "initialised"),
            unknown="mutex-uninitialised",
            twice="mutex-already-initialised",
            freed="free-with-mutex",
            left="mutex-not-destroyed",
        )

    def _held(self, mutex: Mutex) -> str:
        owner = mutex.owner
        who = owner.name if owner is not None else "no thread"
        return f"held by {who}, taken by {self.kernel.location(mutex.taken_at)}"

    def acquire(self, mutex: Mutex, lwp: Lwp, site: int) -> None:
        """Make ``lwp`` the owner of a free mutex."""
        mutex.owner = lwp
        mutex.taken_at = site
        mutex.taken_on = self.kernel.clock.now
        lwp.held.append(mutex)
        self._ordered(mutex, lwp)

    def _ordered(self, mutex: Mutex, lwp: Lwp) -> None:
        """Order it after the previous owners; a spin mutex also keeps its level off the CPU."""
        order = self.kernel.order
        order.takes(lwp, mutex)
        if mutex.spin:
            order.excludes(lwp, mutex.ipl)

    def release(self, mutex: Mutex) -> None:
        """Make the mutex free, and wake its waiters."""
        owner = mutex.owner
        if owner is not None:
            kernel = self.kernel
            owner.held.remove(mutex)
            if kernel.order.on:
                kernel.order.gives(owner, mutex)
            mutex.last = (owner, owner.sleeps)
            if mutex.spin:
                kernel.order.lowers(owner, mutex.ipl)
                kernel.rules.heartbeat(mutex)
        mutex.owner = None
        if mutex.queue.lwps:
            self.kernel.scheduler.wake_all(mutex.queue)

    def own(self, address: int, ipl: int = 0) -> Mutex:
        """Initialise an adaptive mutex of the kernel itself, which no module has to destroy."""
        self.mutex_init(address, 0, ipl)
        mutex = self.live[address]
        mutex.made_at = 0
        return mutex

    def mine(self, function: str, address: int) -> Mutex:
        """Return a mutex that the calling thread holds; panic if it does not."""
        mutex = self.live.find(function, address)
        kernel = self.kernel
        if mutex.owner is not kernel.current:
            state = self._held(mutex) if mutex.owner is not None else "not held"
            kernel.panic(
                "mutex-exit-by-non-owner",
                f"{function} by {kernel.where()} in thread {kernel.current.name}: the mutex "
                f"{mutex.describe()} is {state}",
            )
        return mutex

    @kernel_function("void mutex_init(kmutex_t *mtx, kmutex_type_t type, int ipl)")
    def mutex_init(self, address: int, _type: int, ipl: int) -> None:
        kernel = self.kernel
        spin = ipl >= IPL_VM[kernel.cpu.machine]
        self.live.add("mutex_init", address, Mutex(kernel, address, ipl, spin=spin))
        kernel.memory.put_pointer(address, _ALIVE)

    @kernel_function("void mutex_destroy(kmutex_t *mtx)")
    def mutex_destroy(self, address: int) -> None:
        kernel = self.kernel
        mutex = self.live.find("mutex_destroy", address)
        if mutex.owner is not None:
            kernel.panic(
                "mutex-destroy-held",
                f"mutex_destroy by {kernel.where()}: the mutex {mutex.describe()} is "
                f"{self._held(mutex)}",
            )
        if mutex.queue.lwps:
            waiters = ", ".join(lwp.name for lwp in mutex.queue.lwps)
            kernel.panic(
                "mutex-destroy-waited-on",
                f"mutex_destroy by {kernel.where()}: {waiters} wait for the mutex "
                f"{mutex.describe()}",
            )
        kernel.memory.put_pointer(address, 0)
        self.live.remove(address)

    @kernel_function("void mutex_spin_enter(kmutex_t *mtx)")
    def mutex_spin_enter(self, address: int) -> Model | None:
        """On x86 it writes to the owner of an adaptive mutex: amd64/lock_stubs.S."""
        mutex = self.live.get(address)
        if mutex is not None and not mutex.spin:
            kernel = self.kernel
            kernel.panic(
                "mutex-spin-on-adaptive",
                f"mutex_spin_enter by {kernel.where()}: the mutex {mutex.describe()} is an "
                f"adaptive one, initialised by {kernel.location(mutex.made_at)} for IPL "
                f"{mutex.ipl}",
            )
        return self.mutex_enter(address)

    @kernel_function("void mutex_enter(kmutex_t *mtx)")
    def mutex_enter(self, address: int) -> Model | None:
        mutex = self.live.get(address)
        if mutex is None:
            self.live.missing("mutex_enter", address)
        kernel = self.kernel
        lwp = kernel.scheduler.current
        assert lwp is not None
        if mutex.owner is lwp:
            kernel.panic(
                "mutex-spin-double-enter" if mutex.spin else "mutex-double-enter",
                f"mutex_enter by {kernel.where()}: locking against myself, the mutex "
                f"{mutex.describe()} is {self._held(mutex)}",
            )
        if not mutex.spin and (lwp.pserialize or lwp.in_softint or lwp.held):
            self._check_adaptive(mutex, lwp)
        if lwp.held or lwp.rwlocks:
            kernel.subject(LockOrder).waits(lwp, mutex, kernel.call_site)
        if mutex.owner is None:
            mutex.owner = lwp
            mutex.taken_at = kernel.call_site
            mutex.taken_on = kernel.clock.now
            lwp.held.append(mutex)
            if kernel.order.on:
                self._ordered(mutex, lwp)
            return None
        return self.enter_slowly(mutex, lwp, kernel.call_site)

    def _check_adaptive(self, mutex: Mutex, lwp: Lwp) -> None:
        kernel = self.kernel
        if lwp.in_softint and mutex.ipl == 0:
            kernel.violation(
                "mutex-in-softint",
                f"mutex_enter by {kernel.where()} in soft interrupt context: the mutex "
                f"{mutex.describe()} was initialised for IPL_NONE by "
                f"{kernel.location(mutex.made_at)}",
            )
        for lock in lwp.held:
            if lock.spin:
                kernel.panic(
                    "sleep-with-spin-mutex",
                    f"mutex_enter of an adaptive mutex by {kernel.where()} with spin mutex "
                    f"{lock.describe()} held (taken by {kernel.location(lock.taken_at)})",
                )
        if lwp.pserialize:
            kernel.rules.may_sleep("mutex_enter")

    def enter_slowly(self, mutex: Mutex, lwp: Lwp, site: int) -> Model:
        """Wait until the mutex is free, then take it."""
        if lwp.held or lwp.rwlocks:
            self.kernel.subject(LockOrder).waits(lwp, mutex, site)
        while mutex.owner is not None:
            if mutex.spin and lwp.on_processor:
                lwp.spins_on = mutex  # it keeps its processor, and soft interrupts from it
                yield Preempt()
                lwp.spins_on = None
            else:
                yield Block(mutex.queue, what="mutex")
        self.acquire(mutex, lwp, site)

    @kernel_function("void mutex_exit(kmutex_t *mtx)")
    @kernel_function("void mutex_spin_exit(kmutex_t *mtx)")
    def mutex_exit(self, address: int) -> None:
        mutex = self.live.get(address)
        if mutex is None or mutex.owner is not self.kernel.scheduler.current:
            mutex = self.mine("mutex_exit", address)
        self.release(mutex)

    @kernel_function("int mutex_tryenter(kmutex_t *mtx)")
    def mutex_tryenter(self, address: int) -> int:
        mutex = self.live.find("mutex_tryenter", address)
        kernel = self.kernel
        if mutex.owner is not None:
            return 0
        self.acquire(mutex, kernel.current, kernel.call_site)
        return 1

    @kernel_function("int mutex_owned(const kmutex_t *mtx)")
    def mutex_owned(self, address: int) -> bool:
        """A spin mutex counts as owned if any thread has it; NULL never does (kern_mutex.c)."""
        if not address:
            return False
        kernel = self.kernel
        mutex = self.live.find("mutex_owned", address)
        if mutex.owner is None or not mutex.spin:
            return mutex.owner is kernel.current
        if mutex.owner is not kernel.current:
            kernel.violation(
                "mutex-owned-by-another",
                f"mutex_owned by {kernel.where()}: the spin mutex {mutex.describe()} is "
                f"{self._held(mutex)}, but the result is true",
            )
        return True
