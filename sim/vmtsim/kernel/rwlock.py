"""rwlock(9) with the checks of LOCKDEBUG (NetBSD sys/kern/kern_rwlock.c, sys/sys/rwlock.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lockorder import LockOrder
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.ordering import NoOrder

READER, WRITER = 0, 1


@dataclass(eq=False)
class Waiter:
    """A thread that waits for the lock; the releasing thread passes it on."""

    lwp: Lwp
    op: int
    site: int
    granted: bool = False
    queue: WaitQueue = field(default_factory=lambda: WaitQueue("rwlock"))


@dataclass(eq=False)
class RwLock:
    """One lock.  ``readers`` holds the call sites of each reader's rw_enter, latest last."""

    address: int
    made_at: int
    writer: Lwp | None = None
    written_at: int = 0
    readers: dict[Lwp, list[int]] = field(default_factory=dict)
    waiting: list[Waiter] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether any thread holds it."""
        return self.writer is not None or bool(self.readers)

    def free_for(self, op: int) -> bool:
        """Whether a new thread gets it: a reader waits if a writer waits."""
        if op == WRITER:
            return not self.held
        return self.writer is None and all(each.op == READER for each in self.waiting)

    def take(self, lwp: Lwp, op: int, site: int, order: NoOrder) -> None:
        """Assign it to a thread."""
        order.takes(lwp, (self, WRITER))
        if op == WRITER:
            order.takes(lwp, (self, READER))
            self.writer, self.written_at = lwp, site
        else:
            self.readers.setdefault(lwp, []).append(site)
        lwp.rwlocks[self] = site


class RwLocks(Subject):
    """All reader/writer locks that modules have made."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_rwlock.c 1.76": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[RwLock] = LiveObjects(
            self,
            Words("rwlock", "initialised"),
            unknown="rwlock-uninitialised",
            twice="rwlock-already-initialised",
            freed="free-with-rwlock",
            left="rwlock-not-destroyed",
        )

    def _held(self, lock: RwLock) -> str:
        location = self.kernel.location
        if lock.writer is not None:
            return f"held for writing by {lock.writer.name}, taken by {location(lock.written_at)}"
        readers = ", ".join(
            f"{lwp.name}, taken by {location(sites[-1])}" for lwp, sites in lock.readers.items()
        )
        return f"held for reading by {readers}" if readers else "not held"

    def held_by(self, lwp: Lwp) -> str:
        """Return in words the first lock that a thread holds; "" for none."""
        for lock in self.live.values():
            if lock.writer is lwp or lwp in lock.readers:
                return f"the rwlock {self.live.at(lock.address)}, {self._held(lock)}"
        return ""

    def _mine(self, function: str, address: int) -> RwLock:
        """Return a lock that the calling thread holds; panic if it does not."""
        lock, kernel = self.live.find(function, address), self.kernel
        lwp = kernel.current
        if lock.writer is not lwp and lwp not in lock.readers:
            kernel.panic(
                "rwlock-not-held",
                f"{function} by {kernel.where()} in thread {lwp.name}: the rwlock "
                f"{self.live.at(lock.address)} is {self._held(lock)}",
            )
        return lock

    @kernel_function("void rw_init(krwlock_t *rw)")
    def rw_init(self, address: int) -> None:
        self.live.add("rw_init", address, RwLock(address, self.kernel.call_site))
        self.kernel.memory.put_pointer(address, 0)

    @kernel_function("void rw_destroy(krwlock_t *rw)")
    def rw_destroy(self, address: int) -> None:
        lock, kernel = self.live.find("rw_destroy", address), self.kernel
        if lock.held:
            kernel.panic(
                "rwlock-destroy-held",
                f"rw_destroy by {kernel.where()}: the rwlock {self.live.at(lock.address)} is "
                f"{self._held(lock)}",
            )
        self.live.remove(address)

    @kernel_function("void rw_enter(krwlock_t *rw, const krw_t op)")
    def rw_enter(self, address: int, op: int) -> Model | None:
        """Sleeps if necessary; a soft interrupt may do that here, as with a mutex."""
        lock, kernel = self.live.find("rw_enter", address), self.kernel
        lwp = kernel.current
        if not lwp.in_softint:
            kernel.rules.may_sleep("rw_enter")
        if lock.writer is lwp or (lwp in lock.readers and not lock.free_for(op)):
            kernel.panic(
                "rwlock-double-enter",
                f"rw_enter by {kernel.where()}: locking against myself, the rwlock "
                f"{self.live.at(lock.address)} is {self._held(lock)}",
            )
        if lwp in lock.readers:
            kernel.violation(
                "rwlock-recursive-read",
                f"rw_enter by {kernel.where()}: thread {lwp.name} reads the rwlock "
                f"{self.live.at(lock.address)} again, and waits forever as soon as a writer "
                "comes in between",
            )
        if lwp.held or lwp.rwlocks:
            kernel.subject(LockOrder).waits(lwp, lock, kernel.call_site)
        if lock.free_for(op):
            lock.take(lwp, op, kernel.call_site, kernel.order)
            return None
        return self._wait(lock, Waiter(lwp, op, kernel.call_site))

    def _wait(self, lock: RwLock, waiter: Waiter) -> Model:
        """Readers get the lock directly; writers are woken and try again, like new threads."""
        lock.waiting.append(waiter)
        while not waiter.granted:
            yield Block(waiter.queue, what="rwlock")
            if waiter.op == WRITER and not lock.held:
                self._grant(lock, [waiter])

    def _wake(self, writers: list[Waiter]) -> None:
        """Leave the lock free, and wake all waiting writers to compete for it."""
        for waiter in writers:
            self.kernel.scheduler.wake_all(waiter.queue)

    def _grant(self, lock: RwLock, waiters: list[Waiter]) -> None:
        """Pass the lock on."""
        for waiter in waiters:
            lock.waiting.remove(waiter)
            lock.take(waiter.lwp, waiter.op, waiter.site, self.kernel.order)
            waiter.granted = True
            self.kernel.scheduler.wake_all(waiter.queue)

    @kernel_function("int rw_tryenter(krwlock_t *rw, const krw_t op)")
    def rw_tryenter(self, address: int, op: int) -> bool:
        lock, kernel = self.live.find("rw_tryenter", address), self.kernel
        free = lock.free_for(op)
        if free:
            lock.take(kernel.current, op, kernel.call_site, kernel.order)
        return free

    @kernel_function("void rw_exit(krwlock_t *rw)")
    def rw_exit(self, address: int) -> None:
        """A writer passes it to all waiting readers; otherwise the writers compete for it."""
        lock = self._mine("rw_exit", address)
        lwp = self.kernel.current
        readers = [each for each in lock.waiting if each.op == READER]
        writers = [each for each in lock.waiting if each.op == WRITER]
        order = self.kernel.order
        order.gives(lwp, (lock, WRITER if lock.writer is lwp else READER))
        if lock.writer is lwp:
            lock.writer = None
            del lwp.rwlocks[lock]
            if readers:
                self._grant(lock, readers)
            else:
                self._wake(writers)
            return
        lock.readers[lwp].pop()
        if not lock.readers[lwp]:
            del lock.readers[lwp]
            del lwp.rwlocks[lock]
        if not lock.readers:
            if writers:
                self._wake(writers)
            else:
                self._grant(lock, readers)

    @kernel_function("int rw_tryupgrade(krwlock_t *rw)")
    def rw_tryupgrade(self, address: int) -> bool:
        lock, kernel = self._mine("rw_tryupgrade", address), self.kernel
        lwp = kernel.current
        if lock.writer is lwp:
            self._wrong_hold("rw_tryupgrade", lock, "reading")
        if sum(map(len, lock.readers.values())) > 1:
            return False
        lock.readers.clear()
        lock.take(lwp, WRITER, kernel.call_site, kernel.order)
        return True

    @kernel_function("void rw_downgrade(krwlock_t *rw)")
    def rw_downgrade(self, address: int) -> None:
        lock, kernel = self._mine("rw_downgrade", address), self.kernel
        if lock.writer is not kernel.current:
            self._wrong_hold("rw_downgrade", lock, "writing")
        lock.writer = None
        kernel.order.gives(kernel.current, (lock, WRITER))
        lock.take(kernel.current, READER, kernel.call_site, kernel.order)
        self._grant(lock, [each for each in lock.waiting if each.op == READER])

    def _wrong_hold(self, function: str, lock: RwLock, expected: str) -> NoReturn:
        kernel = self.kernel
        kernel.panic(
            "rwlock-not-held",
            f"{function} by {kernel.where()} of the rwlock {self.live.at(lock.address)}: it is "
            f"{self._held(lock)}, not for {expected}",
        )

    @kernel_function("int rw_read_held(krwlock_t *rw)")
    def rw_read_held(self, address: int) -> bool:
        """Whether any thread reads: the kernel does not record which."""
        return bool(address) and bool(self.live.find("rw_read_held", address).readers)

    @kernel_function("int rw_write_held(krwlock_t *rw)")
    def rw_write_held(self, address: int) -> bool:
        if not address:
            return False
        return self.live.find("rw_write_held", address).writer is self.kernel.current

    @kernel_function("int rw_lock_held(krwlock_t *rw)")
    def rw_lock_held(self, address: int) -> bool:
        return bool(address) and self.live.find("rw_lock_held", address).held

    @kernel_function("krw_t rw_lock_op(krwlock_t *rw)")
    def rw_lock_op(self, address: int) -> int:
        return WRITER if self._mine("rw_lock_op", address).writer is not None else READER
