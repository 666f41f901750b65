"""Virtual time: nanoseconds since power-on, and the timers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.core.timers import TimerHeap

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.timers import Timer

HZ = 100
TICK = 1_000_000_000 // HZ  # nanoseconds
SECOND = 1_000_000_000
NEVER = 1 << 62


class Clock:
    """Virtual time and its timers.  ``now`` moves only by ``advance`` and by costs of calls."""

    def __init__(self) -> None:
        self.now = 0
        self.next_due = NEVER
        self._timers = TimerHeap()

    @property
    def ticks(self) -> int:
        """Clock interrupts since boot (hz = 100)."""
        return self.now // TICK

    def tick_deadline(self, ticks: int) -> int:
        """Return when a timeout of ``ticks`` that starts now fires: at that many next ticks."""
        return (self.now // TICK + ticks) * TICK

    def at(self, when: int, action: Callable[[], None]) -> Timer:
        """Call ``action`` at ``when`` (at the next check if that is past)."""
        self.next_due = min(self.next_due, when)
        return self._timers.push(when, action)

    def fire(self) -> bool:
        """Run the timers that are due; returns whether any was."""
        fired = self._timers.fire(lambda: self.now)
        self.next_timer()
        return fired

    def next_timer(self) -> int:
        """Return when the next live timer is due, or NEVER."""
        at = self._timers.next()
        self.next_due = NEVER if at is None else at
        return self.next_due
