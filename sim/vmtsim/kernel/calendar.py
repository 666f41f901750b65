"""Seconds and dates: clock_secs_to_ymdhms() of the time-of-day clocks (dev/clock_subr.c)."""

from __future__ import annotations

import struct
from datetime import date
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.errors import Errno

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = 86_400
_CYCLE = 146_097  # days in 400 years, after which the calendar repeats
_EPOCH = date(1970, 1, 1).toordinal()


class Calendar(Subject):
    """struct clock_ymdhms: 64 bits of the year, then month, day, weekday, hour, minute, second."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/dev/clock_subr.c 1.27": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    @kernel_function("int clock_secs_to_ymdhms(time_t secs, struct clock_ymdhms *dt)")
    def clock_secs_to_ymdhms(self, seconds: int, where: int) -> int:
        """Split seconds since 1970; EINVAL for a time before."""
        if seconds < 0:
            return Errno.EINVAL
        days, rest = divmod(seconds, _DAY)
        cycles, day = divmod(days, _CYCLE)
        then = date.fromordinal(_EPOCH + day)
        content = struct.pack(
            "<Q6B",
            then.year + 400 * cycles,
            then.month,
            then.day,
            (days + 4) % 7,
            rest // 3600,
            rest // 60 % 60,
            rest % 60,
        )
        self.kernel.memory.write(where, content)
        return 0
