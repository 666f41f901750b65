"""A thread: its models and guest code, where it sleeps, and the locks it holds.

A thread is a stack of models (generators) with guest code between them; guest code runs on a stack
in guest memory, models run in Python.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from vmtsim.core.timers import Timer
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.dispatch import Entry
    from vmtsim.kernel.processors import Processor

# Default sleep priorities: sys/sys/param.h, PRI_KERNEL (of a process), PRI_KTHREAD, and a higher
# value for soft interrupts.
PRI_KERNEL, PRI_KTHREAD, PRI_SOFTINT = 64, 96, 192
_PRIORITIES = {"user": PRI_KERNEL, "kthread": PRI_KTHREAD, "softint": PRI_SOFTINT}


class WaitQueue:
    """Threads asleep for one reason, in order of arrival."""

    __slots__ = ("lwps", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lwps: deque[Lwp] = deque()

    def __bool__(self) -> bool:
        return bool(self.lwps)


@dataclass(slots=True)
class Frame:
    """A model in progress: its generator and where its guest caller waits."""

    generator: Model
    entry: Entry | None
    position: tuple[int, ...]
    in_guest: bool = False
    preserved: tuple[int, ...] = ()
    callee: int = 0
    after: Any = None


class Lwp:
    """A thread of the kernel.  ``kind`` is 'kthread', 'user' or 'softint'."""

    def __init__(
        self, number: int, name: str, kind: str, main: Model, processor: Processor
    ) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.in_softint = kind == "softint"  # it runs in soft interrupt context
        self.address = 0  # struct lwp in guest memory
        self.process: Any = None
        self.frames: list[Frame] = [Frame(main, None, (0, 0))]
        self.context: object | None = None
        self.stack_top = 0
        self.send: Any = None
        self.state = "ready"
        self.queue: WaitQueue | None = None
        self.timer: Timer | None = None
        self.interruptible = False
        self.signalled = False  # a signal came while it was not in an interruptible sleep
        self.sleeps = 0
        self.what = ""
        self.held: list[Any] = []  # mutexes, in the order in which they were taken
        self.rwlocks: dict[Any, int] = {}  # reader/writer locks, and where they were taken
        self.kernel_locks = 0  # how often it has taken the kernel lock: l_blcnt
        self.kernel_lock_pending = 0
        self.spl = 0  # interrupt priority level, as splraise(9) made it
        self.priority = _PRIORITIES.get(kind, PRI_KERNEL)
        self.task: Any = None  # its current task, for the order of events: vmtsim.kernel.ordering
        self.outer: list[Any] = []  # its previous tasks
        self.nopreempt = 0  # calls of kpreempt_disable(9) that are not undone: l_nopreempt
        self.spins_on: Any = None  # the spin mutex that it waits for, with its processor
        self.processor: Processor = processor  # that it is on, or was last
        self.placed = False  # it has been on a processor, or was made for one
        self.on_processor = (
            False  # it has the processor, though another may run: ``--cpus`` 2 and more
        )
        self.pinned: Lwp | None = None  # of a soft interrupt: the thread that it interrupted
        self.interrupted = False  # a soft interrupt has its processor
        self.starting = False  # of a soft interrupt: it will start, and interrupt a thread
        self.due_on: Lwp | None = None  # of a soft interrupt: it starts on this one's processor
        self.after_call = ""  # the scheduler's action at the end of the call: "switch" or "rest"
        self.quiet = 0  # how often it has left a section without preemption
        self.asked = 0  # requests to kauth(9)
        self.pserialize = 0
        self.suspends = ""  # the directory of the file system that it holds suspended
        self.sysctl_node = ""  # whose handler it runs, with the lock of the tree held
        self.sysctl_since = 0  # when it took that lock, in virtual ns
        self.result: Any = None
        self.error: BaseException | None = None
        self.exited = WaitQueue(f"exit of {name}")
        self.work = 0
        self.began = 0  # when it last got the processor, in virtual ns
        self.instructions = 0  # after this many more, the action in ``otherprocessor`` happens

    def __repr__(self) -> str:
        return f"<lwp {self.number} {self.name} {self.state}>"
