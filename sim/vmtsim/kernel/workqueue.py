"""workqueue(9): deferred work in a thread (NetBSD sys/kern/subr_workqueue.c)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.mutex import IPL_VM
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.processors import Processor

_MPSAFE, _PERCPU = 1, 2
_SIZE = 128  # of the opaque struct workqueue
_NAME_LIMIT = 15  # MAXCOMLEN - 1


@dataclass(eq=False)
class Queue:
    """The work of one thread: with WQ_PERCPU that of a processor, otherwise the only one."""

    name: str
    order: deque[int] = field(default_factory=deque)
    batch: int = 0  # odd while one runs: the kernel's q_gen
    lwp: Lwp | None = None
    wakeup: WaitQueue = field(default_factory=WaitQueue)
    done: WaitQueue = field(default_factory=WaitQueue)


@dataclass(eq=False)
class WorkQueue:
    """One work queue.  ``pending`` maps each struct work to its enqueuer."""

    address: int
    name: str
    function: int
    argument: int
    ipl: int
    flags: int
    made_at: int
    pending: dict[int, int] = field(default_factory=dict)
    queues: list[Queue] = field(default_factory=list)
    dying: bool = False

    def of(self, processor: Processor) -> Queue:
        """Return the queue of a processor: the first is the only one without WQ_PERCPU."""
        return self.queues[processor.index] if self.flags & _PERCPU else self.queues[0]


class WorkQueues(Subject):
    """All work queues that modules have made, by the address of their struct workqueue."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_workqueue.c 1.48": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[WorkQueue] = LiveObjects(
            self,
            Words("workqueue"),
            unknown="workqueue-unknown",
            left="workqueue-left",
            fatal=True,  # its thread would run unloaded code
            name=lambda queue: repr(queue.name),
        )

    def boot(self) -> None:
        """Register for the notification of freed memory."""
        self.kernel.subject(Kmem).on_free.append(self._freed)

    def _freed(self, start: int, end: int, function: str) -> None:
        """Panic if memory with pending work is freed."""
        kernel = self.kernel
        for queue in self.live.values():
            for work, site in queue.pending.items():
                if start <= work < end:
                    kernel.panic(
                        "work-freed-pending",
                        f"{function} by {kernel.where()}: the memory holds work that "
                        f"{kernel.location(site)} enqueued on workqueue {queue.name!r} and that "
                        "has not run",
                    )

    @kernel_function(
        "int workqueue_create(struct workqueue **wqp, const char *name, "
        "void (*func)(struct work *, void *), void *arg, pri_t prio, int ipl, int flags)"
    )
    def workqueue_create(
        self,
        where: int,
        name: str | None,
        function: int,
        argument: int,
        _priority: int,
        ipl: int,
        flags: int,
    ) -> int:
        kernel = self.kernel
        kernel.rules.may_sleep("workqueue_create")
        if not function:
            kernel.panic(
                "workqueue-without-function",
                f"workqueue_create of {name!r} by {kernel.where()} with a null function",
            )
        if name is None:
            kernel.panic("null-pointer", f"workqueue_create by {kernel.where()} without a name")
        if len(name) > _NAME_LIMIT:
            kernel.panic(
                "workqueue-name",
                f"workqueue_create by {kernel.where()}: the name {name!r} has {len(name)} "
                f"characters, {_NAME_LIMIT} are allowed",
            )
        site = kernel.call_site
        address = kernel.subject(Kmem).allocate(_SIZE, owner="workqueue")
        queue = WorkQueue(address, name, function, argument, ipl, flags, site)
        objects = kernel.subject(Objects)
        for processor in kernel.processors if flags & _PERCPU else kernel.processors[:1]:
            title = f"{queue.name}/{processor.index}" if flags & _PERCPU else queue.name
            own = Queue(title[:_NAME_LIMIT])
            bound = processor if flags & _PERCPU else None
            own.lwp = kernel.spawn(own.name, "kthread", self._main(queue, own), bound)
            own.lwp.address = objects.new_lwp(own.name)
            if flags & _PERCPU:
                objects.bind(own.lwp)
            queue.queues.append(own)
        self.live.add("workqueue_create", address, queue)
        kernel.memory.put_pointer(where, address)
        return 0

    def _main(self, queue: WorkQueue, own: Queue) -> Model:
        kernel = self.kernel
        what = f"the function of workqueue {queue.name!r},"
        while True:
            batch = own.order
            own.order = deque()
            own.batch += bool(batch)
            for work in batch:
                del queue.pending[work]
                kernel.order.takes(kernel.current, (queue, work))
                # The kernel unlinks it, so its memory must be mapped.
                kernel.memory.put_pointer(work, 0)
                yield from call_back(
                    kernel,
                    what,
                    queue.function,
                    (work, queue.argument),
                    mpsafe=bool(queue.flags & _MPSAFE),
                )
            kernel.order.gives(kernel.current, queue)
            if batch:
                own.batch += 1
                kernel.scheduler.wake_all(own.done)
                continue
            if queue.dying:
                kernel.scheduler.wake_all(own.done)
                return
            yield Block(own.wakeup, what=queue.name)

    @kernel_function(
        "void workqueue_enqueue(struct workqueue *wq, struct work *wk, struct cpu_info *ci)"
    )
    def workqueue_enqueue(self, address: int, work: int, cpu: int) -> None:
        kernel = self.kernel
        queue = self.live.find("workqueue_enqueue", address)
        lwp = kernel.current
        if queue.ipl < IPL_VM[kernel.cpu.machine]:
            # The queue's own mutex is adaptive then.
            if lwp.in_softint and queue.ipl == 0:
                kernel.violation(
                    "workqueue-in-softint",
                    f"workqueue_enqueue by {kernel.where()} in soft interrupt context: workqueue "
                    f"{queue.name!r} was created for IPL_NONE, by {kernel.location(queue.made_at)}",
                )
            if lwp.pserialize or any(lock.spin for lock in lwp.held):
                kernel.rules.may_sleep("workqueue_enqueue")
        if cpu and not queue.flags & _PERCPU:
            kernel.panic(
                "workqueue-cpu",
                f"workqueue_enqueue by {kernel.where()} names a CPU, but workqueue "
                f"{queue.name!r} has no WQ_PERCPU",
            )
        site = queue.pending.get(work)
        if site is not None:
            kernel.panic(
                "work-enqueued-twice",
                f"workqueue_enqueue by {kernel.where()}: the work at {kernel.describe(work)} is "
                f"already on workqueue {queue.name!r}, by {kernel.location(site)}, and has not run",
            )
        if queue.dying:
            kernel.panic(
                "workqueue-dying",
                f"workqueue_enqueue by {kernel.where()}: workqueue {queue.name!r} is being "
                "destroyed",
            )
        kernel.memory.put_pointer(work, 0)
        queue.pending[work] = kernel.call_site
        kernel.order.gives(lwp, (queue, work))
        own = queue.of(kernel.processor_at(cpu) or kernel.here)
        own.order.append(work)
        kernel.scheduler.wake_one(own.wakeup)

    @kernel_function("void workqueue_wait(struct workqueue *wq, struct work *wk)")
    def workqueue_wait(self, address: int, work: int) -> Model:
        kernel = self.kernel
        queue = self.live.find("workqueue_wait", address)
        kernel.rules.may_sleep("workqueue_wait")
        kernel.rules.waits("workqueue_wait")
        for own in queue.queues:
            if kernel.current is own.lwp:
                continue  # in the queue's own thread the kernel does not wait
            while work in own.order:
                yield Block(own.done, what=queue.name)
            # The work may be in the running batch: the kernel waits for all of it.
            batch = own.batch
            while batch % 2 and own.batch == batch:
                yield Block(own.done, what=queue.name)
        kernel.order.takes(kernel.current, queue)

    @kernel_function("void workqueue_destroy(struct workqueue *wq)")
    def workqueue_destroy(self, address: int) -> Model:
        kernel = self.kernel
        queue = self.live.find("workqueue_destroy", address)
        kernel.rules.may_sleep("workqueue_destroy")
        kernel.rules.waits("workqueue_destroy")
        if any(kernel.current is own.lwp for own in queue.queues):
            kernel.panic(
                "workqueue-destroy-self",
                f"workqueue_destroy by {kernel.where()}: the thread of workqueue {queue.name!r} "
                "waits for itself",
            )
        left = [work for own in queue.queues for work in own.order]
        if left:  # work in a running batch is waited for
            site = kernel.location(queue.pending[left[0]])
            kernel.panic(
                "workqueue-destroy-pending",
                f"workqueue_destroy by {kernel.where()}: workqueue {queue.name!r} still has work "
                f"that {site} enqueued and that has not run: use workqueue_wait first",
            )
        queue.dying = True
        for own in queue.queues:
            lwp = own.lwp
            assert lwp is not None
            kernel.scheduler.wake_one(own.wakeup)
            while lwp.state != "gone":
                yield Block(lwp.exited, what="wqfini")
            kernel.subject(Objects).free_lwp(lwp.address)
        kernel.order.takes(kernel.current, queue)
        self.live.remove(address)
        kernel.subject(Kmem).release(address, None, "workqueue_destroy")
