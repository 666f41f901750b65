"""RUN_ONCE(9): a function that runs at the first call, and one at the last (kern/subr_once.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_VIRGIN, _RUNNING, _DONE = 0, 1, 2  # sys/sys/once.h
_ERROR, _COUNT, _STATUS = 0, 4, 6  # offsets of o_error (int), o_refcnt and o_status (16 bits)


class Once(Subject):
    """A once_t counts its users, which have initialised it."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_once.c 1.7": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"oncemtx": "*"}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._changed = WaitQueue("runonce")

    def _take_mutex(self, function: str) -> None:
        """Check the caller, as for oncemtx: an adaptive mutex for IPL_NONE."""
        kernel = self.kernel
        kernel.rules.may_sleep(function, softint=True)
        if kernel.current.in_softint:
            kernel.violation(
                "mutex-in-softint",
                f"{function} by {kernel.where()} in soft interrupt context: its mutex was made for "
                "IPL_NONE",
            )

    def _settled(self, once: int) -> Model:
        while self.kernel.memory.u16(once + _STATUS) == _RUNNING:
            yield Block(self._changed, what="runonce")

    def _turn(self, once: int, status: int) -> None:
        self.kernel.memory.put_u16(once + _STATUS, status)
        self.kernel.scheduler.wake_all(self._changed)

    @kernel_function("int _init_once(void *o, int (*fn)(void))")
    def init_once(self, once: int, function: int) -> Model:
        """Run ``function`` unless it has run; all callers get its error."""
        memory = self.kernel.memory
        self._take_mutex("RUN_ONCE")
        count = memory.u16(once + _COUNT)
        memory.put_u16(once + _COUNT, count + 1)
        if count == 0:
            memory.put_u16(once + _STATUS, _RUNNING)
            error = yield Call(function)
            memory.put_u32(once + _ERROR, error)
            self._turn(once, _DONE)
        yield from self._settled(once)
        return memory.s32(once + _ERROR)

    @kernel_function("void _fini_once(void *o, void (*fn)(void))")
    def fini_once(self, once: int, function: int) -> Model:
        """Run ``function`` for the last user."""
        kernel, memory = self.kernel, self.kernel.memory
        self._take_mutex("FINI_ONCE")
        yield from self._settled(once)
        count = memory.u16(once + _COUNT)
        if not count:
            kernel.panic(
                "once-never", f"FINI_ONCE by {kernel.where()}: RUN_ONCE was not called before"
            )
        memory.put_u16(once + _COUNT, count - 1)
        if count == 1:
            memory.put_u16(once + _STATUS, _RUNNING)
            yield Call(function)
            self._turn(once, _VIRGIN)
