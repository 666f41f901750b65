"""softint(9) for drivers: their handlers (NetBSD sys/kern/kern_softint.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.preempt import Preemption
from vmtsim.kernel.softint import SoftInterrupts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.processors import Processor

_MPSAFE, _LEVELS, _OWN = 0x100, 0xFF, 0xF000  # sys/sys/intr.h, SOFTINT_IMPMASK
_FIRST, _STEP = 0x40, 0x20  # the cookies are offsets, not pointers


@dataclass(eq=False)
class Handler:
    """An established soft interrupt handler, and the processors on which it is pending and runs."""

    cookie: int
    function: int
    argument: int
    level: int
    mpsafe: bool
    made_at: int
    pending: set[Processor] = field(default_factory=set)
    running: set[Processor] = field(default_factory=set)
    idle: WaitQueue = field(default_factory=WaitQueue)


class SoftHandlers(Subject):
    """Handlers by their cookie."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_softint.c 1.76": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[Handler] = LiveObjects(
            self,
            Words("soft interrupt", "established", "disestablished"),
            unknown="softint-unknown",
            left="softint-left",
            name=lambda handler: str(kernel.location(handler.function)),
            in_memory=False,
        )
        self._next = _FIRST

    @kernel_function("void *softint_establish(u_int flags, void (*func)(void *), void *arg)")
    def softint_establish(self, flags: int, function: int, argument: int) -> int:
        kernel = self.kernel
        if flags & _OWN:
            kernel.panic(
                "softint-flags",
                f"softint_establish by {kernel.where()} with flags {flags:#x}: the bits "
                f"{flags & _OWN:#x} are reserved for the kernel",
            )
        if flags & _LEVELS > 3:
            kernel.panic(
                "softint-establish",
                f"softint_establish by {kernel.where()} with level {flags & _LEVELS} (0 to 3)",
            )
        if not function:
            kernel.panic(
                "softint-without-function",
                f"softint_establish by {kernel.where()} with a null function: the next one gets "
                "the same handle, and softint_schedule calls address 0",
            )
        cookie, self._next = self._next, self._next + _STEP
        mpsafe = bool(flags & _MPSAFE)
        handler = Handler(cookie, function, argument, flags & _LEVELS, mpsafe, kernel.call_site)
        self.live.add("softint_establish", cookie, handler)
        return cookie

    @kernel_function("void softint_schedule(void *arg)")
    def softint_schedule(self, cookie: int) -> None:
        kernel = self.kernel
        handler = self.live.find("softint_schedule", cookie)
        if not kernel.subject(Preemption).disabled():
            kernel.panic(
                "softint-schedule-preemptible",
                f"softint_schedule by {kernel.where()} in thread {kernel.current.name} with "
                "preemption enabled: the caller must be an interrupt handler or must have called "
                "kpreempt_disable",
            )
        here = kernel.here
        kernel.order.gives(kernel.current, handler)
        if here not in handler.pending:
            handler.pending.add(here)
            # It is bound to the caller's CPU, and runs as soon as that allows it.
            kernel.subject(SoftInterrupts).schedule(
                lambda: self._run(handler, here), here, level=handler.level, on=kernel.current
            )

    def _run(self, handler: Handler, here: Processor) -> Model:
        handler.pending.remove(here)
        handler.running.add(here)
        order = self.kernel.order
        order.begins(self.kernel.current, handler)
        # No longer pending while it waits for the kernel lock: scheduled again, it runs twice.
        yield from call_back(
            self.kernel,
            "soft interrupt handler",
            handler.function,
            (handler.argument,),
            mpsafe=handler.mpsafe,
        )
        handler.running.remove(here)
        order.ends(self.kernel.current, handler)
        self.kernel.scheduler.wake_all(handler.idle)

    @kernel_function("void softint_disestablish(void *arg)")
    def softint_disestablish(self, cookie: int) -> Model:
        kernel = self.kernel
        handler = self.live.find("softint_disestablish", cookie)
        kernel.rules.may_sleep("softint_disestablish")
        while handler.pending or handler.running:
            yield Block(handler.idle, what="softint")
        kernel.order.takes(kernel.current, handler)
        if cookie in self.live:
            self.live.remove(cookie)

    def check_unload(self, module: str) -> None:
        """Panic for a pending handler, whose code is unloaded; report the others."""
        kernel = self.kernel
        for handler in self.live.values():
            if kernel.loaded_at(handler.function) is not None:
                continue
            if handler.pending or handler.running:
                made = self.live.made(handler)
                kernel.panic(
                    "softint-left",
                    f"module {module} is unloaded, but its soft interrupt handler "
                    f"{kernel.location(handler.function)}, established by {made}, is pending",
                    made,
                )
        super().check_unload(module)
