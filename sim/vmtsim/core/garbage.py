"""Disables Python's cycle collector during code that creates no cycles.

Kernel calls and traps create no reference cycles.  A simulation is one large
cycle of many thousand objects: while it lives, the collector would scan them without effect.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def collected_at_end() -> Iterator[None]:
    """Disable the collector in the block; at its end, collect only new objects."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(0)
