"""A host with altered answers: changed status words at one step, and ports without a backdoor.

The faults of the simulated host end a channel in the ways recorded from VMware.  This module
adds the other possible status words: every bit, with and without success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.core.frame import Frame, GuestMemory, high16, word
from vmtsim.host.channel import (
    CLOSED,
    COOKIE_FLAG,
    POWEROFF,
    PROTOCOLS,
    STEPS,
    SUCCESS,
    TIMEOUT,
    UNSENT,
)

if TYPE_CHECKING:
    from .rig import Rig

BAD = {"closed": CLOSED, "unsent": UNSENT, "power-off": POWEROFF, "timed-out": TIMEOUT}
# Possible answers of a failed step: (name, status, whether the host carried it out anyway).
WORDS = [
    ("nothing", 0, False),
    *((name, bit, False) for name, bit in BAD.items()),
    *((f"{name} and success", bit | SUCCESS, True) for name, bit in BAD.items()),
]


class StatusOverride:
    """The next ``times`` calls of one step on channels of one protocol are answered by ``status``.

    ``carried``: the host carries the call out first. ``count`` is how many calls were overridden.
    """

    def __init__(
        self,
        rig: Rig,
        step: str,
        status: int,
        *,
        protocol: str = "tclo",
        carried: bool = False,
        times: int = 1,
    ) -> None:
        self.host = rig.host
        self.step = step
        self.status = status
        self.protocol = protocol
        self.carried = carried
        self.left = times
        self.count = 0
        self._low = rig.host.transport.call
        self._high = rig.host.high_bandwidth
        rig.host.transport.call = self._call  # type: ignore[method-assign]
        rig.host.high_bandwidth = self._buffer  # type: ignore[method-assign]

    def over(self) -> None:
        """Restore the host's own answers."""
        self.host.transport.call = self._low  # type: ignore[method-assign]
        self.host.high_bandwidth = self._high  # type: ignore[method-assign]

    def _applies(self, step: str, protocol: str | None) -> bool:
        if not self.left or step != self.step or protocol != self.protocol:
            return False
        self.left -= 1
        self.count += 1
        return True

    def _protocol(self, number: int) -> str | None:
        channel = self.host.transport.channels.get(number)
        return None if channel is None else channel.protocol

    def _call(self, frame: Frame) -> None:
        step = STEPS[high16(frame.arg2)]
        if step == "open":
            protocol = PROTOCOLS.get(frame.arg1 & ~COOKIE_FLAG & 0xFFFFFFFF)
        else:
            protocol = self._protocol(high16(frame.arg3))
        # A guest that gives up a message is not answered with an altered status.
        abort = step in {"recvpayload", "recvstatus"} and not frame.arg1 & SUCCESS
        applies = not abort and self._applies(step, protocol)
        if not applies or self.carried:
            self._low(frame)
        if applies:
            frame.arg2 = word(self.status)

    def _buffer(self, frame: Frame, memory: GuestMemory, *, to_host: bool) -> None:
        step = "hb-out" if to_host else "hb-in"
        applies = self._applies(step, self._protocol(high16(frame.arg3)))
        if not applies or self.carried:
            self._high(frame, memory, to_host=to_host)
        if applies:
            frame.arg1 = word(self.status)


class DeadPorts:
    """Ports without a backdoor, as in guests with encrypted memory."""

    def __init__(self, rig: Rig) -> None:
        rig.host.low_bandwidth = self._port  # type: ignore[method-assign]

    def _port(self, frame: Frame) -> None:
        frame.arg0 = 0xFFFFFFFF
