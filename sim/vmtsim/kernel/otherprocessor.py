"""Actions of another processor while a kernel thread runs certain guest code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.cpu import EXIT_SLOT, PREEMPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.dispatch import Dispatch, Entry
    from vmtsim.kernel.lwp import Lwp, WaitQueue


@dataclass(slots=True)
class OtherProcessorAction:
    """An action of another processor while a kernel thread runs guest code.

    It happens when the thread has called one of the functions ``after``, then ``calls`` other
    functions of the kernel, and then has run ``instructions``, or fewer up to the next
    call: the thread that sleeps on ``queue`` wakes, and runs next.
    """

    after: frozenset[str]
    calls: int
    instructions: int
    queue: WaitQueue
    lwp: Lwp | None = None  # the thread, once it has called the first function


class Elsewhere:
    """All planned actions, in order; ``due`` is the first."""

    def __init__(self, dispatch: Dispatch, wake: Callable[[WaitQueue], Lwp | None]) -> None:
        self.planned: list[OtherProcessorAction] = []
        self._dispatch = dispatch
        self._wake = wake

    def called(self, lwp: Lwp, entry: Entry) -> None:
        """Check whether another processor has to act soon after this call."""
        first = self.planned[0]
        if lwp.kind == "kthread" and entry.name in first.after:
            first.lwp = lwp
        elif lwp is not first.lwp:
            return
        else:
            first.calls -= 1
        if first.calls <= 0:
            lwp.instructions = first.instructions

    def happens(self, lwp: Lwp, slot: int) -> tuple[bool, Lwp | None]:
        """Run it at this instruction, or instead of this call: whether it ran, and who woke."""
        lwp.instructions = 0
        if not self.planned:
            return False, None
        entry = self._dispatch.entries[slot] if slot not in {EXIT_SLOT, PREEMPTED} else None
        if entry is not None and entry.name in self.planned[0].after:
            return False, None
        return True, self._wake(self.planned.pop(0).queue)
