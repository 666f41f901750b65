"""The running status of the tools: a counter of heartbeats, and a time limit for silence.

The host counts at most one heartbeat a second, even if the guest sends more: a guest without a
tools service that calls `vmware-rpctool` once counts as running for exactly 20 s (E1).  After
silence, the next message makes it running again, without a reset (E2).  vmware.log reports the
value and the age of the last heartbeat with a message that timed out (E2, E3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from vmtsim.host.context import Context

# The numbers of vmware.log: "2 => 1" at the first start (E4), "1 => 0" and "0 => 1" later (E1, E2).
NOT_RUNNING, RUNNING, UNKNOWN = 0, 1, 2


class Heartbeat:
    """Counts heartbeats; ``last`` is when the last one was counted (virtual ns)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.status = UNKNOWN
        self.value = 0
        self.last: int | None = None
        self._watching = False

    def beat(self) -> None:
        """Handle a message of the guest, on a channel of either protocol."""
        now = self._context.now()
        if self.last is not None and now - self.last < NANOSECONDS:
            return
        self.value += 1
        self.last = now
        self._change(RUNNING, "heartbeat")
        limit = self._context.options.heartbeat_timeout
        if limit and not self._watching:
            self._watching = True
            self._context.after(limit, self._check)

    def describe(self) -> str:
        """Return the value and its age, in the words of vmware.log."""
        age = 0 if self.last is None else (self._context.now() - self.last) // NANOSECONDS
        return f"Last heartbeat value {self.value} (last received {age}s ago)"

    def _check(self) -> None:
        limit = self._context.options.heartbeat_timeout * NANOSECONDS
        silent = self._context.now() - (self.last or 0)
        if silent < limit:
            self._context.after((limit - silent) / NANOSECONDS, self._check)
            return
        self._watching = False
        self._context.log("Tools: Tools heartbeat timeout.")
        self._change(NOT_RUNNING, "silence")

    def _change(self, status: int, reason: str) -> None:
        if status == self.status:
            return
        change = f"{self.status} => {status}"
        self.status = status
        self._context.log(f"Tools: Running status rpc handler: {change}.")
        self._context.log(f"Tools: Changing running status: {change}.")
        self._context.trace.emit(
            "tools", running=status == RUNNING, heartbeat=self.value, reason=reason
        )
