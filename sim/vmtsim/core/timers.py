"""Timers by virtual time: the heap behind the kernel's clock and the host's."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """An action that is due at a time.  ``cancel`` may be called at any time."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Prevent the action, unless it has run."""
        self.action = None

    @property
    def pending(self) -> bool:
        """Whether the action is still to come."""
        return self.action is not None


class TimerHeap:
    """Timers in virtual nanoseconds; equal times fire in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = 0

    def push(self, at: int, action: Callable[[], None]) -> Timer:
        """Call ``action`` once ``at`` has come."""
        timer = Timer(at, action)
        heapq.heappush(self._heap, (at, self._count, timer))
        self._count += 1
        return timer

    def next(self) -> int | None:
        """Return the time of the next pending timer, or None."""
        heap = self._heap
        while heap:
            at, _count, timer = heap[0]
            if timer.action is not None:
                return at
            heapq.heappop(heap)
        return None

    def fire(self, now: Callable[[], int]) -> bool:
        """Run all actions that are due, and those they set for now; return whether any ran."""
        fired = False
        while (at := self.next()) is not None and at <= now():
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                action()
                fired = True
        return fired
