"""The lock of sysctl(9)'s tree: readers for reads, one writer for writes and for changes.

Source: NetBSD sys/kern/kern_sysctl.c (sysctl_lock, sysctl_unlock, sysctl_relock).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.lwp import Lwp, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

# A handler that holds the lock of the whole tree for longer delays the whole system.
_PATIENCE = 5 * SECOND


class SysctlLock(Subject):
    """One lock for the whole tree; a handler runs under it, and may release it for a time."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_sysctl.c 1.271": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._writers_wait = 0
        self._writer: Lwp | None = None
        self._readers: list[Lwp] = []
        self._queue = WaitQueue("sysctl")
        self._given_up: dict[Lwp, tuple[bool, str]] = {}  # by sysctl_unlock

    def held(self) -> bool:
        """Whether the running thread holds it."""
        lwp = self.kernel.current
        return lwp is self._writer or lwp in self._readers

    def lock(self, function: str, *, write: bool) -> Model:
        """Take the tree's lock for the running thread."""
        lwp = self.kernel.current
        if self.held():
            self.kernel.panic(
                "sysctl-lock" if lwp is self._writer else "sysctl-lock-read",
                f"{function} by {self.kernel.where()} from a sysctl handler: locking against "
                "myself, the tree is locked for this call",
            )
        # As in a krwlock: readers wait after a waiting writer.
        while self._writer is not None or (self._readers if write else self._writers_wait):
            self._writers_wait += write
            yield Block(self._queue, what="sysctl")
            self._writers_wait -= write
        order = self.kernel.order
        order.takes(lwp, (self, True))
        if write:
            order.takes(lwp, (self, False))
            self._writer = lwp
        else:
            self._readers.append(lwp)
        lwp.sysctl_since = self.kernel.clock.now

    def unlock(self) -> None:
        """Release it."""
        lwp = self.kernel.current
        self.kernel.order.gives(lwp, (self, self._writer is lwp))
        if self._writer is lwp:
            self._writer = None
        else:
            self._readers.remove(lwp)
        self.kernel.scheduler.wake_all(self._queue)

    def release(self, what: str) -> tuple[bool, str]:
        """Release the lock of a call; returns whether it was for writing, and the node."""
        lwp = self.kernel.current
        if not self.held():
            self.kernel.panic(
                "sysctl-not-locked", f"{what}, which does not hold the lock of the tree"
            )
        write, node = lwp is self._writer, lwp.sysctl_node
        lwp.sysctl_node = ""
        self.unlock()
        held = self.kernel.clock.now - lwp.sysctl_since
        if held > _PATIENCE:
            self.kernel.violation(
                "sysctl-handler-blocks",
                f"the handler of {node} held the lock of the whole sysctl tree for "
                f"{held / 1e9:.1f} s",
            )
        return write, node

    @kernel_function("void sysctl_unlock(void)")
    def sysctl_unlock(self) -> None:
        lwp = self.kernel.current
        self._given_up[lwp] = self.release(f"sysctl_unlock by {self.kernel.where()}")

    @kernel_function("void sysctl_relock(void)")
    def sysctl_relock(self) -> Model:
        kernel = self.kernel
        lwp = kernel.current
        if lwp not in self._given_up:
            kernel.panic(
                "sysctl-not-locked",
                f"sysctl_relock by {kernel.where()} without sysctl_unlock",
            )
        write, node = self._given_up.pop(lwp)
        yield from self.lock("sysctl_relock", write=write)
        lwp.sysctl_node = node
