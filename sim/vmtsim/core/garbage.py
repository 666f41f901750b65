"""Python's collector of cycles, while something runs that makes none.

Kernel calls and traps make no reference cycles.  A simulation is one, of many thousand objects:
while it lives the collector goes through them again and again, and finds nothing.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def collected_at_end() -> Iterator[None]:
    """Collect nothing meanwhile; at the end, what is new alone, and is garbage by then."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(0)
