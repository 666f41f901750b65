"""sysmon's task queue: functions that need a thread (NetBSD sys/dev/sysmon/sysmon_taskq.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_TASK_SIZE = 48


@dataclass(eq=False)
class Task:
    """A task to run; without a function it only marks a position in the queue."""

    priority: int
    function: int
    argument: int
    made_at: int
    native: Callable[[], Model] | None = None  # of the kernel itself


class TaskQueue(Subject):
    """The queue that GENERIC's sysmon starts at boot, with its thread "sysmon"."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/dev/sysmon/sysmon_taskq.c 1.23": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.users = 1  # the kernel itself
        self.tasks: list[Task] = []
        self.running: Task | None = None
        self._wakeup = WaitQueue("smtaskq")
        self._done = WaitQueue("smtaskq")
        self.lwp: Lwp | None = None

    def _thread(self) -> Lwp:
        """Return the thread; it is created at its first use, so that idle runs have none."""
        if self.lwp is None:
            self.lwp = self.kernel.spawn("sysmon", "kthread", self._main())
            self.lwp.address = self.kernel.subject(Objects).new_lwp(self.lwp.name)
        return self.lwp

    def _main(self) -> Model:
        kernel = self.kernel
        while True:
            while self.tasks:
                task = self.running = self.tasks.pop(0)
                kernel.order.takes(kernel.current, task)
                if task.function:
                    yield from call_back(
                        kernel, "sysmon task", task.function, (task.argument,), mpsafe=True
                    )
                if task.native is not None:
                    yield from task.native()
                self.running = None
                kernel.order.gives(kernel.current, self)
                kernel.scheduler.wake_all(self._done)
            yield Block(self._wakeup, what="smtaskq")

    def _insert(self, task: Task) -> None:
        """Higher priorities come first; equal ones stay in order."""
        self.kernel.order.gives(self.kernel.current, task)
        at = next(
            (i for i, other in enumerate(self.tasks) if task.priority > other.priority),
            len(self.tasks),
        )
        self.tasks.insert(at, task)
        self._thread()
        self.kernel.scheduler.wake_one(self._wakeup)

    def schedule(self, priority: int, native: Callable[[], Model]) -> None:
        """Let the thread run something for another part of the kernel."""
        self._insert(Task(priority, 0, 0, 0, native))

    @kernel_function("void sysmon_task_queue_init(void)")
    def sysmon_task_queue_init(self) -> None:
        self.kernel.rules.may_sleep("sysmon_task_queue_init", softint=True)
        self.users += 1

    @kernel_function("int sysmon_task_queue_fini(void)")
    def sysmon_task_queue_fini(self) -> int:
        """EBUSY as soon as any module has called init: the kernel never decrements the count."""
        kernel = self.kernel
        kernel.rules.may_sleep("sysmon_task_queue_fini")
        if self.users > 1:
            return Errno.EBUSY
        kernel.violation(
            "taskq-of-the-kernel",
            f"sysmon_task_queue_fini by {kernel.where()} would stop the kernel's own task queue",
        )
        return 0

    @kernel_function("int sysmon_task_queue_sched(u_int pri, void (*func)(void *), void *arg)")
    def sysmon_task_queue_sched(self, priority: int, function: int, argument: int) -> int:
        kernel = self.kernel
        if not function:
            return Errno.EINVAL
        if kernel.subject(Kmem).refuse(_TASK_SIZE):
            return Errno.ENOMEM
        self._insert(Task(priority, function, argument, kernel.call_site))
        return 0

    @kernel_function("void sysmon_task_queue_barrier(u_int pri)")
    def sysmon_task_queue_barrier(self, priority: int) -> Model:
        """Wait until everything with this priority or a higher one has run."""
        kernel = self.kernel
        kernel.rules.may_sleep("sysmon_task_queue_barrier")
        if kernel.current is self.lwp:
            kernel.panic(
                "taskq-barrier-self",
                f"sysmon_task_queue_barrier by {kernel.where()}: a task waits for the queue that "
                "it runs in",
            )
        mark = Task(priority, 0, 0, kernel.call_site)
        self._insert(mark)
        while mark in self.tasks or self.running is mark:
            yield Block(self._done, what="smtaskq")
        kernel.order.takes(kernel.current, self)

    def check_unload(self, module: str) -> None:
        """Panic for a leftover task: it would run unloaded code."""
        kernel = self.kernel
        for task in ([self.running] if self.running else []) + self.tasks:
            if task.function and kernel.loaded_at(task.function) is None:
                state = "runs" if task is self.running else "has not run"
                place = kernel.location(task.made_at)
                kernel.panic(
                    "taskq-left",
                    f"module {module} is unloaded, but its sysmon task "
                    f"{kernel.location(task.function)}, scheduled by {place}, {state}: use "
                    "sysmon_task_queue_barrier",
                    place,
                )
