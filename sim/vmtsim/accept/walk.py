"""The administrator's use of the driver, step by step: the walkthrough of docs/guest.md.

It needs a host that answers, simulated or real: `vmtsim accept` in QEMU, or VMware itself.  If the
guest has Python, vmtctl does the same steps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmtsim.accept.guest import Guest, failure
from vmtsim.accept.verdict import BROKEN, HELD, NOT_JUDGED, Property

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.accept.shell import Result, Shell

NAME = "walk"
SUMMARY = "An administrator's steps: attach, query the host, check the clock, detach; vmtctl"
_ATTACHED, _ANSWER = 20.0, 20.0
_ERRORS = ("send_errors", "receive_errors", "refused")
VMTCTL = "vmtctl.pyz"


class Walk:
    """Does the steps on a shell, and records the result of each."""

    def __init__(self, shell: Shell, folder: str, python: str = "") -> None:
        self.guest = Guest(shell, folder)
        self.python = python
        self.device = ""
        self.properties: list[Property] = []

    def take(self) -> list[Property]:
        """Do all steps; the device is attached at the end if it was at the beginning."""
        if not self._note("the device attaches", self._is_there(there=True), "no device at cpu0"):
            return self.properties
        self._host()
        self._clock()
        self._counters()
        self._leave_and_come("detach", "rescan")
        self._vmtctl()
        return self.properties

    def _note(self, name: str, good: bool, detail: str = "") -> bool:
        self.properties.append(Property(name, HELD if good else BROKEN, "" if good else detail))
        return good

    def _is_there(self, *, there: bool) -> bool:
        """Wait until the device is attached, or detached; record its name."""

        def holds() -> bool:
            name = self.guest.call("device").output.strip()
            self.device = name or self.device
            return bool(name) == there

        return self._until(_ATTACHED, holds)

    @staticmethod
    def _until(seconds: float, holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def _node(self, name: str) -> str:
        result = self.guest.call("node", f"machdep.{self.device}.{name}")
        return result.output.strip() if result.ok else ""

    def _host(self) -> None:
        uuid = self._node("uuid")
        self._note("the host's UUID is available", uuid.count("-") == 4, f"it is {uuid!r}")
        sent = self.guest.call("rpc", "log vmtsim accept was here")
        good = sent.ok and " ok 1" in sent.output
        self._note("the host accepts a message", good, sent.output[-200:] or failure(sent))

    def _clock(self) -> None:
        found = self._until(_ANSWER, lambda: self._node("clock_sync.state") != "")
        state = self._node("clock_sync.state")
        good = found and not state.startswith("off")
        self._note("the clock follows the host", good, f"its state is {state!r}")

    def _counters(self) -> None:
        wrong = {name: self._node(f"stats.{name}") for name in _ERRORS}
        shown = ", ".join(f"{name} {value or 'unknown'}" for name, value in wrong.items())
        self._note("no message failed", all(v == "0" for v in wrong.values()), shown)

    def _leave_and_come(self, detach: str, attach: str) -> None:
        left = self.guest.call(detach, self.device)
        gone = left.ok and self._is_there(there=False)
        self._note(
            f"{detach}: the device detaches",
            gone,
            failure(left) if not left.ok else "it stays attached",
        )
        back = self.guest.call(attach, "cpu0")
        good = back.ok and self._is_there(there=True)
        self._note(
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
        self._runs("status")
        # vmtctl doctor may report problems of this system: that is not a defect of vmtctl.
        self._runs("doctor", good=(0, 1, 2))
        for verb, there in (("detach", False), ("attach", True)):
            done = self._call(verb)
            good = done.ok and self._is_there(there=there)
            self._note(f"vmtctl {verb}", good, done.output[-300:])
        done = self._call("clock", "30")
        period = self._node("clock_sync.period")
        self._note("vmtctl clock 30", done.ok and period == "30", f"{done.output} {period}"[-300:])

    def _call(self, *words: str) -> Result:
        return self.guest.call("vmtctl", self.python, *words)

    def _runs(self, *words: str, good: tuple[int, ...] = (0,)) -> None:
        done = self._call(*words)
        self._note(f"vmtctl {' '.join(words)}", done.status in good, done.output[-300:])
