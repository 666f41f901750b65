"""The administrator's use of a driver, step by step: the walkthrough of docs/guest.md.

It needs a host that answers, simulated or real: `vmtsim accept` in QEMU, or VMware itself.  If the
guest has Python, vmtctl does the same steps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.accept.guest import Guest, failure
from vmtsim.accept.verdict import BROKEN, HELD, NOT_JUDGED, Property

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmtsim.accept.shell import Result, Shell

NAME = "walk"
SUMMARY = "An administrator's steps: attach, read the driver's nodes, detach, attach; vmtctl"
_ATTACHED = 20.0
VMTCTL = "vmtctl.pyz"


@dataclass(frozen=True)
class Step:
    """A step of one driver; ``vmtctl``: it needs vmtctl in the guest."""

    take: Callable[[Walk], None]
    vmtctl: bool = False


class Walk:
    """Does the steps on a shell, and records the result of each.

    ``steps`` are those of the driver ``name`` between attaching and detaching, and what vmtctl does
    with it.
    """

    def __init__(
        self, shell: Shell, folder: str, name: str, steps: Sequence[Step], python: str = ""
    ) -> None:
        self.guest = Guest(shell, folder)
        self.name = name
        self.python = python
        self._steps = steps
        self.device = ""
        self.properties: list[Property] = []

    def take(self) -> list[Property]:
        """Do all steps; the device is attached at the end if it was at the beginning."""
        if not self.note("the device attaches", self.is_there(there=True), "no device at cpu0"):
            return self.properties
        for step in self._steps:
            if not step.vmtctl:
                step.take(self)
        self._unload_and_reload("detach", "rescan")
        self._vmtctl()
        return self.properties

    def note(self, name: str, good: bool, detail: str = "") -> bool:
        """Record a property, with its detail if it does not hold."""
        self.properties.append(Property(name, HELD if good else BROKEN, "" if good else detail))
        return good

    def is_there(self, *, there: bool) -> bool:
        """Wait until the device is attached, or detached; record its name."""

        def holds() -> bool:
            name = self.guest.call("device", self.name).output.strip()
            self.device = name or self.device
            return bool(name) == there

        return self.until(_ATTACHED, holds)

    @staticmethod
    def until(seconds: float, holds: Callable[[], bool]) -> bool:
        """Wait until ``holds``; returns whether it does."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def node(self, name: str) -> str:
        """Return the value of a node of the device, "" if there is none."""
        result = self.guest.call("node", f"machdep.{self.device}.{name}")
        return result.output.strip() if result.ok else ""

    def _unload_and_reload(self, detach: str, attach: str) -> None:
        left = self.guest.call(detach, self.device)
        gone = left.ok and self.is_there(there=False)
        self.note(
            f"{detach}: the device detaches",
            gone,
            failure(left) if not left.ok else "it stays attached",
        )
        back = self.guest.call(attach, "cpu0")
        good = back.ok and self.is_there(there=True)
        self.note(
            f"{attach}: it attaches again",
            good,
            failure(back) if not back.ok else "it does not attach",
        )

    def _vmtctl(self) -> None:
        if not self.python:
            name = "vmtctl does the same steps"
            self.properties.append(
                Property(name, NOT_JUDGED, "the guest has no Python, or no vmtctl")
            )
            return
        self.runs("status")
        # vmtctl doctor may report problems of this system: that is not a defect of vmtctl.
        self.runs("doctor", good=(0, 1, 2))
        for step in self._steps:
            if step.vmtctl:
                step.take(self)

    def vmtctl(self, *words: str) -> Result:
        """Run vmtctl in the guest."""
        return self.guest.call("vmtctl", self.python, *words)

    def runs(self, *words: str, good: tuple[int, ...] = (0,)) -> None:
        """Run vmtctl and record whether its exit status is a good one."""
        done = self.vmtctl(*words)
        self.note(f"vmtctl {' '.join(words)}", done.status in good, done.output[-300:])
