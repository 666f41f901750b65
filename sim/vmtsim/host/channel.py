"""One channel of the message transport, its numbers, and its endpoint.

Sub-commands and flags: open-vm-tools lib/include/guest_msg_def.h.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from vmtgen.common.dataclass import dataclass, field

if TYPE_CHECKING:
    from vmtsim.host.fault_effects import Effect

RPCI = 0x49435052
TCLO = 0x4F4C4354
COOKIE_FLAG = 0x80000000
PROTOCOLS = {RPCI: "rpci", TCLO: "tclo"}

SUCCESS = 0x0001
DORECV = 0x0002
CLOSED = 0x0004
UNSENT = 0x0008
CHECKPOINT = 0x0010
POWEROFF = 0x0020
TIMEOUT = 0x0040
HIGH_BANDWIDTH = 0x0080

OPEN, SENDSIZE, SENDPAYLOAD, RECVSIZE, RECVPAYLOAD, RECVSTATUS, CLOSE = range(7)
STEPS = ("open", "sendsize", "sendpayload", "recvsize", "recvpayload", "recvstatus", "close")


class Endpoint(Protocol):
    """The endpoint of the channels of one protocol."""

    def opened(self, channel: Channel, /) -> None:
        """Handle a channel that a guest opened."""

    def received(self, channel: Channel, message: bytes, /) -> None:
        """Handle a whole message of the guest (possibly empty)."""

    def asked(self, channel: Channel, fault: Effect | None, /) -> None:
        """Move the next message, if there is one, to the outbox: the guest requests it.

        ``fault`` is a fault for the endpoint to carry out, if one is injected here.
        """

    def fetched(self, channel: Channel, message: bytes, /) -> None:
        """Handle the guest's acknowledgement of a whole message."""

    def dropped(self, channel: Channel, message: bytes, /) -> None:
        """Handle a message that was abandoned in the middle, or withdrawn."""

    def gone(self, channel: Channel, reason: str, /) -> None:
        """Forget the channel: it no longer exists."""


@dataclass(slots=True, eq=False)
class Channel:
    """One channel's state.  ``sending``/``reading`` hold a partially transferred message."""

    number: int
    protocol: str
    endpoint: Endpoint
    cookies: tuple[int, int] | None
    last_call: int
    outbox: deque[bytes] = field(default_factory=deque)
    sending: bytearray | None = None
    expected: int = 0
    reading: bytes | None = None
    announced: int = 0
    offset: int = 0
    alive: bool = True
    # The host ended the message to the guest: the guest may still report an abort.
    interrupted: bool = False
    # Opened by the guest, which then has to close it; false for channels of other clients.
    guests: bool = True
    # A call after a checkpoint may go back to RECVSIZE without a send.
    restarted: bool = False

    def state(self) -> str:
        """Return the state of the transfer, in a word or two."""
        if self.sending is not None:
            return f"{len(self.sending)} of {self.expected} bytes sent"
        if self.reading is not None:
            return f"{self.offset} of {self.announced} bytes read"
        return "between messages"
