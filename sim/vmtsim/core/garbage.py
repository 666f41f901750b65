"""Pauses Python's cycle collector during code that creates no cycles.

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
def collector_paused() -> Iterator[None]:
    """Pause the collector in the block.

    Python counts the objects that the block creates, so a collection that is due follows the
    block.  No explicit one: it would set the count back to 0, and a process that runs many short
    simulations would never collect those that have ended.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
