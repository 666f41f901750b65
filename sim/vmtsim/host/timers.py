"""Things that the host does later: a heap of times, driven by the simulator's clock."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """A call in the future.  ``cancel`` takes it back; it may be called at any time."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Never call the action, if it was not called yet."""
        self.action = None

    @property
    def pending(self) -> bool:
        """Whether the action is still to come."""
        return self.action is not None


class Timers:
    """Timers in virtual nanoseconds; equal times fire in the order in which they were set."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = 0

    def after(self, delay: int, action: Callable[[], None]) -> Timer:
        """Call ``action`` in ``delay`` nanoseconds (0: at the next chance)."""
        timer = Timer(self.now() + max(delay, 0), action)
        heapq.heappush(self._heap, (timer.at, self._count, timer))
        self._count += 1
        return timer

    def next(self) -> int | None:
        """Return the time of the next pending timer, or None."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def advance(self) -> None:
        """Fire all that is due now, including what the fired ones set for now."""
        while (at := self.next()) is not None and at <= self.now():
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                action()
