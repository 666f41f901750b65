"""A second, independent client of the message protocol, at the level of registers.

It shares no code with the driver, and with the host only the frame of a call.  Thus an error
common to host and driver is detected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtsim.core.rng import Rng
from vmtsim.core.trace import Event, Trace
from vmtsim.host import Frame, GuestFault, Host, HostOptions

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = 0x564D5868
BUFFER = 0xFFFF_C000_1234_5000

SUCCESS, DORECV, CLOSED, UNSENT, CPT, POWEROFF, TIMEOUT, HB = (1 << bit for bit in range(8))


class Refused(Exception):  # noqa: N818
    """A call came back without SUCCESS; ``status`` holds the flags."""

    def __init__(self, step: str, status: int) -> None:
        super().__init__(f"{step}: status {status:#06x}")
        self.step = step
        self.status = status


class Memory:
    """Guest memory of one mapped range."""

    def __init__(self, size: int = 1 << 17) -> None:
        self.data = bytearray(size)

    def read(self, address: int, size: int) -> bytes:
        at = address - BUFFER
        if at < 0 or at + size > len(self.data):
            raise GuestFault(address, size, write=False)
        return bytes(self.data[at : at + size])

    def write(self, address: int, data: bytes) -> None:
        at = address - BUFFER
        if at < 0 or at + len(data) > len(self.data):
            raise GuestFault(address, len(data), write=True)
        self.data[at : at + len(data)] = data


@dataclass
class Channel:
    """The guest's state of an open channel."""

    number: int
    high: int
    low: int


class Guest:
    """A guest of one virtual machine: its clock, its memory, its access to the host."""

    def __init__(self, seed: int = 1, **options: object) -> None:
        self.time = 0
        self.trace = Trace(lambda: self.time, keep=True)
        self.host = Host(
            now=lambda: self.time,
            rng=Rng(seed),
            options=HostOptions(**options),  # type: ignore[arg-type]
            trace=self.trace,
        )
        self.memory = Memory()

    # Inspection.

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.trace.events if event.kind == kind]

    def broken_rules(self) -> list[str]:
        return [event["rule"] for event in self.events("violation")]

    def wait(self, seconds: float) -> None:
        """Let virtual time pass, and run the host's timers."""
        until = self.time + round(seconds * 1e9)
        while (at := self.host.next_event()) is not None and at <= until:
            self.time = max(self.time, at)
            self.host.advance()
        self.time = until

    # Single calls.

    def low(
        self, command: int, *, ebx: int = 0, sub: int = 0, edx: int = 0, esi: int = 0, edi: int = 0
    ) -> Frame:
        frame = Frame(MAGIC, ebx, sub << 16 | command, edx << 16 | 0x5658, esi, edi)
        self.host.low_bandwidth(frame)
        return frame

    def step(self, sub: int, channel: Channel, ebx: int = 0) -> Frame:
        return self.low(30, ebx=ebx, sub=sub, edx=channel.number, esi=channel.high, edi=channel.low)

    def hb_out(self, channel: Channel, data: bytes, size: int | None = None) -> Frame:
        self.memory.write(BUFFER, data)
        count = len(data) if size is None else size
        frame = Frame(
            MAGIC, 0x10000, count, channel.number << 16 | 0x5659, BUFFER, channel.low, channel.high
        )
        self.host.high_bandwidth(frame, self.memory, to_host=True)
        return frame

    def hb_in(self, channel: Channel, size: int, address: int = BUFFER) -> Frame:
        frame = Frame(
            MAGIC, 0x10000, size, channel.number << 16 | 0x5659, channel.high, address, channel.low
        )
        self.host.high_bandwidth(frame, self.memory, to_host=False)
        return frame

    # Whole operations.

    def open(self, protocol: bytes, *, cookies: bool = True) -> Channel:
        word = int.from_bytes(protocol[::-1], "big") | (0x80000000 if cookies else 0)
        frame = self.low(30, ebx=word)
        if not frame.arg2 >> 16 & SUCCESS:
            raise Refused("open", frame.arg2 >> 16)
        return Channel(frame.arg3 >> 16, frame.arg4, frame.arg5)

    def send(self, channel: Channel, message: bytes, *, high: bool = True) -> None:
        frame = self.step(1, channel, len(message))
        _need("sendsize", frame.arg2)
        if not message:
            return
        if high and frame.arg2 >> 16 & HB:
            _need("hb-out", self.hb_out(channel, message).arg1)
            return
        for at in range(0, len(message), 4):
            piece = int.from_bytes(message[at : at + 4], "little")
            _need("sendpayload", self.step(2, channel, piece).arg2)

    def receive(self, channel: Channel, *, high: bool = True) -> bytes | None:
        frame = self.step(3, channel)
        _need("recvsize", frame.arg2)
        if not frame.arg2 >> 16 & DORECV:
            return None
        assert frame.arg3 >> 16 == 1
        size = frame.arg1
        data = b""
        if size and high and frame.arg2 >> 16 & HB:
            _need("hb-in", self.hb_in(channel, size).arg1)
            data = self.memory.read(BUFFER, size)
        else:
            for _ in range(0, size, 4):
                frame = self.step(4, channel, 1)
                _need("recvpayload", frame.arg2)
                assert frame.arg3 >> 16 == 2
                data += frame.arg1.to_bytes(4, "little")
            data = data[:size]
        _need("recvstatus", self.step(5, channel, 1).arg2)
        return data

    def close(self, channel: Channel) -> None:
        _need("close", self.step(6, channel).arg2)

    def rpci(self, command: bytes, *, high: bool = True) -> bytes | None:
        channel = self.open(b"RPCI")
        self.send(channel, command, high=high)
        reply = self.receive(channel, high=high)
        self.close(channel)
        return reply

    # The TCLO loop.

    def turn(self, channel: Channel, reply: bytes = b"") -> bytes | None:
        """Take one turn of the loop; NULs after a text message are not part of it."""
        self.send(channel, reply)
        message = self.receive(channel)
        if message is None:
            return None
        text = message.rstrip(b"\0")
        return message if b"\0" in text else text

    def tools(
        self, channel: Channel, seconds: float, answer: Callable[[bytes], bytes] | None = None
    ) -> list[bytes]:
        """Run the TCLO loop like a tools daemon; returns the messages that came."""
        until = self.time + round(seconds * 1e9)
        received, reply = [], b""
        while self.time < until:
            message = self.turn(channel, reply)
            if message is None:
                reply = b""
                self.wait(min(1.0, (until - self.time) / 1e9))
                continue
            received.append(message)
            reply = (answer or self.answer)(message)
        if reply:
            self.send(channel, reply)
        return received

    POWER = (b"OS_Halt", b"OS_Reboot", b"OS_PowerOn", b"OS_Resume", b"OS_Suspend")

    def answer(self, message: bytes) -> bytes:
        """Return the reply of a well-behaved tools driver."""
        if message == b"reset":
            return b"OK ATR toolbox"
        if message == b"Capabilities_Register":
            self.rpci(b"vmx.capability.unified_loop toolbox")
            self.rpci(b"tools.capability.statechange ")
            self.rpci(b"tools.set.version 2147483647")
        elif message in self.POWER:
            state = self.POWER.index(message) + 1
            self.rpci(b"tools.os.statechange.status 1 %d" % state)
        elif message.split(b" ")[0] not in {b"ping", b"Set_Option", b"Time_Synchronize"}:
            return b"ERROR Unknown command"
        return b"OK "


def _need(step: str, word: int) -> None:
    if not word >> 16 & SUCCESS:
        raise Refused(step, word >> 16)
