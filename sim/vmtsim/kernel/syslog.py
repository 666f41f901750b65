"""log(9) and the rate limits (NetBSD sys/kern/subr_prf.c, kern_time.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.clock import TICK
from vmtsim.kernel.console import Console
from vmtsim.kernel.printf import kprintf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.marshal import Arguments

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

_RULE = "suspended-logs"
_WHY = "syslogd(8) writes it there and waits, and so does every caller of syslog(3)"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A message of log(9); ``level`` as in syslog(3)."""

    at: int
    level: str
    text: str


class SysLog(Subject):
    """The log that syslogd reads.  Without a reader, log(9) writes to the console instead."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_prf.c 1.203": "*",
        "sys/kern/kern_rate.c 1.2": "ppsratecheck ratecheck",
    }
    # As for printf(9): Console.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.lines: list[LogLine] = []
        self.reader = True
        self._line = ""

    @kernel_function("void log(int level, const char *fmt, ...)")
    @kernel_function("void vlog(int level, const char *fmt, va_list ap)")
    def log(self, level: int, text: str | None, arguments: Arguments) -> None:
        self.kernel.rules.not_suspending(_RULE, "log", _WHY)
        self._add(LEVELS[level & 7], kprintf(self.kernel.memory, text or "", arguments))

    @kernel_function("void addlog(const char *fmt, ...)")
    @kernel_function("void printf_tolog(const char *fmt, ...)")
    def addlog(self, text: str | None, arguments: Arguments) -> None:
        self.kernel.rules.not_suspending(_RULE, "addlog", _WHY)
        self._add("info", kprintf(self.kernel.memory, text or "", arguments))

    def _add(self, level: str, text: str) -> None:
        if not self.reader:
            self.kernel.subject(Console).print(text)
        for line in text.splitlines():
            self.lines.append(LogLine(self.kernel.clock.now, level, line))
            self.kernel.trace.emit("log", level=level, text=line)

    @kernel_function("int ratecheck(struct timeval *lasttime, const struct timeval *mininterval)")
    def ratecheck(self, last: int, interval: int) -> bool:
        """True at the first call and when the interval has passed since the last true result."""
        memory = self.kernel.memory
        now = self.kernel.clock.ticks * TICK // 1000  # getmicrouptime()
        seconds, micro = memory.timeval(last)
        minimum_seconds, minimum_micro = memory.timeval(interval)
        delta = now - (seconds * 1_000_000 + micro)
        never = not seconds and not micro
        if never or delta >= minimum_seconds * 1_000_000 + minimum_micro:
            memory.put_timeval(last, now)
            return True
        return False

    @kernel_function("int ppsratecheck(struct timeval *lasttime, int *curpps, int maxpps)")
    def ppsratecheck(self, last: int, current: int, limit: int) -> bool:
        """True for the first ``limit`` calls of each second; negative: no limit; 0: never."""
        memory = self.kernel.memory
        now = self.kernel.clock.ticks * TICK // 1000  # getmicrouptime()
        seconds, micro = memory.timeval(last)
        if (not seconds and not micro) or now - (seconds * 1_000_000 + micro) >= 1_000_000:
            memory.put_timeval(last, now)
            memory.put_u32(current, 0)
            allowed = limit != 0
        else:
            allowed = limit < 0 or memory.s32(current) < limit
        memory.put_u32(current, memory.s32(current) + 1)
        return allowed
