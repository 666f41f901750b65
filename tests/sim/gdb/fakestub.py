"""A GDB stub that replays a recorded session of requests and replies."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from vmtsim.gdb.packets import encode
from vmtsim.gdb.rsp import Client

from tests.patience import HANG

if TYPE_CHECKING:
    from collections.abc import Sequence

# Expected bytes (whole, or b"" for none) and the reply, both as on the wire.
Turn = tuple[bytes, bytes]


def packet(payload: bytes) -> bytes:
    return encode(payload)


class FakeStub:
    """Replays ``turns`` on one end of a socket pair; ``client`` uses the other.

    ``received`` is everything received; a turn starts when its expected bytes have
    arrived.  Without ``ends`` some of it need not be.
    """

    def __init__(self, turns: Sequence[Turn], *, timeout: float = HANG, ends: bool = True) -> None:
        ours, theirs = socket.socketpair()
        self.client = Client(theirs, timeout=timeout)
        self.received = b""
        self.missed: list[bytes] = []
        self._ours = ours
        self._turns = turns
        self._ends = ends
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def _play(self) -> None:
        rest = b""
        self._ours.settimeout(HANG)
        for expected, message in self._turns:
            while expected not in rest:
                try:
                    data = self._ours.recv(4096)
                except OSError:
                    data = b""
                if not data:
                    self.missed.append(expected)
                    return
                self.received += data
                rest += data
            rest = rest.partition(expected)[2]
            with contextlib.suppress(OSError):
                self._ours.sendall(message)
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)

    def __enter__(self) -> FakeStub:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._thread.join(HANG)
        self._ours.close()
        assert not self.missed or not self._ends, (
            f"expected {self.missed}, received {self.received!r}"
        )
