"""Threads: who runs, who sleeps, and what virtual time it is meanwhile.

One thing runs at a time.  Threads switch only where the real kernel could notice: at calls into
the kernel and at hypervisor traps, chosen by the seed; a thread that goes on while another stands
still is one on another processor.  A soft interrupt takes the processor of the thread that it
interrupts, which stands still until the handler returns or sleeps (NetBSD sys/kern/kern_softint.c,
softint_dispatch); threads elsewhere go on.  A thread is a pile of models (generators) with guest
code between them; guest code runs on a stack in guest memory, models run in Python.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from vmtsim.cpu import EXIT_SLOT, PREEMPTED
from vmtsim.kernel.api import Block, Call, Preempt
from vmtsim.kernel.clock import NEVER, Clock
from vmtsim.kernel.errors import Spinning, Stalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.rng import Rng
    from vmtsim.core.timers import Timer
    from vmtsim.cpu import Cpu
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.dispatch import Dispatch, Entry
    from vmtsim.kernel.facts import Place

# What things cost, in virtual nanoseconds.  A trap to the hypervisor and back is about this dear
# on real hardware; a kernel call is cheap, but not free: a loop of calls must take time.
CALL_COST = 200
TRAP_COST = 5_000
SWITCH_COST = 1_000
# Kernel calls and traps that a thread may make without sleeping once.  The kernel has no such rule
# for threads: the simulator gives up, because a run that never ends says nothing.
PATIENCE = 1_000_000
# Out of how many functions that may sleep one does, while its caller holds the kernel lock.
_RESTS = 4
# What a thread's sleep in the kernel is sorted by where no priority was given: sys/sys/param.h,
# PRI_KERNEL (what a process has there), PRI_KTHREAD, and what lies above both for soft interrupts.
PRI_KERNEL, PRI_KTHREAD, PRI_SOFTINT = 64, 96, 192
_PRIORITIES = {"user": PRI_KERNEL, "kthread": PRI_KTHREAD, "softint": PRI_SOFTINT}


class WaitQueue:
    """Threads asleep for one reason, in the order in which they came."""

    __slots__ = ("lwps", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lwps: deque[Lwp] = deque()

    def __bool__(self) -> bool:
        return bool(self.lwps)


@dataclass(slots=True)
class Meanwhile:
    """Something that another processor does while a kernel thread runs guest code.

    It happens when the thread has called one of the functions ``after``, then ``calls`` other
    functions of the kernel, and then has run ``instructions``, or as many as there are up to the
    next call: whoever sleeps on ``queue`` wakes, and runs next.
    """

    after: frozenset[str]
    calls: int
    instructions: int
    queue: WaitQueue
    lwp: Lwp | None = None  # the thread, once it has called the first function


@dataclass(slots=True)
class Frame:
    """A model that is under way: its generator and where its guest caller waits."""

    generator: Model
    entry: Entry | None
    position: tuple[int, ...]
    in_guest: bool = False
    preserved: tuple[int, ...] = ()
    callee: int = 0
    after: Any = None


class Lwp:
    """A thread of the kernel.  ``kind`` is 'kthread', 'user' or 'softint'."""

    def __init__(self, number: int, name: str, kind: str, main: Model) -> None:
        self.number = number
        self.name = name
        self.kind = kind
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
        self.kernel_locks = 0  # how often it has taken the kernel lock: l_blcnt
        self.kernel_lock_wanted = 0
        self.spl = 0  # interrupt priority level, as splraise(9) made it
        self.priority = _PRIORITIES.get(kind, PRI_KERNEL)
        self.pinned: Lwp | None = None  # of a soft interrupt: the thread that it interrupted
        self.interrupted = False  # a soft interrupt has its processor
        self.starting = False  # of a soft interrupt: to begin, and to interrupt somebody
        self.due_on: Lwp | None = None  # of a soft interrupt: it begins on this one's processor
        self.after_call = ""  # what the scheduler does when the call ends: "switch" or "rest"
        self.quiet = 0  # how often it has left a section without preemption
        self.bound = False
        self.asked = 0  # questions to kauth(9)
        self.pserialize = 0
        self.suspends = ""  # the directory of the file system that it holds suspended
        self.sysctl_node = ""  # whose handler it runs, with the lock of the tree held
        self.sysctl_since = 0  # when it took that lock, in virtual ns
        self.result: Any = None
        self.error: BaseException | None = None
        self.exited = WaitQueue(f"exit of {name}")
        self.work = 0
        self.began = 0  # when it last got the processor, in virtual ns
        self.instructions = 0  # so many more, and what is in ``meanwhile`` happens

    def __repr__(self) -> str:
        return f"<lwp {self.number} {self.name} {self.state}>"

    @property
    def in_softint(self) -> bool:
        """Whether it runs in soft interrupt context."""
        return self.kind == "softint"


class Scheduler:
    """Runs threads until a condition holds."""

    def __init__(self, cpu: Cpu, clock: Clock, rng: Rng, dispatch: Dispatch) -> None:
        self.cpu = cpu
        self.clock = clock
        self.rng = rng
        self.dispatch = dispatch
        self.current: Lwp | None = None
        self.lwps: list[Lwp] = []
        self.ready: list[Lwp] = []
        self.kernel_lock_owner: Lwp | None = None
        self.kernel_lock_count = 0
        self.switches = 0
        self.traps = 0
        self.calls = 0
        # Kernel calls and traps that a run may have in all; None is no limit.
        self.limit: int | None = None
        # Out of how many chances to switch one is taken; the seed decides how restless a run is.
        self.restlessness = 2 << rng.below(5)
        # The world outside of the guest: when something happens there, and making it happen.
        self.outside_next: Callable[[], int | None] = lambda: None
        self.outside_advance: Callable[[], None] = lambda: None
        self.on_thread: Callable[[Lwp], None] = lambda _lwp: None
        self.on_exit: Callable[[Lwp], None] = lambda _lwp: None
        self.on_call: Callable[[Lwp, Entry], None] | None = None
        # Asked about the flags of a thread that sleeps or returns to the kernel, where a module's
        # code changes them.
        self.on_leave: Callable[[Lwp, Place], None] | None = None
        self.meanwhile: list[Meanwhile] = []
        self._urgent: Lwp | None = None
        self._soft_rng = rng.fork("softint")
        self._rest_rng = rng.fork("rest")
        self._aside: Lwp | None = None  # a soft interrupt that lets threads elsewhere go on
        self._last: Lwp | None = None  # who had the processor before this one
        self._soft_due: list[Lwp] = []  # soft interrupts that wait for a thread's processor
        self._loaded: Lwp | None = None
        self._number = 0

    # -- threads -----------------------------------------------------------------------------

    def spawn(self, name: str, kind: str, main: Model) -> Lwp:
        """Make a thread that runs ``main``, and let it be ready."""
        self._number += 1
        lwp = Lwp(self._number, name, kind, main)
        self.lwps.append(lwp)
        self.ready.append(lwp)
        return lwp

    def wake(self, lwp: Lwp, result: Any = True) -> None:
        """End a thread's sleep; its Block request gives ``result``."""
        if lwp.state != "asleep":
            return
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
        """Wake who came first; returns it."""
        if not queue.lwps:
            return None
        lwp = queue.lwps[0]
        self.wake(lwp, result)
        return lwp

    def wake_first(self, queue: WaitQueue) -> Lwp | None:
        """Wake who has the highest priority, and came first of those (SOBJ_SLEEPQ_SORTED)."""
        if not queue.lwps:
            return None
        lwp = max(queue.lwps, key=lambda each: each.priority)
        self.wake(lwp)
        return lwp

    def wake_all(self, queue: WaitQueue, result: Any = True) -> None:
        """Wake everybody on ``queue``."""
        while queue.lwps:
            self.wake(queue.lwps[0], result)

    def kill(self, lwp: Lwp) -> None:
        """End a process that sleeps or waits to run, without another step of it."""
        if lwp.state == "asleep":
            self.wake(lwp)
        self.ready.remove(lwp)
        lwp.state = "gone"
        self._gone(lwp)

    def interrupt(self, lwp: Lwp) -> None:
        """Send a signal: ends a sleep that may be interrupted (its Block gives None).

        It stays pending where the thread does not sleep so, and ends its next such sleep before
        that begins: sleepq_block in sys/kern/kern_sleepq.c.
        """
        if lwp.state == "asleep" and lwp.interruptible:
            self.wake(lwp, None)
        else:
            lwp.signalled = True

    # -- the loop ----------------------------------------------------------------------------

    def run(self, done: Callable[[], bool], until: int = NEVER) -> bool:
        """Run until ``done()`` (returns True) or until virtual time ``until`` (False).

        Raises Stalled when nothing can ever happen again, Spinning beyond ``limit``, and what the
        guest or a model raised.
        """
        clock = self.clock
        while not done():
            if clock.now >= until:
                return False
            if self.limit is not None and self.calls + self.traps > self.limit:
                raise Spinning(
                    f"{self.limit} kernel calls and traps in {clock.now / 1e9:.1f} virtual s: "
                    "host and guest keep each other busy for ever"
                )
            self._outside()
            if clock.now >= clock.next_due:
                clock.fire()
            lwp = self._pick()
            if lwp is None:
                if not self._sleep_until_next(until):
                    if until < NEVER:
                        clock.now = until
                        return False
                    raise Stalled("nothing is ready to run and nothing is due")
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

    # -- KERNEL_LOCK -------------------------------------------------------------------------

    def lock_kernel(self, lwp: Lwp, count: int) -> bool:
        """Take the kernel lock for a thread; false where another processor has it.

        It belongs to the processor: a soft interrupt nests on the lock of the thread that it
        interrupted (sys/kern/kern_lock.c, _kernel_lock, ci_biglock_count).
        """
        seat = self._seat(lwp)
        if self.kernel_lock_owner not in {None, seat}:
            return False
        self.kernel_lock_owner = seat
        self.kernel_lock_count += count
        lwp.kernel_locks += count
        return True

    def unlock_kernel(self, lwp: Lwp, count: int) -> None:
        """Give it back ``count`` times."""
        lwp.kernel_locks -= count
        self.kernel_lock_count -= count
        if not self.kernel_lock_count:
            self.kernel_lock_owner = None

    def _seat(self, lwp: Lwp) -> Lwp:
        """Return the thread that stands for the processor on which ``lwp`` runs."""
        while lwp.pinned is not None:
            lwp = lwp.pinned
        return lwp

    def may_rest(self, lwp: Lwp) -> None:
        """Let a thread that is in a function which may sleep give up the kernel lock, by chance.

        mi_switch() gives it up for whoever sleeps: sys/kern/kern_sleepq.c, KERNEL_UNLOCK_ALL.
        """
        if lwp.kernel_locks and not self._rest_rng.below(_RESTS):
            lwp.after_call = "rest"

    def _after_call(self, lwp: Lwp) -> None:
        if lwp.after_call == "rest":
            lwp.kernel_lock_wanted = lwp.kernel_locks
            self.unlock_kernel(lwp, lwp.kernel_locks)
        lwp.after_call = ""

    # -- soft interrupts -----------------------------------------------------------------------

    def start_softint(self, lwp: Lwp, on: Lwp | None = None) -> None:
        """Wake an idle soft interrupt; it begins on the processor of ``on``, or on any."""
        lwp.starting = True
        lwp.due_on = on
        if on is not None:
            self._soft_due.append(lwp)
            on.after_call = on.after_call or "switch"

    @staticmethod
    def blocks_softints(lwp: Lwp, level: int) -> bool:
        """Whether a thread keeps soft interrupts of a level from its processor."""
        return bool(
            lwp.spl >= level
            or lwp.pserialize  # splsoftserial
            or any(lock.spin for lock in lwp.held)
        )

    def _strike(self, lwp: Lwp) -> None:
        """Let a soft interrupt begin: it takes a processor."""
        lwp.starting = False
        on, lwp.due_on = lwp.due_on, None
        if on is not None:
            self._soft_due.remove(lwp)
        last = self._last if on is None else on
        if (
            last is not None
            and last.state == "ready"
            and not last.interrupted
            and not self.blocks_softints(last, lwp.spl)
            and (on is not None or last.kind == "softint" or self._soft_rng.below(2))
        ):
            lwp.pinned = last
            last.interrupted = True

    def _unpin(self, lwp: Lwp) -> None:
        if lwp.pinned is not None:
            lwp.pinned.interrupted = False
            lwp.pinned = None

    def _eligible(self, lwp: Lwp) -> bool:
        if lwp.interrupted:
            return False
        if lwp.kernel_lock_wanted and self.kernel_lock_owner not in {None, self._seat(lwp)}:
            return False
        on = lwp.due_on
        return on is None or on.state != "ready" or not self.blocks_softints(on, lwp.spl)

    def _pick(self) -> Lwp | None:
        """Soft interrupts first; among threads the seed chooses."""
        ready = self.ready
        if not ready:
            return None
        if len(ready) == 1:
            return ready[0] if self._eligible(ready[0]) else None
        able = [lwp for lwp in ready if self._eligible(lwp)]
        if not able:
            return None
        urgent, self._urgent = self._urgent, None
        aside, self._aside = self._aside, None
        softint: Lwp | None = None
        for lwp in able:
            if lwp is urgent:
                return lwp
            if lwp.kind == "softint" and (softint is None or lwp.spl > softint.spl):
                softint = lwp
        if softint is not None:
            threads = [lwp for lwp in able if lwp.kind != "softint"]
            if softint is not aside or not threads:
                return softint
            able = threads
        return able[self.rng.below(len(able))] if len(able) > 1 else able[0]

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
        if lwp.kernel_lock_wanted:
            self.lock_kernel(lwp, lwp.kernel_lock_wanted)
            lwp.kernel_lock_wanted = 0
        self.current = lwp

    def _run_lwp(self, lwp: Lwp) -> None:
        self.ready.remove(lwp)
        if lwp.starting:
            self._strike(lwp)
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
        if state != "ready":
            if lwp.kernel_locks:
                # A sleeping thread gives up the kernel lock, and takes it again before it goes on.
                lwp.kernel_lock_wanted = lwp.kernel_locks
                self.unlock_kernel(lwp, lwp.kernel_locks)
            self._unpin(lwp)
        self.current = None
        self._last = lwp

    def _gone(self, lwp: Lwp) -> None:
        self.lwps.remove(lwp)
        if self._loaded is lwp:
            self._loaded = None
        self.on_exit(lwp)
        self.wake_all(lwp.exited)

    # -- one thread, until it sleeps -----------------------------------------------------------

    def _execute(self, lwp: Lwp) -> str:
        """Run ``lwp``; returns its new state: ready, asleep or gone."""
        clock, cpu, entries = self.clock, self.cpu, self.dispatch.entries
        frames = lwp.frames
        while True:
            frame = frames[-1]
            if not frame.in_guest:
                state = self._advance(lwp, frame)
                if state is not None:
                    return state
                continue
            slot = cpu.resume(lwp.instructions)
            struck = False
            if lwp.instructions:
                struck = self._elsewhere(lwp, slot)
            if slot == EXIT_SLOT:
                self._returned(lwp, frame)
                continue
            if slot == PREEMPTED:
                return "ready"
            clock.now += CALL_COST
            self.calls += 1
            entry = entries[slot]
            if entry is None:
                self.dispatch.unknown(slot)
            lwp.work += 1
            if lwp.work > PATIENCE:
                self._count(lwp)
            if self.on_call is not None:
                self.on_call(lwp, entry)
            if self.meanwhile:
                self._count_calls(lwp, entry)
            result = entry.method(*entry.read())
            if type(result) is GeneratorType:
                frames.append(Frame(result, entry, cpu.position()))
                continue
            entry.write(result)
            if struck:
                return "ready"
            if lwp.after_call:
                self._after_call(lwp)
                return "ready"
            if (clock.now >= clock.next_due or self.ready) and self._may_switch(lwp):
                return "ready"

    def _count_calls(self, lwp: Lwp, entry: Entry) -> None:
        """Look whether another processor is to do something soon after this call."""
        first = self.meanwhile[0]
        if lwp.kind == "kthread" and entry.name in first.after:
            first.lwp = lwp
        elif lwp is not first.lwp:
            return
        else:
            first.calls -= 1
        if first.calls <= 0:
            lwp.instructions = first.instructions

    def _elsewhere(self, lwp: Lwp, slot: int) -> bool:
        """Let happen what another processor does at this instruction, or instead of this call."""
        lwp.instructions = 0
        if not self.meanwhile:
            return False
        entry = self.dispatch.entries[slot] if slot not in {EXIT_SLOT, PREEMPTED} else None
        if entry is not None and entry.name in self.meanwhile[0].after:
            return False
        self._urgent = self.wake_one(self.meanwhile.pop(0).queue)
        return True

    def _may_switch(self, lwp: Lwp) -> bool:
        """Decide whether another thread gets the processor here."""
        clock = self.clock
        if clock.now >= clock.next_due:
            clock.fire()
        if not self.ready:
            return False
        if lwp.kind == "softint":
            return self._may_set_aside(lwp)
        for softint in self._soft_due:
            if softint.due_on is lwp and not self.blocks_softints(lwp, softint.spl):
                return True
        return self.rng.below(self.restlessness) == 0

    def _may_set_aside(self, lwp: Lwp) -> bool:
        """Decide whether a soft interrupt is interrupted, or threads elsewhere go on meanwhile."""
        able = [each for each in self.ready if self._eligible(each)]
        if any(each.kind == "softint" and each.spl > lwp.spl for each in able):
            return True
        threads = any(each.kind != "softint" for each in able)
        if threads and not self._soft_rng.below(self.restlessness):
            self._aside = lwp
            return True
        return False

    def trap(self) -> None:
        """Note a hypervisor trap of the running thread: costs time, may switch threads."""
        clock = self.clock
        clock.now += TRAP_COST
        self.traps += 1
        lwp = self.current
        if lwp is None:
            return
        self._count(lwp)
        due = self.outside_next()
        if due is not None and due <= clock.now:
            # The world outside moves only between two steps of the guest.
            self.cpu.preempt()
        elif (self.ready or clock.now >= clock.next_due) and self._may_switch(lwp):
            self.cpu.preempt()

    def _count(self, lwp: Lwp) -> None:
        """Count what a thread does without sleeping; too much of it is no life."""
        lwp.work += 1
        if lwp.work > PATIENCE:
            raise Spinning(
                f"thread {lwp.name} made {PATIENCE} kernel calls and traps without sleeping once"
            )

    def _advance(self, lwp: Lwp, frame: Frame) -> str | None:
        """Drive the model on top; returns a new state where the thread stops running."""
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
        frame.entry.write(result)
        if lwp.after_call:
            self._after_call(lwp)
            return "ready"
        if self.ready and self._may_switch(lwp):
            return "ready"
        return None
