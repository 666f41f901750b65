"""time__uptime and time__second, which the kernel's headers read without a call.

getuptime() and gettime() of sys/sys/timevar.h are inline; tc_windup() in kern_tc.c stores them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import DataSymbol, Subject
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.timekeeping import TimeKeeping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.loaded import Loaded

# Interval at which real time is stored, in virtual ns: a step of the clock is visible that much
# later.
_OFTEN = SECOND // 10


class CachedTimes(Subject):
    """The seconds as variables, kept up to date if a module reads them."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_tc.c 1.77": "*"}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._kept: dict[str, Callable[[], None]] = {
            "time__uptime": self._uptime,
            "time__second": self._second,
        }

    def data(self) -> Iterator[DataSymbol]:
        """Yield them: 64-bit time_t, 1 at boot."""
        for name in self._kept:
            yield DataSymbol(name, (1).to_bytes(8, "little"), align=64)

    def install(self, loaded: Loaded) -> None:
        """Start to update them when the first module that reads them is loaded."""
        for name in set(self._kept) & set(loaded.module.imports):
            self._kept.pop(name)()

    def _uptime(self) -> None:
        clock = self.kernel.clock
        seconds = clock.now // SECOND + 1
        self.kernel.memory.put_u64(self.kernel.symbols["time__uptime"], seconds)
        clock.at(seconds * SECOND, self._uptime)

    def _second(self) -> None:
        clock = self.kernel.clock
        seconds = self.kernel.subject(TimeKeeping).realtime() // SECOND
        self.kernel.memory.put_u64(self.kernel.symbols["time__second"], seconds)
        clock.at((clock.now // _OFTEN + 1) * _OFTEN, self._second)
