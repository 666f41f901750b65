"""Quiesced snapshots: the host's part of vmbackup.

Messages, events and codes: open-vm-tools lib/include/vmware/guestrpc/vmbackup.h and
services/plugins/vmbackup (stateMachine.c, guestQuiesce.x).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.core.timers import Timer
    from vmtsim.host.context import Context
    from vmtsim.host.tclo import Tclo

CODES = {
    0: "success",
    1: "invalid state",
    2: "script error",
    3: "sync error",
    4: "remote abort",
    5: "unexpected error",
}
# The allowed events of each state, and the states that follow.
# idle -> started -> accepted -> frozen -> thawing -> idle
_MOVES: dict[str, dict[str, str]] = {
    "started": {"reset": "accepted", "req.error": "failed", "req.done": "idle"},
    "accepted": {
        "prov.snapshotPrepare": "accepted",
        "req.genericManifest": "accepted",
        "req.manifest": "accepted",
        "req.keepAlive": "accepted",
        "prov.snapshotCommit": "frozen",
        "req.error": "failed",
        "req.aborted": "failed",
    },
    "frozen": {
        "req.keepAlive": "frozen",
        "req.genericManifest": "frozen",
        "req.manifest": "frozen",
        "req.error": "failed",
        "req.aborted": "failed",
        "prov.snapshotAbort": "failed",
    },
    "thawing": {
        "req.keepAlive": "thawing",
        "req.genericManifest": "thawing",
        "req.manifest": "thawing",
        "req.error": "failed",
        "req.aborted": "failed",
        "req.done": "idle",
    },
    # The host aborted it; the guest may still report work in progress.
    "aborting": {
        "reset": "aborting",
        "prov.snapshotPrepare": "aborting",
        "prov.snapshotCommit": "aborting",
        "prov.snapshotAbort": "failed",
        "req.keepAlive": "aborting",
        "req.genericManifest": "aborting",
        "req.manifest": "aborting",
        "req.error": "failed",
        "req.aborted": "failed",
        "req.done": "idle",
    },
    "failed": {
        "req.keepAlive": "failed",
        "req.error": "failed",
        "req.aborted": "failed",
        "req.writerError": "failed",
        "prov.snapshotAbort": "failed",
        "req.done": "idle",
    },
}
EVENTS = frozenset(event for moves in _MOVES.values() for event in moves)


def quiesce_parameters(
    *,
    version: int = 1,
    manifest: bool = False,
    applications: bool = False,
    file_systems: bool = True,
    writable: bool = False,
    scripts: bool = True,
    argument: str = "",
    timeout: int = 0,
    disks: str = "",
) -> bytes:
    """Return XDR GuestQuiesceParams (version 1, or 2 with its four more words)."""

    def string(text: str) -> bytes:
        raw = text.encode()
        return struct.pack(">I", len(raw)) + raw + bytes(-len(raw) % 4)

    flags = (manifest, applications, file_systems, writable, scripts)
    data = struct.pack(">II5I", version, 1, *flags)
    data += string(argument) + struct.pack(">I", timeout) + string(disks)
    return data + (struct.pack(">4I", 0, 0, 0, 0) if version == 2 else b"")


class Backup:
    """One operation at a time: start, wait for the freeze, take the snapshot, thaw.

    ``snapshot`` is how long the host needs for the snapshot itself, in seconds.  The guest has to
    send keep-alive events: silence for ``silence`` seconds ends the operation
    (VMBACKUP_KEEP_ALIVE_PERIOD of vmbackup.h is 5000 ms, and guests use half of it).
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.tclo: Tclo
        self.state = "idle"
        self.snapshot = 2.0
        self.silence = 5.0
        self.completed = 0
        self.failed = 0
        self.last_code: int | None = None
        self._begun = False  # the guest has read the message that starts it
        self._another = False  # and another such message
        self._timer: Timer | None = None
        self._watch: Timer | None = None

    def start(
        self,
        *,
        manifest: int = 1,
        volumes: str = "",
        parameters: bytes | None = None,
        snapshot: float = 2.0,
    ) -> bool:
        """Ask the guest to quiesce; with ``parameters`` by vmbackup.startWithOpts.

        Returns false, and sends nothing, while an operation is in progress: vSphere's
        CreateSnapshotEx_Task then fails with TaskInProgress ("if the virtual machine is busy").
        """
        if self.state != "idle":
            self._context.trace.emit("backup.refused", state=self.state)
            return False
        self.snapshot = snapshot
        self._begun = self._another = False
        self._move("started")
        if parameters is not None:
            message = b"vmbackup.startWithOpts " + parameters
        else:
            # The 16 bytes of public logs if there are no volumes to name (E8).
            message = f"vmbackup.start {manifest} {volumes}".rstrip().encode()
        self.tclo.send(message, self._answered)
        return True

    def fetched(self, message: bytes) -> None:
        """Handle a message that the guest has read, from any sender on the host.

        A raw message counts like one of this object: the guest's reports after it break no rule.
        After a second vmbackup.start, a guest that had lost its channel starts over; any other one
        refuses.  The second may be this object's own message: the first was then that of an
        operation that the host abandoned before the guest read it.
        """
        text = message.rstrip(b"\0 ")
        start = text.startswith(b"vmbackup.start")
        if not self._begun:
            self._begun = start and self.state != "idle"
        elif start:
            self._another = True
        elif text == b"vmbackup.abort" and self.state in {
            "started", "accepted", "frozen", "thawing"
        }:  # fmt: skip
            self._cancel()
            self._move("aborting")
            self._listen()
        elif text == b"vmbackup.snapshotDone" and self.state == "frozen":
            self._cancel()
            self._move("thawing")
            self._listen()

    def abort(self) -> None:
        """Abort the operation."""
        self._cancel()
        if self.state != "idle":
            self._move("aborting")
            self._listen()
        self.tclo.send("vmbackup.abort", self._answered_abort)

    def forget(self) -> None:
        """Forget the operation, like a host whose agent restarts; the guest may continue it."""
        self._cancel()
        self._move("idle")

    def _move(self, state: str) -> None:
        if state != self.state:
            self._context.trace.emit("backup", state=state, before=self.state)
            self.state = state

    def _cancel(self) -> None:
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        self._timer = self._watch = None

    def _answered(self, ok: bool, _reply: bytes) -> None:
        if not ok and self.state == "started":
            self.failed += 1
            self._move("idle")
        elif ok and self.state == "started":
            # The guest sends `reset` before it answers: VmBackupStartCommon of open-vm-tools, and
            # OpenBSD's vmt_tclo_startbackup (E16).
            self._context.violation("backup-event", "answered OK before its event reset")
            self._listen()

    def _answered_abort(self, ok: bool, _reply: bytes) -> None:
        if not ok and self.state == "aborting":
            self.failed += 1
            self._cancel()
            self._move("idle")

    def _listen(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._context.after(self.silence, self._silent)

    def _silent(self) -> None:
        if self.state != "idle":
            self._context.trace.emit("backup.silent", state=self.state)
            self.failed += 1
            self._cancel()
            self._move("idle")

    def event(self, name: str, code: int, text: str) -> bool:
        """Handle ``vmbackup.eventSet NAME CODE TEXT``; returns false if the host rejects it."""
        self._context.trace.emit("backup.event", name=name, code=code, text=text)
        if self.state == "idle":
            # After the host has aborted an operation, it refuses events of the guest: that is how
            # the guest learns of the abort.
            return False
        following = _MOVES[self.state].get(name)
        if following is None and name == "reset" and self._another:
            self._cancel()
            following = "aborting"
        if following is None:
            self._context.violation("backup-event", f"{name} while {self.state}")
            return False
        before = self.state
        self._move(following)
        self._listen()
        if following == "frozen" and before != "frozen":
            self._timer = self._context.after(self.snapshot, self._taken)
        elif following == "failed":
            self.last_code = code
            if self._timer is not None:
                self._timer.cancel()
        elif following == "idle":
            self._cancel()
            if before == "thawing":
                self.completed += 1
            else:
                self.failed += 1
        return True

    def _taken(self) -> None:
        if self.state == "frozen":
            self._move("thawing")
            self.tclo.send("vmbackup.snapshotDone")
