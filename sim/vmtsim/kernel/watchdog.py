"""sysmon_wdog(9): watchdogs, and wdogctl(8), which arms, tickles and disarms one.

The layout is that of struct sysmon_wdog in sys/dev/sysmon/sysmonvar.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed

from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.callback import same_locks
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.mutex import Mutex, Mutexes
from vmtsim.kernel.softint import SoftInterrupts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.core.timers import Timer
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

DISARMED, KERNEL, USER, EXTERNAL = range(4)  # sys/sys/wdog.h
_MODES = {"kernel": KERNEL, "user": USER, "external": EXTERNAL, "disarm": DISARMED}
_DEFAULT_PERIOD = 0xFFFFFFFF
_NO_ONE = -1


class _Fields:
    """Offsets of struct sysmon_wdog: a name, two links, a cookie, two functions, four numbers."""

    def __init__(self, word: int) -> None:
        self.setmode = 4 * word
        self.tickle = 5 * word
        self.period = 6 * word
        self.mode = self.period + 4
        self.references = self.period + 8
        self.tickler = self.period + 12


@dataclass(eq=False)
class Watchdog:
    """A registered watchdog; while it is armed it has a reference."""

    address: int
    made_at: int
    name: str
    references: int = 0
    changed: WaitQueue = field(default_factory=lambda: WaitQueue("wdogref"))


class Watchdogs(Subject):
    """All watchdogs, and the one that is armed."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/dev/sysmon/sysmon_wdog.c 1.30": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"sysmon_wdog_list_mtx": "*"}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[Watchdog] = LiveObjects(
            self,
            Words("watchdog", "registered", "unregistered"),
            unknown="wdog-unknown",
            left="wdog-left",
            name=lambda watchdog: repr(watchdog.name),
        )
        self.armed: Watchdog | None = None
        self._word = kernel.memory.pointer_size
        self._fields = _Fields(self._word)
        self._mutex: Mutex | None = None
        self._timer: Timer | None = None

    @kernel_function("int sysmon_wdog_register(struct sysmon_wdog *smw)")
    def sysmon_wdog_register(self, address: int) -> int:
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("sysmon_wdog_register")
        name = memory.string(memory.pointer(address))
        if any(each.name == name for each in self.live.values()):
            return Errno.EEXIST
        memory.put_u32(address + self._fields.mode, DISARMED)
        memory.put_u32(address + self._fields.tickler, _NO_ONE)
        memory.put_u32(address + self._fields.references, 0)
        self.live.add("sysmon_wdog_register", address, Watchdog(address, kernel.call_site, name))
        return 0

    @kernel_function("int sysmon_wdog_unregister(struct sysmon_wdog *smw)")
    def sysmon_wdog_unregister(self, address: int) -> Model:
        """Wait until it is disarmed, or until a signal: then it stays registered (EINTR)."""
        self.kernel.rules.may_sleep("sysmon_wdog_unregister")
        watchdog = self.live.find("sysmon_wdog_unregister", address)
        while watchdog.references:
            if (yield Block(watchdog.changed, what="wdogref", signal=True)) is None:
                return Errno.EINTR
        self.live.remove(address)
        return 0

    @kernel_function("int sysmon_wdog_setmode(struct sysmon_wdog *smw, int mode, u_int period)")
    def sysmon_wdog_setmode(self, address: int, mode: int, period: int) -> Model:
        """Arm or disarm it; the driver gets the new mode and period, and may refuse them."""
        memory, fields = self.kernel.memory, self._fields
        watchdog = self.live.find("sysmon_wdog_setmode", address)
        before = memory.u32(address + fields.mode), memory.u32(address + fields.period)
        memory.put_u32(address + fields.mode, mode)
        memory.put_u32(address + fields.period, period)
        error: int = 0
        if mode == DISARMED and self.armed is not watchdog:
            error = Errno.EINVAL
        elif mode != DISARMED and self.armed is not None:
            error = Errno.EBUSY
        if not error:
            error = yield from self._call(address, fields.setmode)
        if error:
            memory.put_u32(address + fields.mode, before[0])
            memory.put_u32(address + fields.period, before[1])
            return error
        armed = mode != DISARMED
        self.armed = watchdog if armed else None
        self._count(watchdog, 1 if armed else -1)
        if not armed:
            memory.put_u32(address + fields.tickler, _NO_ONE)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif mode == KERNEL:
            self._schedule(watchdog)
        return 0

    def _count(self, watchdog: Watchdog, by: int) -> None:
        """Change the number of its users (sysmon_wdog_ref, sysmon_wdog_release)."""
        watchdog.references += by
        where = watchdog.address + self._fields.references
        self.kernel.memory.put_u32(where, watchdog.references)
        self.kernel.scheduler.wake_all(watchdog.changed)

    def _call(self, address: int, field: int) -> Model:
        """Call a function of the driver; returns its errno."""
        kernel = self.kernel
        held = list(kernel.current.held)
        function = kernel.memory.pointer(address + field)
        error = signed((yield Call(function, (address,))), 32)
        who = f"the watchdog's function {kernel.location(function)}"
        same_locks(kernel, held, who, "callback-with-mutex")
        return error

    def _lock(self) -> Model:
        """Take sysmon_wdog_mtx, an adaptive mutex: the driver's functions run with it."""
        mutexes = self.kernel.subject(Mutexes)
        if self._mutex is None:
            self._mutex = mutexes.own(self.kernel.memory.place(bytes(self._word)))
        yield from mutexes.mutex_enter(self._mutex.address) or ()

    def _unlock(self) -> None:
        assert self._mutex is not None
        self.kernel.subject(Mutexes).release(self._mutex)

    def _schedule(self, watchdog: Watchdog) -> None:
        """Tickle it after half a period (callout_reset)."""
        clock = self.kernel.clock
        seconds = self.kernel.memory.u32(watchdog.address + self._fields.period)
        soft = self.kernel.subject(SoftInterrupts)
        here = self.kernel.here
        self._timer = clock.at(
            clock.now + seconds * SECOND // 2, lambda: soft.schedule(self._kernel_tickle, here)
        )

    def _kernel_tickle(self) -> Model:
        """sysmon_wdog_ktickle(): in a callout with the kernel lock, which must not sleep."""
        kernel = self.kernel
        big = kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        yield from self._lock()
        watchdog = self.armed
        if watchdog is not None:
            if (yield from self._call(watchdog.address, self._fields.tickle)):
                kernel.subject(Console).print(
                    f"WARNING: KERNEL TICKLE OF WATCHDOG {watchdog.name} FAILED!\n"
                )
            self._schedule(watchdog)
        self._unlock()
        big.unlock(1)

    def shutdown(self) -> Model:
        """sysmon_wdog_shutdown(), a hook of cpu_reboot(): disarm, without the lock.

        If a driver refuses, the machine may reset while it is off.
        """
        watchdog = self.armed
        if watchdog is None:
            return
        period = self.kernel.memory.u32(watchdog.address + self._fields.period)
        if (yield from self.sysmon_wdog_setmode(watchdog.address, DISARMED, period)):
            self.kernel.subject(Console).print(
                f"WARNING: FAILED TO SHUTDOWN WATCHDOG {watchdog.name}!\n"
            )

    # -- wdogctl(8) --------------------------------------------------------------------------

    def control(self, name: str, mode: str, period: int | None) -> Model:
        """Execute a request of wdogctl for a watchdog; returns an errno.

        WDOGIOC_SMODE and WDOGIOC_TICKLE of sysmonioctl_wdog().
        """
        memory = self.kernel.memory
        watchdog = next((each for each in self.live.values() if each.name == name), None)
        yield from self._lock()
        error: int = Errno.ESRCH
        if mode == "tickle":
            if self.armed is not None:
                error = yield from self._call(self.armed.address, self._fields.tickle)
        elif watchdog is not None:
            self._count(watchdog, 1)
            seconds = _DEFAULT_PERIOD if period is None else period
            if mode == "disarm":
                seconds = memory.u32(watchdog.address + self._fields.period)
            error = yield from self.sysmon_wdog_setmode(watchdog.address, _MODES[mode], seconds)
            self._count(watchdog, -1)
        self._unlock()
        return error
