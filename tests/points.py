"""An action on a driver at any point: the n-th kernel call or trap of one of its threads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmtsim.kernel.dispatch import Entry
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp


class Points:
    """Counts the calls and traps of the threads whose names begin with ``device``.

    At number ``point`` (None: never) ``act`` is called, which may start a process; after that
    threads switch as often as they can.
    """

    def __init__(
        self, kernel: Kernel, device: str, point: int | None, act: Callable[[], object]
    ) -> None:
        self.count = 0
        self.reached = False
        self._device, self._point, self._act = device, point, act
        self._scheduler = kernel.scheduler
        self._trap: Callable[[int], None] = kernel.cpu.on_trap
        kernel.scheduler.on_call, kernel.cpu.on_trap = self._called, self._trapped

    def stop(self) -> int:
        """Count no more calls; return how many points there were.

        Raises AssertionError where there were fewer than ``point``.
        """
        self._scheduler.on_call = None
        assert self._point is None or self.reached, f"point {self._point} of {self.count}"
        self._point = None
        return self.count

    def _passed(self) -> None:
        lwp = self._scheduler.current
        if lwp is None or not lwp.name.startswith(self._device):
            return
        self.count += 1
        if self.count == self._point:
            self.reached = True
            self._act()
            self._scheduler.choice.switch_odds = 1

    def _called(self, _lwp: Lwp, _entry: Entry) -> None:
        self._passed()

    def _trapped(self, pc: int) -> None:
        self._passed()
        self._trap(pc)


def sweep(name: str, points: Iterable[int], play: Callable[[int], object]) -> tuple[int, int]:
    """Play each point and print those that fail; return how many were tried and how many failed."""
    tried = failed = 0
    for point in points:
        tried += 1
        try:
            play(point)
        except Exception as error:
            failed += 1
            sys.stdout.write(f"{name}, point {point}: {error!r}\n")
    return tried, failed
