"""callout(9) (NetBSD sys/kern/kern_timeout.c of 10.99.12).

callout_softclock() runs due callouts; each function below follows the one of its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.facts import Place
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.mutex import Mutex, Mutexes
from vmtsim.kernel.softint import SoftInterrupts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.core.timers import Timer
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.processors import Processor

_MPSAFE, _FLAGS = 0x100, 0xFF00  # sys/sys/callout.h, CALLOUT_FLAGMASK


class Callout:
    """The state of a struct callout; it may run on one processor while another has it pending."""

    def __init__(self, address: int, made_at: int, processor: Processor, *, mpsafe: bool) -> None:
        self.address = address
        self.made_at = made_at
        self.mpsafe = mpsafe
        self.function = 0
        self.argument = 0
        self.timer: Timer | None = None
        self.pending = False  # armed, or fired and waiting for its soft interrupt
        self.processor = processor  # c_cpu: whose wheel it is in
        # The soft interrupts that run it: cc_active and cc_lwp of each processor.
        self.runners: dict[Processor, Lwp] = {}
        self.fired = False
        self.invoking = False  # from firing until callout_ack(9) or the next scheduling
        self.waiters = WaitQueue("callout")

    @property
    def runner(self) -> Lwp | None:
        """The soft interrupt that runs it on its processor; the kernel checks no other."""
        return self.runners.get(self.processor)


class Callouts(Subject):
    """All callouts that modules have made, by address."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_timeout.c 1.79": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[Callout] = LiveObjects(
            self,
            Words("callout", "initialised"),
            unknown="callout-uninitialised",
            left="callout-not-destroyed",
            name=lambda callout: f"({self._function(callout)})",
        )
        # Due on each processor, and waiting for the soft interrupt.
        self._todo: dict[Processor, list[Callout]] = {each: [] for each in kernel.processors}
        self._rng = kernel.rng.fork("callout")
        kernel.subject(Kmem).on_free.append(self._check_free)

    def _check_free(self, start: int, end: int, function: str) -> None:
        """Panic for memory that is freed with a pending callout in it."""
        for _address, callout in self.live.inside(start, end):
            if callout.pending or callout.runners:
                self.kernel.panic(
                    "free-with-callout",
                    f"{function} by {self.kernel.where()}: {self._name(callout)} is pending",
                )

    def _function(self, callout: Callout) -> Place:
        known = bool(callout.function)
        return self.kernel.location(callout.function) if known else Place("no function")

    def _name(self, callout: Callout) -> str:
        return f"the callout {self.live.at(callout.address)} ({self._function(callout)})"

    @kernel_function("void callout_init(callout_t *c, u_int flags)")
    def callout_init(self, address: int, flags: int) -> None:
        kernel = self.kernel
        if flags & ~_FLAGS:
            kernel.panic(
                "callout-flags",
                f"callout_init by {kernel.where()} with flags {flags:#x}: expected 0 or "
                "CALLOUT_MPSAFE",
            )
        kernel.memory.write(address, bytes(10 * kernel.memory.pointer_size))
        old = self.live.get(address)
        if old is not None and old.pending:
            kernel.panic(
                "callout-already-initialised",
                f"callout_init by {kernel.where()}: {self._name(old)} is pending",
            )
        self.live[address] = Callout(
            address, kernel.call_site, kernel.here, mpsafe=bool(flags & _MPSAFE)
        )

    @kernel_function("void callout_destroy(callout_t *c)")
    def callout_destroy(self, address: int) -> None:
        kernel = self.kernel
        callout = self.live.find("callout_destroy", address)
        kernel.order.takes(kernel.current, callout)
        if callout.pending:
            kernel.panic(
                "callout-destroy-pending",
                f"callout_destroy by {kernel.where()}: {self._name(callout)} is still pending",
            )
        if callout.runner not in {None, kernel.current}:
            kernel.panic(
                "callout-destroy-running",
                f"callout_destroy by {kernel.where()}: {self._name(callout)} is running",
            )
        self.live.remove(address)

    @kernel_function("void callout_setfunc(callout_t *c, void (*func)(void *), void *arg)")
    def callout_setfunc(self, address: int, function: int, argument: int) -> None:
        callout = self.live.find("callout_setfunc", address)
        if not function:
            self.kernel.panic(
                "callout-without-function",
                f"callout_setfunc by {self.kernel.where()} with a null function",
            )
        callout.function, callout.argument = function, argument

    @kernel_function("void callout_schedule(callout_t *c, int ticks)")
    def callout_schedule(self, address: int, ticks: int) -> None:
        self._arm(self.live.find("callout_schedule", address), ticks, "callout_schedule")

    @kernel_function("void callout_reset(callout_t *c, int ticks, void (*func)(void *), void *arg)")
    def callout_reset(self, address: int, ticks: int, function: int, argument: int) -> None:
        callout = self.live.find("callout_reset", address)
        callout.function, callout.argument = function, argument
        self._arm(callout, ticks, "callout_reset")

    def _arm(self, callout: Callout, ticks: int, function: str) -> None:
        """callout_schedule_locked(): FIRED and INVOKING are cleared, and the time is set.

        It moves to the processor of the caller, also while its function runs on another.
        """
        kernel = self.kernel
        if not callout.function:
            kernel.panic(
                "callout-without-function",
                f"{function} by {kernel.where()}: {self._name(callout)} has no function",
            )
        kernel.rules.ticks(function, ticks)
        self._disarm(callout)
        callout.pending = True
        callout.invoking = False
        callout.processor = kernel.here
        kernel.order.gives(kernel.current, callout)
        callout.timer = kernel.clock.at(
            kernel.clock.tick_deadline(max(ticks, 1)), lambda: self._due(callout)
        )

    def _disarm(self, callout: Callout) -> bool:
        """Cancel a callout that has not run; returns whether it had already expired (fired).

        callout_stop() and callout_halt() clear PENDING and FIRED.
        """
        self.kernel.order.takes(self.kernel.current, callout)
        expired = callout.fired
        if callout.timer is not None:
            callout.timer.cancel()
            callout.timer = None
        if callout in self._todo[callout.processor]:
            self._todo[callout.processor].remove(callout)
        callout.pending = callout.fired = False
        return expired

    def _due(self, callout: Callout) -> None:
        callout.timer = None
        processor = callout.processor
        self._todo[processor].append(callout)
        if len(self._todo[processor]) == 1:
            self.kernel.subject(SoftInterrupts).schedule(
                lambda: self._softclock(processor), processor
            )

    def _softclock(self, processor: Processor) -> Model:
        """Run due callouts, in no order: a long timeout moves between the wheel's levels late."""
        todo = self._todo[processor]
        while todo:
            at = self._rng.below(len(todo)) if len(todo) > 1 else 0
            callout = todo.pop(at)
            callout.pending = False
            callout.fired = callout.invoking = True
            callout.runners[processor] = self.kernel.current
            self.kernel.order.begins(self.kernel.current, callout)
            # Fired first, then the kernel lock: callout_stop() by its holder comes too late.
            yield from call_back(
                self.kernel,
                "callout",
                callout.function,
                (callout.argument,),
                mpsafe=callout.mpsafe,
            )
            del callout.runners[processor]
            self.kernel.order.ends(self.kernel.current, callout)
            self.kernel.scheduler.wake_all(callout.waiters)

    @kernel_function("bool callout_stop(callout_t *c)")
    def callout_stop(self, address: int) -> bool:
        callout = self.live.find("callout_stop", address)
        return self._disarm(callout)

    @kernel_function("bool callout_halt(callout_t *c, void *interlock)")
    def callout_halt(self, address: int, interlock: int) -> Model | bool:
        """Whether it had to wait: 10.99.12 does not return whether the callout had fired."""
        callout = self.live.find("callout_halt", address)
        mutex = self._interlock(interlock)
        self._disarm(callout)
        if callout.runner in {None, self.kernel.current}:
            return False
        self.kernel.rules.waits("callout_halt")
        return self._wait_for_end(callout, mutex)

    def _interlock(self, address: int) -> Mutex | None:
        if not address:
            return None
        kernel = self.kernel
        mutex = kernel.subject(Mutexes).live.get(address)
        if mutex is None or mutex.owner is not kernel.current:
            kernel.panic(
                "callout-interlock",
                f"callout_halt by {kernel.where()}: the interlock at {kernel.describe(address)} "
                "is not held by the caller",
            )
        return mutex

    def _wait_for_end(self, callout: Callout, mutex: Mutex | None) -> Model:
        """Release the interlock until the function of the callout has returned."""
        kernel = self.kernel
        lwp, site = kernel.current, kernel.call_site
        kernel.rules.may_sleep(
            "callout_halt", holding=mutex.address if mutex is not None else 0, softint=True
        )
        mutexes = kernel.subject(Mutexes)
        if mutex is not None:
            mutexes.release(mutex)
        while callout.runner is not None:
            yield Block(callout.waiters, what="callout")
        # It may have scheduled itself again: halting covers the run that was in progress.
        self._disarm(callout)
        if mutex is not None:
            yield from mutexes.enter_slowly(mutex, lwp, site)
        return True

    @kernel_function("bool callout_pending(callout_t *c)")
    def callout_pending(self, address: int) -> bool:
        return self.live.find("callout_pending", address).pending

    @kernel_function("bool callout_expired(callout_t *c)")
    def callout_expired(self, address: int) -> bool:
        return self.live.find("callout_expired", address).fired

    @kernel_function("bool callout_active(callout_t *c)")
    def callout_active(self, address: int) -> bool:
        callout = self.live.find("callout_active", address)
        return callout.pending or callout.fired

    @kernel_function("bool callout_invoking(callout_t *c)")
    def callout_invoking(self, address: int) -> bool:
        """Whether it has fired and callout_ack() has not been called since."""
        return self.live.find("callout_invoking", address).invoking

    @kernel_function("void callout_ack(callout_t *c)")
    def callout_ack(self, address: int) -> None:
        self.live.find("callout_ack", address).invoking = False

    def check_detach(self, start: int, end: int, device: str) -> None:
        """Panic if a callout in the softc of a detached device is pending."""
        for _address, callout in self.live.inside(start, end):
            if callout.pending:
                self.kernel.panic(
                    "callout-pending-at-detach",
                    f"{device} is detached with {self._name(callout)} pending",
                    self._function(callout),
                )

    def check_unload(self, module: str) -> None:
        """Panic for a pending callout, which would run unloaded code; report the others."""
        loaded = self.kernel.loaded_at
        for callout in self.live.values():
            if callout.pending and not loaded(callout.function):
                self.kernel.panic(
                    "callout-left",
                    f"module {module} is unloaded, but {self._name(callout)} is pending",
                    self._function(callout),
                )
        super().check_unload(module)
