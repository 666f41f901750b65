"""Time as the guest sees it: uptime, the settable real time, and its slewing.

Sources: NetBSD sys/kern/kern_tc.c, kern_time.c, kern_ntptime.c.  adjtime(2) changes the clock by
500 microseconds in a second, by 5 ms a second while more than one second is left to correct.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.clock import HZ, SECOND, TICK
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import Kauth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel

_CLOCK_REALTIME = 0
_LAST_SECOND = 1 << 36  # settime1: beyond it lies what cannot be meant
_SLEW_FAST, _SLEW_SLOW = 5_000_000, 500_000  # nanoseconds in a second
_FAST_ABOVE = 1_000_000_000


class TimeKeeping(Subject):
    """The guest's clocks.  ``rate_ppm`` is how much too fast its oscillator runs."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_tc.c 1.77": "*",
        "sys/kern/kern_time.c 1.227": "adjtime1 clock_settime1",
        "sys/kern/kern_clock.c 1.151": "getticks",
        "sys/arch/x86/isa/clock.c 1.41": "i8254_delay",
        "sys/arch/evbarm/fdt/fdt_machdep.c 1.108": "delay",
        "sys/kern/kern_todr.c 1.47": "resettodr",
        "sys/kern/subr_time_arith.c 1.1": "tvtohz",
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.rtc_epoch = 0  # nanoseconds since 1970 that the clock chip shows at power-on
        self.rate_ppm = 0
        self.boot_offset = 0  # real time minus uptime, by steps and by slewing that is over
        self._pending = 0  # correction that adjtime still owes, in nanoseconds
        self._slew_from = 0  # uptime up to which the correction is in boot_offset
        self.steps: list[tuple[int, int]] = []  # (virtual ns, by how much)
        self.slews: list[tuple[int, int]] = []

    def data(self) -> Iterator[DataSymbol]:
        """Hz and its relatives."""
        for name, value in (("hz", HZ), ("tick", 1_000_000 // HZ), ("stathz", 0)):
            yield DataSymbol(name, value.to_bytes(4, "little"))
        yield DataSymbol("time_adjusted", bytes(4))
        yield DataSymbol("cold", bytes(4))
        if self.kernel.cpu.machine != "aarch64":
            yield DataSymbol("delay_func", bytes(self.kernel.memory.pointer_size))

    def boot(self) -> None:
        """Choose the way in which x86 delays."""
        if "delay_func" in self.kernel.symbols:
            target = self.kernel.dispatch.resolve("i8254_delay")
            self.kernel.memory.put_pointer(self.kernel.symbols["delay_func"], target or 0)

    def set_rtc(self, nanoseconds: int) -> None:
        """Set the time at power-on, from which real time starts."""
        self.rtc_epoch = nanoseconds
        self.boot_offset = nanoseconds

    # -- the clocks --------------------------------------------------------------------------

    def uptime(self) -> int:
        """Nanoseconds since boot, by the guest's own oscillator."""
        now = self.kernel.clock.now
        return now + now * self.rate_ppm // 1_000_000 if self.rate_ppm else now

    def realtime(self) -> int:
        """Nanoseconds since 1970 as the guest believes."""
        up = self.uptime()
        share = self._slewed(up)  # moves boot_offset, too
        return up + self.boot_offset + share

    def _slewed(self, up: int) -> int:
        """Work off what adjtime owes; returns the share of the running second."""
        if not self._pending:
            self._slew_from = up
            return 0
        while True:
            share = self._share()
            if up - self._slew_from < SECOND:
                return share * (up - self._slew_from) // SECOND
            self.boot_offset += share
            self._pending -= share
            self._slew_from += SECOND
            if not self._pending:
                self._slew_from = up
                return 0

    def _share(self) -> int:
        """How much of the correction the running second takes."""
        rate = _SLEW_FAST if abs(self._pending) > _FAST_ABOVE else _SLEW_SLOW
        return max(-rate, min(rate, self._pending))

    def _set(self, nanoseconds: int, how: str) -> None:
        before = self.realtime()
        self.boot_offset += nanoseconds - before
        self.steps.append((self.kernel.clock.now, nanoseconds - before))
        self.kernel.trace.emit("clock.step", by=nanoseconds - before, how=how)

    def _adjust(self, nanoseconds: int) -> int:
        """Replace the pending correction; returns the old one."""
        up = self.uptime()
        done = self._slewed(up)
        old = self._pending - done
        self.boot_offset += done
        self._pending = nanoseconds
        self._slew_from = up
        if nanoseconds:
            self.slews.append((self.kernel.clock.now, nanoseconds))
            self.kernel.trace.emit("clock.slew", by=nanoseconds)
        return old

    # -- functions ---------------------------------------------------------------------------

    @kernel_function("void nanotime(struct timespec *ts)")
    def nanotime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.realtime())

    @kernel_function("void getnanotime(struct timespec *ts)")
    def getnanotime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.realtime() // TICK * TICK)

    @kernel_function("void nanouptime(struct timespec *ts)")
    def nanouptime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.uptime())

    @kernel_function("void getnanouptime(struct timespec *ts)")
    def getnanouptime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.uptime() // TICK * TICK)

    @kernel_function("void microtime(struct timeval *tv)")
    @kernel_function("void getmicrotime(struct timeval *tv)")
    def microtime(self, where: int) -> None:
        self.kernel.memory.put_timeval(where, self.realtime() // 1000)

    @kernel_function("void microuptime(struct timeval *tv)")
    @kernel_function("void getmicrouptime(struct timeval *tv)")
    def microuptime(self, where: int) -> None:
        self.kernel.memory.put_timeval(where, self.uptime() // 1000)

    @kernel_function("void getnanoboottime(struct timespec *ts)")
    def getnanoboottime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.realtime() - self.uptime())

    @kernel_function("int getticks(void)")
    def getticks(self) -> int:
        return self.kernel.clock.ticks

    @kernel_function("int tvtohz(const struct timeval *tv)")
    def tvtohz(self, where: int) -> int:
        seconds, micro = self.kernel.memory.timeval(where)
        total = seconds * 1_000_000 + micro
        return 0 if total <= 0 else min(-(-total // (1_000_000 // HZ)) + 1, 0x7FFFFFFF)

    def _timespec(self, where: int) -> int | None:
        """Return a struct timespec as nanoseconds, None if it is not in its range."""
        seconds, nanoseconds = self.kernel.memory.timespec(where)
        return seconds * SECOND + nanoseconds if 0 <= nanoseconds < SECOND else None

    @kernel_function(
        "int clock_settime1(struct proc *p, clockid_t clock_id, const struct timespec *tp, "
        "bool check_kauth)"
    )
    def clock_settime1(self, _proc: int, which: int, where: int, check: bool) -> int:
        self.kernel.rules.may_sleep("clock_settime1")
        value = self._timespec(where)
        # CLOCK_MONOTONIC cannot be set, and no other clock is known.
        if which != _CLOCK_REALTIME or value is None:
            return Errno.EINVAL
        if not 0 <= value // SECOND <= _LAST_SECOND:
            return Errno.EINVAL
        kauth = self.kernel.subject(Kauth)
        if check and not kauth.may_set_time(value, value - self.realtime()):
            return Errno.EPERM
        self._set(value, "clock_settime1")
        return 0

    @kernel_function("void tc_setclock(const struct timespec *ts)")
    def tc_setclock(self, where: int) -> None:
        value = self._timespec(where)
        if value is None:
            kernel = self.kernel
            kernel.panic(
                "timespec-range",
                f"tc_setclock by {kernel.where()}: nanoseconds outside of 0 to 999999999",
            )
        self._set(value, "tc_setclock")

    @kernel_function(
        "void adjtime1(const struct timeval *delta, struct timeval *olddelta, struct proc *p)"
    )
    def adjtime1(self, delta: int, old_at: int, _proc: int) -> None:
        memory = self.kernel.memory
        if delta:
            seconds, micro = memory.timeval(delta)
            old = self._adjust((seconds * 1_000_000 + micro) * 1000)
        else:
            old = self._pending - self._slewed(self.uptime())
        if old_at:
            memory.put_timeval(old_at, old // 1000)

    @kernel_function("void resettodr(void)")
    def resettodr(self) -> None:
        self.kernel.rules.may_sleep("resettodr")

    # On x86 delay() goes through the variable delay_func.
    @kernel_function("void i8254_delay(unsigned int us)", machines=("amd64", "i386"))
    @kernel_function("void delay(unsigned int us)", machines=("aarch64",))
    def delay(self, microseconds: int) -> None:
        self.kernel.clock.now += microseconds * 1000
        if self.kernel.scheduler.current is not None:
            self.kernel.rules.busy()
