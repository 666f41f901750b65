"""The wall clock as the host's time."""

from __future__ import annotations

import time


class WallClock:
    """Nanoseconds of real time since its creation: the ``now`` of ``Host`` and ``Trace``."""

    def __init__(self) -> None:
        self._start = time.monotonic_ns()

    def __call__(self) -> int:
        """Return the nanoseconds since the start."""
        return time.monotonic_ns() - self._start
