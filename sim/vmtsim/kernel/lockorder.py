"""The order in which locks are taken: a cycle is a deadlock that has not happened yet.

A lock that a thread waits for while it holds others comes after them.  Two threads that do so in a
cycle will at some time wait for each other forever; the order alone shows it, in the first run
without a deadlock, like Linux's lockdep (Documentation/locking/lockdep-design.rst).  NetBSD's
LOCKDEBUG does not check the order.

Locks that the same call of mutex_init or rw_init made are of one class, such as the lock of every
unit of a driver; locks of one class differ by address.  A lock that a thread only tries
waits for nothing. KERNEL_LOCK is released by a waiting thread, and has no order
(sys/kern/kern_lock.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Subject

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp


class Lock(Protocol):
    """The common part of a mutex and a reader/writer lock."""

    address: int
    made_at: int


@dataclass(frozen=True)
class Edge:
    """A thread took ``first`` at one place and requested ``second`` at another."""

    first: str
    second: str
    thread: str
    taken: Place
    requested: Place

    def __str__(self) -> str:
        return (
            f"{self.thread} takes {self.second} at {self.requested} with {self.first} held, which "
            f"it took at {self.taken}"
        )


class LockOrder(Subject):
    """The observed lock order of this run."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._behind: dict[Hashable, dict[Hashable, Edge]] = {}
        self._reported: set[frozenset[Hashable]] = set()

    def waits(self, lwp: Lwp, lock: Lock, site: int) -> None:
        """Record that a thread waits for ``lock``, or would wait if another thread held it."""
        for held in lwp.held:
            if held is not lock:
                self._note(lwp, held, held.taken_at, lock, site)
        for held, taken_at in lwp.rwlocks.items():
            if held is not lock:
                self._note(lwp, held, taken_at, lock, site)

    def _note(self, lwp: Lwp, held: Lock, taken_at: int, lock: Lock, site: int) -> None:
        first: Hashable = held.made_at or held.address  # the kernel's own locks have no maker
        second: Hashable = lock.made_at or lock.address
        if first == second:
            first, second = (first, held.address), (second, lock.address)
        behind = self._behind.setdefault(first, {})
        if second in behind:
            return
        kernel = self.kernel
        behind[second] = edge = Edge(
            self._name(held),
            self._name(lock),
            lwp.name,
            kernel.location(taken_at),
            kernel.location(site),
        )
        back = self._path(second, first)
        if back is None:
            return
        ring = frozenset({first, second})
        if ring in self._reported:
            return
        self._reported.add(ring)
        before = "; ".join(str(each) for each in back)
        kernel.violation("lock-order", f"{edge}; in this run also: {before}", edge.requested)

    def _path(self, start: Hashable, goal: Hashable) -> list[Edge] | None:
        """Return the shortest chain of edges from a lock to another; None if there is none."""
        came: dict[Hashable, tuple[Hashable, Edge] | None] = {start: None}
        todo = [start]
        while todo:
            at = todo.pop(0)
            if at == goal:
                edges: list[Edge] = []
                step = came[at]
                while step is not None:
                    edges.insert(0, step[1])
                    step = came[step[0]]
                return edges
            for then, edge in self._behind.get(at, {}).items():
                if then not in came:
                    came[then] = (at, edge)
                    todo.append(then)
        return None

    def _name(self, lock: Lock) -> str:
        kernel = self.kernel
        if not lock.made_at:
            return f"a lock of the kernel's own at {kernel.describe(lock.address)}"
        return (
            f"the lock at {kernel.describe(lock.address)} (made by {kernel.location(lock.made_at)})"
        )
