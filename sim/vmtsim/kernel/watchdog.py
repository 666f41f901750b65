"""sysmon_wdog(9): watchdogs, and wdogctl(8), which arms, tickles and disarms one.

The layout is that of struct sysmon_wdog in sys/dev/sysmon/sysmonvar.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.marshal import signed
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """A watchdog that is registered; while it is armed it has a reference."""

    address: int
    made_at: int
    name: str
    references: int = 0
    changed: WaitQueue = field(default_factory=lambda: WaitQueue("wdogref"))


class Watchdogs(Subject):
    """All watchdogs, and the one that is armed."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/dev/sysmon/sysmon_wdog.c 1.30": "*"}

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
        self._fields = _Fields(kernel.memory.pointer_size)

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
        """Arm or disarm it; the driver sees the new mode and period, and may refuse them."""
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
            function = memory.pointer(address + fields.setmode)
            error = signed((yield Call(function, (address,))), 32)
        if error:
            memory.put_u32(address + fields.mode, before[0])
            memory.put_u32(address + fields.period, before[1])
            return error
        armed = mode != DISARMED
        self.armed = watchdog if armed else None
        watchdog.references += 1 if armed else -1
        memory.put_u32(address + fields.references, watchdog.references)
        if not armed:
            memory.put_u32(address + fields.tickler, _NO_ONE)
            self.kernel.scheduler.wake_all(watchdog.changed)
        elif mode == KERNEL:
            lwp = self.kernel.spawn("wdogtickle", "kthread", self._tickle_for_ever(watchdog))
            lwp.address = self.kernel.subject(Objects).new_lwp("wdogtickle")
        return 0

    def _tickle_for_ever(self, watchdog: Watchdog) -> Model:
        """sysmon_wdog_ktickle(): twice in a period, while it is armed."""
        kernel, memory = self.kernel, self.kernel.memory
        while self.armed is watchdog:
            seconds = memory.u32(watchdog.address + self._fields.period)
            yield Block(watchdog.changed, kernel.clock.now + seconds * SECOND // 2, "wdogtickle")
            if self.armed is watchdog and (yield from self._tickle(watchdog)):
                kernel.subject(Console).print(
                    f"WARNING: KERNEL TICKLE OF WATCHDOG {watchdog.name} FAILED!\n"
                )

    def _tickle(self, watchdog: Watchdog) -> Model:
        function = self.kernel.memory.pointer(watchdog.address + self._fields.tickle)
        return signed((yield Call(function, (watchdog.address,))), 32)

    # -- wdogctl(8) --------------------------------------------------------------------------

    def control(self, name: str, mode: str, period: int | None) -> Model:
        """Do what wdogctl does with a watchdog; gives an errno.

        WDOGIOC_SMODE and WDOGIOC_TICKLE of sysmonioctl_wdog().
        """
        watchdog = next((each for each in self.live.values() if each.name == name), None)
        if mode == "tickle":
            return Errno.ESRCH if self.armed is None else (yield from self._tickle(self.armed))
        if watchdog is None:
            return Errno.ESRCH
        memory = self.kernel.memory
        if mode == "disarm":
            seconds = memory.u32(watchdog.address + self._fields.period)
        else:
            seconds = _DEFAULT_PERIOD if period is None else period
        return (yield from self.sysmon_wdog_setmode(watchdog.address, _MODES[mode], seconds))
