"""The happens-before order: edges between threads, as vector clocks.

A task is code that runs in one order: a thread, or the handler of one soft interrupt or callout on
one processor.  Two handlers that the same soft interrupt thread ran in turn are two tasks: at
another time they may run on two processors.  Each task counts; a clock contains, for each
task, the last count that another has seen (Flanagan and Freund, "FastTrack", PLDI 2009).

An edge goes from the task that releases an object to the one that acquires it: a lock, a queue, an
object. Models call ``gives`` and ``takes`` with that object; without ``--races`` both do nothing
(``NoOrder``).
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.processors import Processor

Clock = dict[int, int]
_LEVELS = 10  # of interrupt priority, on any machine


class NoOrder:
    """Keeps no order: used if races are not detected."""

    on = False

    def gives(self, lwp: Lwp, what: Hashable) -> None:
        """Record that a thread releases an object, or puts it where another finds it."""

    def takes(self, lwp: Lwp, what: Hashable) -> None:
        """Record that a thread acquires an object that others released."""

    def begins(self, lwp: Lwp, what: Hashable) -> None:
        """Start the task ``what`` on a thread, after all that was released to it."""

    def ends(self, lwp: Lwp, what: Hashable) -> None:
        """End that task; it releases ``what``."""

    def starts(self, lwp: Lwp, parent: Lwp | None) -> None:
        """Record a new thread, ordered after all actions of its parent so far."""

    def gone(self, lwp: Lwp) -> None:
        """Record that a thread has ended."""

    def wakes(self, lwp: Lwp, by: Lwp | None) -> None:
        """Record that a thread ended another's sleep."""

    def excludes(self, lwp: Lwp, level: int) -> None:
        """Record that a thread keeps others from its processor: those up to a level, or 0."""

    def lowers(self, lwp: Lwp, level: int) -> None:
        """Record the end of that."""

    def crosses(self, lwp: Lwp, processors: Iterable[Processor]) -> None:
        """Record that code ran on each processor in turn, as with xc_barrier(9)."""

    def releases(self, lwp: Lwp) -> None:
        """Record a memory barrier: membar_release(9), membar_producer, membar_exit."""

    def acquires(self, lwp: Lwp) -> None:
        """Record a memory barrier: membar_acquire(9), membar_consumer, membar_enter."""


class Task:
    """One order of events.  ``clock`` has the last count seen of each task, including itself."""

    __slots__ = ("clock", "fence", "level", "name", "now", "number", "pending")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.now = 1
        self.clock: Clock = {number: 1}
        self.fence: Clock | None = None  # at the last releasing barrier
        self.pending: Clock = {}  # clocks that atomic loads saw, until an acquiring barrier
        self.level = 0

    def step(self) -> None:
        """Count: tasks that acquired before do not see later actions."""
        self.now += 1
        self.clock[self.number] = self.now


def join(clock: Clock, other: Clock) -> None:
    """Merge another clock into a clock."""
    get = clock.get
    for number, now in other.items():
        if get(number, 0) < now:
            clock[number] = now


class Ordering(NoOrder):
    """Keeps the clocks of a run."""

    on = True

    def __init__(self) -> None:
        self._tasks: dict[Hashable, Task] = {}
        self._given: dict[Hashable, Clock] = {}
        self._atomics: dict[int, Clock] = {}  # by address: the clock of a fence
        self._count = 0

    def task(self, lwp: Lwp) -> Task:
        """Return the current task of a thread."""
        task: Task | None = lwp.task
        if task is None:
            task = lwp.task = self._new(lwp.name)
        return task

    def _new(self, name: str) -> Task:
        self._count += 1
        return Task(self._count, name)

    def gives(self, lwp: Lwp, what: Hashable) -> None:
        """Let the next task that acquires ``what`` see all that the thread has done."""
        task = self.task(lwp)
        given = self._given.get(what)
        if given is None:
            self._given[what] = dict(task.clock)
        else:
            join(given, task.clock)
        task.step()

    def takes(self, lwp: Lwp, what: Hashable) -> None:
        """Order the thread after the releases."""
        given = self._given.get(what)
        if given is not None:
            join(self.task(lwp).clock, given)

    def begins(self, lwp: Lwp, what: Hashable) -> None:
        """Run ``what`` as a separate task: a tuple whose first word is its name."""
        key = (what, lwp.processor)
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = self._new(lwp.name)
        lwp.outer.append(lwp.task)
        lwp.task = task
        task.step()
        self.takes(lwp, what)
        self.takes(lwp, (lwp.processor, lwp.spl))

    def ends(self, lwp: Lwp, what: Hashable) -> None:
        """Release the task's actions to its waiters, and to later code at its level here."""
        self.gives(lwp, (lwp.processor, lwp.spl))
        self.gives(lwp, what)
        lwp.task = lwp.outer.pop()

    def starts(self, lwp: Lwp, parent: Lwp | None) -> None:
        """Order it after its parent, or, for the scenario, after processes that have ended."""
        task = self.task(lwp)
        if parent is None:
            self.takes(lwp, "processes")
            return
        known = self.task(parent)
        join(task.clock, known.clock)
        known.step()

    def gone(self, lwp: Lwp) -> None:
        """Order tasks that wait for its end after it."""
        self.gives(lwp, ("end", lwp))
        if lwp.kind == "user":
            self.gives(lwp, "processes")

    def wakes(self, lwp: Lwp, by: Lwp | None) -> None:
        """Order it after the holder of the lock of the sleep queue: sys/kern/kern_sleepq.c."""
        if by is not None and by is not lwp:
            task = self.task(by)
            join(self.task(lwp).clock, task.clock)
            task.step()

    def excludes(self, lwp: Lwp, level: int) -> None:
        """Order it after the code at those levels on this processor; 0 is other threads."""
        for each in range(level + 1):
            self.takes(lwp, (lwp.processor, each))

    def lowers(self, lwp: Lwp, level: int) -> None:
        """Order later code on this processor after it."""
        for each in range(level + 1):
            self.gives(lwp, (lwp.processor, each))

    def crosses(self, lwp: Lwp, processors: Iterable[Processor]) -> None:
        """Order it after sections that have ended, and before those that start now."""
        for processor in processors:
            for level in range(_LEVELS):
                self.takes(lwp, (processor, level))
                self.gives(lwp, (processor, level))

    # -- atomic operations ---------------------------------------------------------------------

    def releases(self, lwp: Lwp) -> None:
        """Order all actions before this before a task that acquires a later atomic store."""
        task = self.task(lwp)
        task.fence = dict(task.clock)
        task.step()

    def acquires(self, lwp: Lwp) -> None:
        """Order the task after the releases whose values it loaded."""
        task = self.task(lwp)
        join(task.clock, task.pending)
        task.pending = {}

    def stored(self, task: Task, address: int, *, both: bool) -> None:
        """Record an atomic store; ``both``: it depends on the value that it has read."""
        if not both:
            self._atomics.pop(address, None)
        if task.fence is not None:
            join(self._atomics.setdefault(address, {}), task.fence)

    def loaded(self, task: Task, address: int, *, depends: bool) -> None:
        """Record an atomic load; ``depends``: of a pointer that later accesses go through."""
        given = self._atomics.get(address)
        if given is not None:
            join(task.clock if depends else task.pending, given)

    def forget(self, addresses: range) -> None:
        """Drop the records of freed memory."""
        for address in [each for each in self._atomics if each in addresses]:
            del self._atomics[address]


def serialized(kernel: Kernel, lock: str, served: Callable[..., Any]) -> Callable[..., Any]:
    """Order a model after the previous holder of a lock, and before the next.

    ``lock`` is a key of Subject.SERIALIZED.  One name is one lock, also where the kernel has one in
    each object.  While the model sleeps or calls the module back, others may run in between.
    """
    name, _, reads = lock.partition(" ")

    def enter() -> None:
        kernel.order.takes(kernel.current, (name, "writer"))
        if not reads:
            kernel.order.takes(kernel.current, (name, "reader"))

    def leave() -> None:
        kernel.order.gives(kernel.current, (name, "reader" if reads else "writer"))

    def inside(model: Model) -> Model:
        value = None
        while True:
            enter()
            try:
                request = model.send(value)
            except StopIteration as stop:
                leave()
                return stop.value
            leave()
            value = yield request

    def around(*arguments: Any) -> Any:
        enter()
        result = served(*arguments)
        if isinstance(result, GeneratorType):
            return inside(result)
        leave()
        return result

    return around
