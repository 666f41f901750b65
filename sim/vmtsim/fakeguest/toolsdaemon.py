"""A second tools client inside the guest, like vmtoolsd: a process that uses the backdoor.

It passes registers to the simulated host, as any process of a VMware guest may, and shares no code
with the driver.  After an error it reconnects a second later and takes the channel again.
Sources: open-vm-tools lib/rpcIn/rpcin.c, lib/message/message.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.core.frame import Frame
from vmtsim.kernel.api import Block
from vmtsim.kernel.clock import SECOND

if TYPE_CHECKING:
    from vmtsim.host import Host
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.clock import Clock

_MAGIC, _PORT, _MESSAGE = 0x564D5868, 0x5658, 30
_TCLO = int.from_bytes(b"TCLO", "little") | 0x80000000  # with cookies
_RPCI = int.from_bytes(b"RPCI", "little") | 0x80000000
_OPEN, _SEND_SIZE, _SEND, _RECEIVE_SIZE, _RECEIVE, _RECEIVED, _CLOSE = range(7)
_SUCCESS, _HAVE = 1, 2
_TRAP = 5_000  # virtual ns of a call
_POLL = SECOND // 10


class _Lost(Exception):  # noqa: N818 - a state of the channel
    """A call failed: the channel is gone."""


@dataclass(frozen=True)
class _Channel:
    number: int
    high: int
    low: int


class ToolsDaemon:
    """The client; ``main`` is its process, ``sessions`` counts its conversations."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._channel: _Channel | None = None
        self.sessions = 0

    @property
    def connected(self) -> bool:
        """Whether the daemon believes that it has a channel."""
        return self._channel is not None

    def main(self) -> Model:
        """Answer the host forever."""
        while True:
            try:
                self._channel = self._open(_TCLO)
                yield from self._session(self._channel)
            except _Lost:
                self._channel = None
            yield Block(deadline=self._clock.now + SECOND, what="select")

    def close(self) -> None:
        """Close the channel, as vmtoolsd does when it ends."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with suppress(_Lost):  # another client has taken it since
                self._step(_CLOSE, channel)

    def _session(self, channel: _Channel) -> Model:
        reply = b""
        while True:
            self._send(channel, reply)
            message = self._receive(channel)
            reply = b"" if message is None else self._answer(message)
            if message is None:
                yield Block(deadline=self._clock.now + _POLL, what="select")

    def _answer(self, message: bytes) -> bytes:
        word = message.rstrip(b"\0").partition(b" ")[0]
        if word == b"reset":
            self.sessions += 1
            return b"OK ATR toolbox"
        if word == b"Capabilities_Register":
            for command in (
                b"vmx.capability.unified_loop toolbox",
                b"tools.capability.statechange ",
                b"tools.set.version 12389",
            ):
                self._command(command)
        elif word.startswith(b"OS_"):
            return b"ERROR this stub does not shut down"
        if message.startswith(b"vmbackup."):
            # Of a daemon that runs without its plugin vmbackup (open-vm-tools
            # lib/rpcChannel/rpcChannel.c, RpcChannel_Dispatch: GUEST_RPC_UNKNOWN_COMMAND).
            return b"ERROR Unknown Command"
        return b"OK "

    def _command(self, command: bytes) -> None:
        channel = self._open(_RPCI)
        self._send(channel, command)
        self._receive(channel)
        self._step(_CLOSE, channel)

    # Calls.

    def _call(self, step: int, ebx: int, channel: _Channel | None) -> Frame:
        number, high, low = (
            (channel.number, channel.high, channel.low) if channel is not None else (0, 0, 0)
        )
        frame = Frame(_MAGIC, ebx, step << 16 | _MESSAGE, number << 16 | _PORT, high, low)
        self._clock.now += _TRAP
        self._host.low_bandwidth(frame)
        if not frame.arg2 >> 16 & _SUCCESS:
            raise _Lost
        return frame

    def _step(self, step: int, channel: _Channel, ebx: int = 0) -> Frame:
        return self._call(step, ebx, channel)

    def _open(self, protocol: int) -> _Channel:
        frame = self._call(_OPEN, protocol, None)
        return _Channel(frame.arg3 >> 16, frame.arg4, frame.arg5)

    def _send(self, channel: _Channel, message: bytes) -> None:
        self._step(_SEND_SIZE, channel, len(message))
        for at in range(0, len(message), 4):
            self._step(_SEND, channel, int.from_bytes(message[at : at + 4], "little"))

    def _receive(self, channel: _Channel) -> bytes | None:
        frame = self._step(_RECEIVE_SIZE, channel)
        if not frame.arg2 >> 16 & _HAVE:
            return None
        size = frame.arg1
        data = b"".join(
            self._step(_RECEIVE, channel, _SUCCESS).arg1.to_bytes(4, "little")
            for _ in range(0, size, 4)
        )
        self._step(_RECEIVED, channel, _SUCCESS)
        return data[:size]
