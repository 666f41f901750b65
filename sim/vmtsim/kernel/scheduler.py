"""The scheduler: threads run and sleep, and virtual time passes.

One thread runs at a time.  Threads switch only where the real kernel could observe it: at calls
into the kernel and at hypervisor traps.  ``choice`` chooses the next thread, by the seed.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any

from vmtsim.cpu import EXIT_SLOT, PREEMPTED
from vmtsim.kernel.api import Block, Call, Preempt
from vmtsim.kernel.biglock import BigLock
from vmtsim.kernel.choice import Choice
from vmtsim.kernel.clock import NEVER, Clock
from vmtsim.kernel.errors import Spinning, Stalled
from vmtsim.kernel.lwp import Frame, Lwp
from vmtsim.kernel.otherprocessor import Elsewhere
from vmtsim.kernel.processors import SeveralProcessors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmtsim.core.rng import Rng
    from vmtsim.cpu import Cpu
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.dispatch import Dispatch, Entry
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.lwp import WaitQueue
    from vmtsim.kernel.ordering import NoOrder
    from vmtsim.kernel.processors import Processor
    from vmtsim.kernel.storebuffers import StoreBuffers

# Costs in virtual nanoseconds.  A trap to the hypervisor and back costs about as much on real
# hardware; a kernel call is cheap, but not free: a loop of calls must take time.
CALL_COST = 200
TRAP_COST = 5_000
SWITCH_COST = 1_000
# Kernel calls and traps that a thread may make without sleeping once.  The kernel has no such rule
# for threads: the simulator ends the run, because a run that never ends has no result.
CALLS_WITHOUT_SLEEP = 1_000_000


class Scheduler:
    """Runs threads until a condition holds."""

    def __init__(
        self,
        cpu: Cpu,
        clock: Clock,
        rng: Rng,
        dispatch: Dispatch,
        processors: Sequence[Processor],
        order: NoOrder,
    ) -> None:
        self.cpu = cpu
        self.clock = clock
        self.rng = rng
        self.dispatch = dispatch
        self.current: Lwp | None = None
        self.lwps: list[Lwp] = []
        self.ready: list[Lwp] = []
        self.switches = 0
        self.traps = 0
        self.trapped_at = 0  # the address of the latest one
        self.calls = 0
        # Limit of kernel calls and traps of a run; None is no limit.
        self.limit: int | None = None
        self.biglock = BigLock(rng.fork("rest"))
        self.processors = processors
        self.order = order
        self.biglock.order = order
        self.choice = (
            SeveralProcessors(self.ready, self.biglock, rng, processors)
            if len(processors) > 1
            else Choice(self.ready, self.biglock, rng)
        )
        # The world outside the guest: the time of its next event, and the function that runs it.
        self.outside_next: Callable[[], int | None] = lambda: None
        self.outside_advance: Callable[[], None] = lambda: None
        self.on_thread: Callable[[Lwp], None] = lambda _lwp: None
        self.on_exit: Callable[[Lwp], None] = lambda _lwp: None
        self.on_call: Callable[[Lwp, Entry], None] | None = None
        # Called for the flags of a thread that sleeps or returns to the kernel, if a module's code
        # changes them.
        self.on_leave: Callable[[Lwp, Place], None] | None = None
        # Preemption points: number of a call -> instructions after it.  A point that was reached is
        # removed; ``hits`` counts those that took the processor.
        self.points: dict[int, int] = {}
        self.hits = 0
        self._point = 0  # the one that the running code has not reached yet
        self.buffers: StoreBuffers | None = None  # ``--store-buffers``
        self.elsewhere = Elsewhere(dispatch, self.wake_one)
        self._loaded: Lwp | None = None
        self._number = 0

    # -- threads -----------------------------------------------------------------------------

    def spawn(self, name: str, kind: str, main: Model, processor: Processor | None = None) -> Lwp:
        """Create a thread that runs ``main``, and make it ready; ``processor``: starts there."""
        self._number += 1
        lwp = Lwp(self._number, name, kind, main, processor or self.processors[0])
        lwp.placed = processor is not None
        self.order.starts(lwp, self.current)
        self.lwps.append(lwp)
        self.ready.append(lwp)
        return lwp

    def wake(self, lwp: Lwp, result: Any = True) -> None:
        """End a thread's sleep; its Block request returns ``result``."""
        if lwp.state != "asleep":
            return
        self.order.wakes(lwp, self.current)
        lwp.state = "ready"
        lwp.began = -1
        lwp.send = result
        if lwp.timer is not None:
            lwp.timer.cancel()
            lwp.timer = None
        if lwp.queue is not None:
            lwp.queue.lwps.remove(lwp)
            lwp.queue = None
        self.ready.append(lwp)

    def wake_one(self, queue: WaitQueue, result: Any = True) -> Lwp | None:
        """Wake the thread that came first; returns it."""
        if not queue.lwps:
            return None
        lwp = queue.lwps[0]
        self.wake(lwp, result)
        return lwp

    def wake_first(self, queue: WaitQueue) -> Lwp | None:
        """Wake the thread with the highest priority, first of equal ones (SOBJ_SLEEPQ_SORTED)."""
        if not queue.lwps:
            return None
        lwp = max(queue.lwps, key=lambda each: each.priority)
        self.wake(lwp)
        return lwp

    def wake_all(self, queue: WaitQueue, result: Any = True) -> None:
        """Wake all threads on ``queue``."""
        while queue.lwps:
            self.wake(queue.lwps[0], result)

    def kill(self, lwp: Lwp) -> None:
        """End a process that sleeps or is ready, without another step of it."""
        if lwp.state == "asleep":
            self.wake(lwp)
        self.ready.remove(lwp)
        lwp.state = "gone"
        self.choice.ends(lwp)
        self._gone(lwp)

    def interrupt(self, lwp: Lwp) -> None:
        """Send a signal: ends an interruptible sleep (its Block returns None).

        It stays pending if the thread's sleep cannot be interrupted, and ends its next
        interruptible sleep before that starts: sleepq_block in sys/kern/kern_sleepq.c.
        """
        if lwp.state == "asleep" and lwp.interruptible:
            self.wake(lwp, None)
        else:
            lwp.signalled = True

    # -- the loop ----------------------------------------------------------------------------

    def run(self, done: Callable[[], bool], until: int = NEVER) -> bool:
        """Run until ``done()`` (returns True) or until virtual time ``until`` (False).

        Raises Stalled when no thread can ever run again, Spinning beyond ``limit``, and what the
        guest or a model raised.
        """
        clock = self.clock
        while not done():
            if clock.now >= until:
                return False
            if self.limit is not None and self.calls + self.traps > self.limit:
                raise Spinning(
                    f"{self.limit} kernel calls and traps in {clock.now / 1e9:.1f} virtual s: "
                    "livelock: host and guest exchange messages without progress"
                )
            self._outside()
            if clock.now >= clock.next_due:
                clock.fire()
            lwp = self.choice.pick()
            if lwp is None:
                if not self._sleep_until_next(until):
                    if until < NEVER:
                        clock.now = until
                        return False
                    raise Stalled("no thread is ready to run and no event is due")
                continue
            self._run_lwp(lwp)
        return True

    def _outside(self) -> None:
        due = self.outside_next()
        if due is not None and due <= self.clock.now:
            self.outside_advance()

    def _sleep_until_next(self, until: int) -> bool:
        due = self.clock.next_timer()
        outside = self.outside_next()
        if outside is not None:
            due = min(due, outside)
        if due >= NEVER:
            return False
        self.clock.now = max(self.clock.now, min(due, until))
        return True

    def _switch_to(self, lwp: Lwp) -> None:
        cpu = self.cpu
        loaded = self._loaded
        if loaded is not lwp:
            if loaded is not None and loaded.state != "gone":
                loaded.context = cpu.save(loaded.context)
            if lwp.context is not None:
                cpu.restore(lwp.context)
            elif lwp.stack_top:
                cpu.start_on_stack(lwp.stack_top)
            self._loaded = lwp
            self.switches += 1
            self.clock.now += SWITCH_COST
            self.on_thread(lwp)
        self.biglock.take_back(lwp)
        self.current = lwp

    def _run_lwp(self, lwp: Lwp) -> None:
        self.ready.remove(lwp)
        self.choice.begins(lwp)
        if self.buffers is not None:
            self.buffers.enters(lwp)
        self._switch_to(lwp)
        lwp.state = "running"
        if lwp.began < 0 or lwp.kind != "softint":
            lwp.began = self.clock.now
        try:
            state = self._execute(lwp)
        except BaseException:
            lwp.state = "broken"
            raise
        lwp.state = state
        if state == "ready":
            self.ready.append(lwp)
        elif state == "gone":
            self._gone(lwp)
        if state != "ready" and lwp.kernel_locks:
            # A sleeping thread releases the kernel lock, and takes it again before it continues.
            self.biglock.give_up(lwp)
        if self.buffers is not None and state != "ready":
            self.buffers.flush_for(lwp)
        self.choice.ends(lwp)
        self.current = None

    def _gone(self, lwp: Lwp) -> None:
        self.lwps.remove(lwp)
        self.order.gone(lwp)
        if self._loaded is lwp:
            self._loaded = None
        self.on_exit(lwp)
        self.wake_all(lwp.exited)

    # -- one thread, until it sleeps -----------------------------------------------------------

    def _execute(self, lwp: Lwp) -> str:
        """Run ``lwp``; returns its new state: ready, asleep or exited."""
        frames = lwp.frames
        while True:
            frame = frames[-1]
            state = self._run_guest(lwp, frame) if frame.in_guest else self._advance(lwp, frame)
            if state is not None:
                return state

    def _run_guest(self, lwp: Lwp, frame: Frame) -> str | None:
        """Run guest code, and serve its calls; None where a model is on top after that.

        The simulator spends most of its time here: look up nothing that a call does not need.
        """
        clock, cpu, entries = self.clock, self.cpu, self.dispatch.entries
        resume = cpu.resume
        ready, elsewhere, points = self.ready, self.elsewhere, self.points
        while True:
            happened = False
            if points or lwp.instructions:
                point = self._point = points.pop(self.calls, 0)
                slot = resume(point or lwp.instructions)
                self._point = 0
                if point and slot == PREEMPTED and cpu.counted:
                    self.choice.yields_to_others(lwp)
                    self.hits += 1
                    return "ready"
                if lwp.instructions:
                    happened, woken = elsewhere.happens(lwp, slot)
                    if happened:
                        self.choice.urgent = woken
            else:
                slot = resume()
            if slot <= EXIT_SLOT:
                if slot == PREEMPTED:
                    return "ready"
                self._returned(lwp, frame)
                return None
            clock.now += CALL_COST
            self.calls += 1
            entry = entries[slot]
            if entry is None:
                self.dispatch.unknown(slot)
            lwp.work += 1
            if lwp.work > CALLS_WITHOUT_SLEEP:
                self._count(lwp)
            if self.on_call is not None:
                self.on_call(lwp, entry)
            if elsewhere.planned:
                elsewhere.called(lwp, entry)
            result = entry.serve()
            if type(result) is GeneratorType:
                lwp.frames.append(Frame(result, entry, cpu.position()))
                return None
            if entry.write is not None:
                entry.write(result)
            if happened:
                return "ready"
            if lwp.after_call:
                self._after_call(lwp)
                return "ready"
            if (clock.now >= clock.next_due or ready) and self._may_switch(lwp):
                return "ready"

    def _may_switch(self, lwp: Lwp) -> bool:
        """Decide whether another thread gets the processor here."""
        clock = self.clock
        if clock.now >= clock.next_due:
            # An event that is due does not belong to the thread that happens to run.
            current, self.current = self.current, None
            clock.fire()
            self.current = current
        return bool(self.ready) and self.choice.may_switch(lwp)

    def _after_call(self, lwp: Lwp) -> None:
        if lwp.after_call == "rest":
            self.biglock.give_up(lwp)
        lwp.after_call = ""

    def trap(self, pc: int = 0) -> None:
        """Handle a hypervisor trap of the running thread: costs time, may switch threads."""
        clock = self.clock
        clock.now += TRAP_COST
        self.traps += 1
        self.trapped_at = pc
        lwp = self.current
        if lwp is None:
            return
        lwp.work += 1
        if lwp.work > CALLS_WITHOUT_SLEEP:
            self._count(lwp)
        if self._point:
            return  # a switch here would end the count; the next call is the next chance
        due = self.outside_next()
        if due is not None and due <= clock.now:
            # The world outside moves only between two steps of the guest.
            self.cpu.preempt()
        elif (self.ready or clock.now >= clock.next_due) and self._may_switch(lwp):
            self.cpu.preempt()

    def _count(self, lwp: Lwp) -> None:
        """Count a thread's calls without sleeping; too many are an endless loop."""
        lwp.work += 1
        if lwp.work > CALLS_WITHOUT_SLEEP:
            raise Spinning(
                f"thread {lwp.name} made {CALLS_WITHOUT_SLEEP} kernel calls and traps "
                "without sleeping once"
            )

    def _advance(self, lwp: Lwp, frame: Frame) -> str | None:
        """Run the model on top; returns a new state if the thread stops running."""
        value, lwp.send = lwp.send, None
        try:
            request = frame.generator.send(value)
        except StopIteration as stop:
            return self._finished(lwp, frame, stop.value)
        if type(request) is Call:
            self._begin(lwp, frame, request)
            return None
        if type(request) is Preempt:
            return "ready"
        if type(request) is not Block:
            raise TypeError(f"a model yielded {request!r}")
        lwp.sleeps += 1
        if request.signal and lwp.signalled:
            lwp.signalled = False
            lwp.send = None
            return "ready"
        self._block(lwp, request)
        return "asleep"

    def _block(self, lwp: Lwp, request: Block) -> None:
        if self.on_leave is not None and lwp.stack_top:
            lwp.state = "asleep"
            self.on_leave(lwp, self.dispatch.kernel.where())
        lwp.work = 0
        lwp.what = request.what
        lwp.interruptible = request.signal
        lwp.queue = request.queue
        if request.queue is not None:
            request.queue.lwps.append(lwp)
        if request.deadline is not None:
            lwp.timer = self.clock.at(request.deadline, lambda: self._expire(lwp))

    def _expire(self, lwp: Lwp) -> None:
        lwp.timer = None
        self.wake(lwp, False)

    def _begin(self, lwp: Lwp, frame: Frame, request: Call) -> None:
        cpu = self.cpu
        if not lwp.stack_top:
            self.dispatch.give_stack(lwp)
            cpu.start_on_stack(lwp.stack_top)
        frame.preserved = cpu.preserved()
        frame.after = cpu.position()
        frame.callee = request.function
        cpu.begin_call(request.function, request.arguments)
        frame.in_guest = True

    def _returned(self, lwp: Lwp, frame: Frame) -> None:
        cpu = self.cpu
        frame.in_guest = False
        lwp.send = cpu.result
        after = cpu.preserved()
        cpu.set_position(frame.after)
        if self.on_leave is not None:
            self.on_leave(lwp, self.dispatch.kernel.location(frame.callee))
        if after != frame.preserved:
            self.dispatch.not_preserved(frame.callee, frame.preserved, after)

    def _finished(self, lwp: Lwp, frame: Frame, result: Any) -> str | None:
        lwp.frames.pop()
        if frame.entry is None:
            lwp.result = result
            return "gone"
        self.cpu.set_position(frame.position)
        if frame.entry.write is not None:
            frame.entry.write(result)
        if lwp.after_call:
            self._after_call(lwp)
            return "ready"
        if self.ready and self._may_switch(lwp):
            return "ready"
        return None
