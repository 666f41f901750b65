"""The wall clock as the host's time line."""

from __future__ import annotations

import time


class WallClock:
    """Nanoseconds of real time since it was made: what ``Host`` and ``Trace`` call now."""

    def __init__(self) -> None:
        self._start = time.monotonic_ns()

    def __call__(self) -> int:
        """Return the nanoseconds since the start."""
        return time.monotonic_ns() - self._start
