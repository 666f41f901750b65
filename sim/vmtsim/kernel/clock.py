"""Virtual time: nanoseconds since power-on, and what is due when."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HZ = 100
TICK = 1_000_000_000 // HZ  # nanoseconds
SECOND = 1_000_000_000
NEVER = 1 << 62


class Timer:
    """Something that is due at a time.  ``cancel`` makes it not happen."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Callable[[], None] | None) -> None:
        self.at = at
        self.action = action

    def cancel(self) -> None:
        """Make it not happen."""
        self.action = None


class Clock:
    """Virtual time and its timers.  ``now`` moves only by ``advance`` and by costs of calls."""

    def __init__(self) -> None:
        self.now = 0
        self.next_due = NEVER
        self._timers: list[tuple[int, int, Timer]] = []
        self._sequence = 0

    @property
    def ticks(self) -> int:
        """Clock interrupts since boot (hz = 100)."""
        return self.now // TICK

    def tick_deadline(self, ticks: int) -> int:
        """Return when a timeout of ``ticks`` that starts now fires: at that many next ticks."""
        return (self.now // TICK + ticks) * TICK

    def at(self, when: int, action: Callable[[], None]) -> Timer:
        """Call ``action`` at ``when`` (at once if that is past, at the next look)."""
        timer = Timer(when, action)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, timer))
        self.next_due = min(self.next_due, when)
        return timer

    def fire(self) -> bool:
        """Run what is due now; returns whether anything was."""
        fired = False
        timers = self._timers
        while timers and (timers[0][0] <= self.now or timers[0][2].action is None):
            timer = heapq.heappop(timers)[2]
            if timer.action is not None:
                action, timer.action = timer.action, None
                action()
                fired = True
        self.next_due = timers[0][0] if timers else NEVER
        return fired

    def next_timer(self) -> int:
        """Return when the next live timer is due, or NEVER."""
        timers = self._timers
        while timers and timers[0][2].action is None:
            heapq.heappop(timers)
        self.next_due = timers[0][0] if timers else NEVER
        return self.next_due
