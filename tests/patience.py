"""The time that a test waits for an event.

No test depends on how fast anything is: it waits for the event itself, a line of output, a file, a
state, and ``HANG`` is the limit that only a hang reaches.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

# Seconds.  A machine that is ten times slower than usual, and busy, stays far below it.
HANG = 900.0


def until(look: Callable[[], _T], why: str = "") -> _T:
    """Call ``look`` until its result is true, and return the result; fails at the limit."""
    end = time.monotonic() + HANG
    while not (found := look()):
        assert time.monotonic() < end, f"never: {why or look}"
        time.sleep(0.02)
    return found
