"""kthread(9) (NetBSD sys/kern/kern_kthread.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block, Call, Preempt, Subject, kernel_function
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.printf import kprintf
from vmtsim.kernel.rwlock import RwLocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.marshal import Arguments

_MPSAFE, _INTR, _TS, _MUSTJOIN = 2, 4, 8, 16
_NAME_LIMIT = 15  # MAXCOMLEN - 1


@dataclass
class KThread:
    """A thread that a module made."""

    lwp: Lwp
    address: int
    made_at: int
    must_join: bool
    mpsafe: bool
    exited: bool = False
    joined: bool = False
    joiners: WaitQueue = field(default_factory=WaitQueue)


class KThreads(Subject):
    """Kernel threads, by the address of their struct lwp."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_kthread.c 1.49": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: dict[int, KThread] = {}
        self._rng = kernel.rng.fork("kthread")

    @kernel_function(
        "int kthread_create(pri_t pri, int flag, struct cpu_info *ci, void (*func)(void *), "
        "void *arg, lwp_t **lp, const char *fmt, ...)"
    )
    def kthread_create(
        self,
        priority: int,
        flags: int,
        cpu: int,
        function: int,
        argument: int,
        lwp_at: int,
        text: str | None,
        arguments: Arguments,
    ) -> Model:
        """The thread may run, and end, before its address is stored: setrunnable comes first."""
        kernel = self.kernel
        kernel.rules.may_sleep("kthread_create")
        name = kprintf(kernel.memory, text or "", arguments)[:_NAME_LIMIT]
        if flags & _MUSTJOIN and not lwp_at:
            kernel.panic(
                "kthread-join",
                f"kthread_create by {kernel.where()}: KTHREAD_MUSTJOIN with a null lwp pointer",
            )
        objects = kernel.subject(Objects)
        address = objects.new_lwp(name)
        where = kernel.processor_at(cpu) if cpu else None
        lwp = kernel.spawn(name, "kthread", self._main(function, argument, flags), where)
        lwp.address = address
        if cpu:
            objects.bind(lwp)
        if priority >= 0:
            lwp.priority = priority
        self.live[address] = KThread(
            lwp, address, kernel.call_site, bool(flags & _MUSTJOIN), bool(flags & _MPSAFE)
        )
        if self._rng.below(2):
            yield Preempt()
        if lwp_at:
            kernel.memory.put_pointer(lwp_at, address)
        return 0

    def _main(self, function: int, argument: int, flags: int) -> Model:
        if not flags & _MPSAFE:
            waiting = self.kernel.subject(KernelLock).lock(1)
            if waiting is not None:
                yield from waiting
        yield Call(function, (argument,))
        kernel = self.kernel
        kernel.panic(
            "kthread-return",
            f"thread {kernel.current.name} returned from {kernel.location(function)}: it must "
            "end with kthread_exit",
            kernel.location(function),
        )

    @kernel_function("void kthread_exit(int ecode)")
    def kthread_exit(self, code: int) -> Model:
        kernel = self.kernel
        lwp = kernel.current
        if lwp.held:
            lock = lwp.held[0]
            kernel.panic(
                "exit-with-mutex",
                f"kthread_exit by {kernel.where()}: thread {lwp.name} still holds the mutex "
                f"{lock.describe()} (taken by {kernel.location(lock.taken_at)})",
            )
        thread = self.live.get(lwp.address)
        allowed = 0 if thread is None or thread.mpsafe else 1
        if lwp.kernel_locks != allowed:
            kernel.panic(
                "exit-with-kernel-lock",
                f"kthread_exit by {kernel.where()}: thread {lwp.name} holds the kernel lock "
                f"{lwp.kernel_locks} times instead of {allowed}",
            )
        lock_held = kernel.subject(RwLocks).held_by(lwp)
        if lock_held:
            kernel.panic(
                "exit-with-rwlock",
                f"kthread_exit by {kernel.where()}: thread {lwp.name} still holds {lock_held}",
            )
        if code:
            from vmtsim.kernel.console import Console  # noqa: PLC0415 - only in this odd case

            kernel.subject(Console).print(
                f"WARNING: kthread `{lwp.name}' ({lwp.number}) exits with status {code}\n"
            )
        if thread is not None:
            thread.exited = True
            kernel.order.gives(lwp, thread.lwp)
            kernel.scheduler.wake_all(thread.joiners)
            if not thread.must_join:
                self._forget(thread)
        # Drop everything below: the thread never returns.  This is a generator because its own
        # frame must exist to become the last one.
        del lwp.frames[:-1]
        lwp.frames[0].entry = None
        yield from ()

    def _forget(self, thread: KThread) -> None:
        del self.live[thread.address]
        self.kernel.subject(Objects).free_lwp(thread.address)

    @kernel_function("int kthread_join(lwp_t *l)")
    def kthread_join(self, address: int) -> Model:
        kernel = self.kernel
        thread = self.live.get(address)
        if thread is None or not thread.must_join or thread.joined:
            if thread is None:
                why = f"{kernel.describe(address)} is not a thread of kthread_create, or has ended"
            elif thread.joined:
                why = f"thread {thread.lwp.name} is being joined already"
            else:
                why = f"thread {thread.lwp.name} was made without KTHREAD_MUSTJOIN"
            kernel.panic("kthread-join", f"kthread_join by {kernel.where()}: {why}")
        if thread.lwp is kernel.current:
            kernel.panic(
                "kthread-join-self",
                f"kthread_join by {kernel.where()}: thread {thread.lwp.name} waits for itself",
            )
        kernel.rules.may_sleep("kthread_join")
        kernel.rules.waits("kthread_join")
        thread.joined = True
        while not thread.exited:
            yield Block(thread.joiners, what="kthrwait")
        kernel.order.takes(kernel.current, thread.lwp)
        self._forget(thread)
        return 0

    def check_unload(self, module: str) -> None:
        """Panic for a thread that still exists: its code does not."""
        for thread in self.live.values():
            if self.kernel.loaded_at(abs(thread.made_at)) is not None:
                continue
            state = "was not joined" if thread.exited else "still runs"
            place = self.kernel.location(thread.made_at)
            self.kernel.panic(
                "kthread-left",
                f"module {module} is unloaded, but its thread {thread.lwp.name} {state} "
                f"(created by {place})",
                place,
            )
