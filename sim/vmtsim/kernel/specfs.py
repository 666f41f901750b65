"""State of a device node in specfs: opens, calls in progress, and a close in progress.

NetBSD sys/miscfs/specfs/spec_vnops.c 1.219 (spec_open, spec_close, spec_io_enter, spec_io_drain).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


@dataclass(eq=False)
class SpecialNode:
    """One device number (struct specdev)."""

    kernel: Kernel
    opens: int = 0  # sd_opencnt: including those whose d_open has not returned yet
    opened: bool = False  # sd_opened: d_open succeeded since the last close
    closing: bool = False  # sd_closing
    calls: int = 0  # I/O references
    queue: WaitQueue = field(default_factory=lambda: WaitQueue("specio"))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold an I/O reference: the node is not closed before it is released."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
            self.kernel.scheduler.wake_all(self.queue)

    def drain(self) -> Model:
        """Wait until no call is in the driver."""
        while self.calls:
            yield Block(self.queue, what=self.queue.name)

    def wait_for_close(self) -> Model:
        """Wait for a close in progress; returns False on a signal."""
        while self.closing:
            woken = yield Block(self.queue, what=self.queue.name, signal=True)
            if woken is None:
                return False
        return True

    def release(self) -> bool:
        """Remove one open; returns whether it was the last: then the driver has to be closed."""
        self.opens -= 1
        if self.opens:
            return False
        self.opened = False
        self.closing = True
        return True

    def closed(self) -> None:
        """End the close that ``release`` started."""
        self.closing = False
        self.kernel.scheduler.wake_all(self.queue)
