"""The hook of powerd for a hot key of the driver: it runs scripts for freeze and thaw.

A model of userland/powerd/vmt-event (freeze, thaw, asked, answer) as processes of the simulated
kernel; tests/userland/test_freeze_scripts.py runs the hook itself.  A program that starts is
read from the root file system: it waits while that is suspended (execve(2) locks the vnode).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.api import Block
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.mounts import Mounts

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.run.administrator import Administrator

SCRIPT = "hotkey_button"


class SiteScripts:
    """The administrator's scripts of /etc/powerd/vmt.d.

    They take ``seconds`` for each event, and fail if ``fail`` is set.  ``frozen`` is the hook's
    state: the number of the freeze for which scripts started, until they have run for thaw.
    """

    def __init__(self, admin: Administrator, seconds: float, *, fail: bool) -> None:
        self._admin = admin
        self._seconds = seconds
        self._fail = fail
        self.frozen = ""

    def hook(self, device: str, event: str) -> Model:
        """Run the hook for one event: "pressed" or "released"."""
        yield from self._execute()
        if event == "pressed":
            yield from self._freeze(device)
            return
        yield from self._thaw()
        number = yield from self._asked(device, "thaw")
        if number:
            yield from self._answer(device, number)

    def _freeze(self, device: str) -> Model:
        yield from self._thaw()
        number = yield from self._asked(device, "freeze")
        if not number:
            return
        self.frozen = number
        yield from self._run("freeze")
        if not (yield from self._answer(device, number)):
            yield from self._thaw()

    def _thaw(self) -> Model:
        if self.frozen:
            yield from self._run("thaw")
            self.frozen = ""

    def _run(self, what: str) -> Model:
        kernel = self._admin.kernel
        yield from self._execute()
        kernel.trace.emit("scripts", event=what)
        yield Block(deadline=kernel.clock.now + max(1, round(self._seconds * SECOND)), what="wait")

    def _asked(self, device: str, what: str) -> Model:
        """Return the number of the event that the driver waits for, or "" for none."""
        yield from self._execute()
        waits = yield from self._admin.read(f"machdep.{device}.backup.event")
        number, _, event = str(waits or "").partition(" ")
        return number if event == what else ""

    def _answer(self, device: str, number: str) -> Model:
        """Report that the scripts have run; return whether the driver accepted it."""
        yield from self._execute()
        value = -int(number) if self._fail else int(number)
        reply = yield from self._admin.set_node(f"machdep.{device}.backup.done", value)
        return not reply.error

    def _execute(self) -> Model:
        mounts = self._admin.kernel.subject(Mounts)
        root = mounts.find("/")
        yield from mounts.enter(root)
        mounts.leave(root)
