"""Time as the guest sees it: uptime, the settable real time, and its slewing.

Sources: NetBSD sys/kern/kern_tc.c 1.77 (tc_windup, tc_setclock), kern_time.c 1.227 (adjtime1),
kern_ntptime.c 1.64 (ntp_update_second), subr_time_arith.c 1.1.  adjtime(2) changes the clock by 500
microseconds in a second, by 5 ms a second while more than one second is left to correct.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel import kauth
from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.clock import HZ, SECOND, TICK
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import Kauth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_CLOCK_REALTIME = 0
_LAST_SECOND = 1 << 36  # settime1: larger times are refused
_SLEW_FAST, _SLEW_SLOW = 5_000_000, 500_000  # nanoseconds in a second
_FAST_ABOVE = 1_000_000_000
# A step by more seconds than this counts as two turns of a second (LARGE_STEP).
_LARGE_STEP = 200


class TimeKeeping(Subject):
    """The guest's clocks.  ``rate_ppm`` is the error of its oscillator; positive is too fast.

    At each start of a second of real time the kernel takes the share of that second from the
    remaining adjustment of adjtime; it applies that share even if adjtime is called again during
    the second.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_tc.c 1.77": "*",
        "sys/kern/kern_time.c 1.227": "adjtime1 clock_settime1",
        "sys/kern/kern_clock.c 1.151": "getticks",
        "sys/arch/x86/isa/clock.c 1.41": "i8254_delay",
        "sys/arch/evbarm/fdt/fdt_machdep.c 1.108": "delay",
        "sys/kern/kern_todr.c 1.47": "resettodr",
        "sys/kern/subr_time_arith.c 1.1": "tvtohz",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {"timecounter_lock": "adjtime1 tc_setclock"}
    ACCESSES_DATA = (
        "adjtime1 clock_settime1 getmicrotime getmicrouptime getnanoboottime getnanotime "
        "getnanouptime microtime microuptime nanotime nanouptime tc_setclock tvtohz"
    )

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.rtc_epoch = 0  # nanoseconds since 1970 that the clock chip shows at power-on
        self.rate_ppm = 0
        self.boot_offset = 0  # real time minus uptime, by steps and by completed slewing
        self._owed = 0  # time_adjtime in ns, at the latest turn of a second that was processed
        self._share = 0  # th_adjustment: ns that the running second gains
        self._from = 0  # uptime up to which the gain is in boot_offset
        self._stepped = 0  # uptime of the latest step
        self.steps: list[tuple[int, int]] = []  # (virtual ns, by how much)
        self.slews: list[tuple[int, int]] = []

    def data(self) -> Iterator[DataSymbol]:
        """Yield hz and related variables."""
        for name, value in (("hz", HZ), ("tick", 1_000_000 // HZ), ("stathz", 0)):
            yield DataSymbol(name, value.to_bytes(4, "little"))
        yield DataSymbol("time_adjusted", bytes(4))
        yield DataSymbol("cold", bytes(4))
        if self.kernel.cpu.machine != "aarch64":
            yield DataSymbol("delay_func", bytes(self.kernel.memory.pointer_size))

    def boot(self) -> None:
        """Choose the delay function of x86."""
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

    @property
    def owed(self) -> int:
        """The remaining adjustment of adjtime, in ns, without the shares of seconds so far."""
        self._turn(self.uptime())
        return self._owed

    def realtime(self) -> int:
        """Nanoseconds since 1970 by the guest's clock."""
        up = self.uptime()
        if self._owed or self._share:
            self._turn(up)
            return up + self.boot_offset + self._share * (up - self._from) // SECOND
        return up + self.boot_offset

    def _turn(self, up: int) -> None:
        """Apply the adjustment of adjtime, from second to second of real time (tc_windup)."""
        while self._owed or self._share:
            left = SECOND - (self._from + self.boot_offset) % SECOND
            turn = self._from + -(-left * SECOND // (SECOND + self._share))
            if turn > up:
                return
            self.boot_offset += self._share * (turn - self._from) // SECOND
            self._from = turn
            self._next_second()

    def _next_second(self) -> None:
        """Take the share of a second from the remaining adjustment (ntp_update_second)."""
        rate = _SLEW_FAST if abs(self._owed) > _FAST_ABOVE else _SLEW_SLOW
        self._share = max(-rate, min(rate, self._owed))
        self._owed -= self._share

    def _settle(self) -> int:
        """Bring boot_offset up to now; returns the uptime."""
        up = self.uptime()
        self._turn(up)
        if up > self._from:
            self.boot_offset += self._share * (up - self._from) // SECOND
            self._from = up
        return up

    def step(self, nanoseconds: int) -> int:
        """Set real time; returns the difference (tc_setclock, tc_windup).

        Each second of a step forward takes its share of the remaining adjustment.
        """
        self._stepped = up = self._settle()
        before = up + self.boot_offset
        self.boot_offset += nanoseconds - before
        turns = nanoseconds // SECOND - before // SECOND
        for _ in range(2 if turns > _LARGE_STEP else max(turns, 0)):
            self._next_second()
        return nanoseconds - before

    def _set(self, nanoseconds: int, how: str) -> None:
        by = self.step(nanoseconds)
        self.steps.append((self.kernel.clock.now, by))
        self.kernel.trace.emit("clock.step", by=by, how=how)

    def adjust(self, nanoseconds: int) -> int:
        """Replace the remaining adjustment, as adjtime(2) of any process; returns the old one.

        The share of the running second stays.
        """
        self._settle()
        old, self._owed = self._owed, nanoseconds
        if nanoseconds:
            self.kernel.memory.put_u32(self.kernel.symbols["time_adjusted"], 1)
        return old

    def _windup(self) -> int:
        """Return the age of the times of the get*() functions, in ns of uptime."""
        up = self.uptime()
        return up - max(up // TICK * TICK, self._stepped)

    # -- functions ---------------------------------------------------------------------------

    # The get*() functions return the time of the last tick or the last step (tc_windup).

    @kernel_function("void nanotime(struct timespec *ts)")
    def nanotime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.realtime())

    @kernel_function("void getnanotime(struct timespec *ts)")
    def getnanotime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.realtime() - self._windup())

    @kernel_function("void nanouptime(struct timespec *ts)")
    def nanouptime(self, where: int) -> None:
        kernel = self.kernel
        kernel.memory.put_timespec(where, self.uptime() if self.rate_ppm else kernel.clock.now)

    @kernel_function("void getnanouptime(struct timespec *ts)")
    def getnanouptime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.uptime() - self._windup())

    @kernel_function("void microtime(struct timeval *tv)")
    def microtime(self, where: int) -> None:
        self.kernel.memory.put_timeval(where, self.realtime() // 1000)

    @kernel_function("void getmicrotime(struct timeval *tv)")
    def getmicrotime(self, where: int) -> None:
        self.kernel.memory.put_timeval(where, (self.realtime() - self._windup()) // 1000)

    @kernel_function("void microuptime(struct timeval *tv)")
    def microuptime(self, where: int) -> None:
        self.kernel.memory.put_timeval(where, self.uptime() // 1000)

    @kernel_function("void getmicrouptime(struct timeval *tv)")
    def getmicrouptime(self, where: int) -> None:
        self.kernel.memory.put_timeval(where, (self.uptime() - self._windup()) // 1000)

    @kernel_function("void getnanoboottime(struct timespec *ts)")
    def getnanoboottime(self, where: int) -> None:
        self.kernel.memory.put_timespec(where, self.realtime() - self.uptime())

    @kernel_function("int getticks(void)")
    def getticks(self) -> int:
        return self.kernel.clock.ticks

    @kernel_function("int tvtohz(const struct timeval *tv)")
    def tvtohz(self, where: int) -> int:
        seconds, micro = self.kernel.memory.timeval(where)
        if not 0 <= micro < 1_000_000:
            self.kernel.violation(
                "timeval-range",
                f"tvtohz by {self.kernel.where()}: {micro} microseconds",
            )
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
    def clock_settime1(self, _proc: int, which: int, where: int, check: bool) -> Model:
        self.kernel.rules.may_sleep("clock_settime1")
        value = self._timespec(where)
        # CLOCK_MONOTONIC cannot be set, and no other clock is known.
        if which != _CLOCK_REALTIME or value is None:
            return Errno.EINVAL
        if not 0 <= value // SECOND <= _LAST_SECOND:
            return Errno.EINVAL
        if check:
            delta = self.kernel.memory.scratch(16)
            self.kernel.memory.put_timespec(delta, value - self.realtime())
            asked = self.kernel.subject(Kauth).may(kauth.TIME, kauth.TIME_SYSTEM, where, delta)
            if not (yield from asked):
                return Errno.EPERM
        self._set(value, "clock_settime1")
        return 0

    @kernel_function("void tc_setclock(const struct timespec *ts)")
    def tc_setclock(self, where: int) -> None:
        value = self._timespec(where)
        if value is None:
            kernel = self.kernel
            kernel.violation(
                "timespec-range",
                f"tc_setclock by {kernel.where()}: nanoseconds outside of 0 to 999999999",
            )
            seconds, nanoseconds = kernel.memory.timespec(where)
            value = seconds * SECOND + nanoseconds
        self._set(value, "tc_setclock")

    @kernel_function(
        "void adjtime1(const struct timeval *delta, struct timeval *olddelta, struct proc *p)"
    )
    def adjtime1(self, delta: int, old_at: int, _proc: int) -> None:
        memory = self.kernel.memory
        if delta:
            seconds, micro = memory.timeval(delta)
            # Microseconds beyond a second are cut.
            adjustment = (seconds * 1_000_000 + max(-999_999, min(999_999, micro))) * 1000
            old = self.adjust(adjustment)
            if adjustment:
                self.slews.append((self.kernel.clock.now, adjustment))
                self.kernel.trace.emit("clock.slew", by=adjustment)
        else:
            self._settle()
            old = self._owed
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
