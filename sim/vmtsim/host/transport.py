"""The table of channels, and the seven low-bandwidth calls of backdoor command 30.

Registers and flags: open-vm-tools lib/include/guest_msg_def.h and lib/message/message.c.  The exact
words (0x00010000, 0x00810000, 0x00830000) are those that iPXE's include/ipxe/guestrpc.h requires.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.core.frame import Frame, low16, word
from vmtsim.host.channel import (
    CHECKPOINT,
    CLOSE,
    CLOSED,
    COOKIE_FLAG,
    DORECV,
    HIGH_BANDWIDTH,
    OPEN,
    PROTOCOLS,
    SENDPAYLOAD,
    SENDSIZE,
    STEPS,
    SUCCESS,
    Channel,
    Endpoint,
)
from vmtsim.host.fault_effects import (
    AnnouncesLength,
    AnnouncesNothing,
    CallFails,
    NamesWrongType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Effect
    from vmtsim.host.faults import Faults

# A failing channel may be used this often besides CLOSE: the call that gets the error, and two that
# abort a message in transfer.
_MAX_CALLS = 3

# Number of ended channels that are remembered for each channel number, each way.
_REMEMBERED = 32


@dataclass(slots=True)
class _Dead:
    """A former channel: the answer to calls on it, and the number of such calls."""

    cookies: tuple[int, int] | None
    reason: str
    status: int
    calls: int = 0


class _NoEndpoint:
    """The endpoint of a channel that no guest can reach."""

    def opened(self, channel: Channel, /) -> None: ...
    def received(self, channel: Channel, message: bytes, /) -> None: ...
    def asked(self, channel: Channel, fault: Effect | None, /) -> None: ...
    def fetched(self, channel: Channel, message: bytes, /) -> None: ...
    def dropped(self, channel: Channel, message: bytes, /) -> None: ...
    def gone(self, channel: Channel, reason: str, /) -> None: ...


_NO_ENDPOINT = _NoEndpoint()


class Transport:
    """The table of channels and the calls on them."""

    def __init__(self, context: Context, faults: Faults) -> None:
        self._context = context
        self._faults = faults
        self._rng = context.rng.fork("cookies")
        self.channels: dict[int, Channel] = {}
        self.endpoints: dict[str, Endpoint] = {}
        # By number: channels that the host ended, and that the guest closed.
        self._ended: dict[int, deque[_Dead]] = {}
        self._closed: dict[int, deque[_Dead]] = {}
        # True while a checkpoint interrupts every message in transfer.
        self._interrupted: set[int] = set()
        self._calls: tuple[Callable[[Frame, Channel], None], ...] = (
            self._send_size,
            self._send_payload,
            self._receive_size,
            self._receive_payload,
            self._receive_status,
            self._close,
        )
        self._idle_armed = False

    # Opening, finding, ending.

    def call(self, frame: Frame) -> None:
        """Execute one low-bandwidth MESSAGE call."""
        kind = frame.arg2 >> 16 & 0xFFFF
        if kind > CLOSE:
            self._context.violation("message-type", f"sub-command {kind}")
            self._answer(frame, 0)
            return
        if kind == OPEN:
            self._open(frame)
            return
        channel = self.find(
            frame.arg3 >> 16 & 0xFFFF,
            (frame.arg4 & 0xFFFFFFFF, frame.arg5 & 0xFFFFFFFF),
            STEPS[kind],
        )
        if isinstance(channel, int):
            self._answer(frame, channel)
            return
        channel.last_call = self._context.now()
        self._calls[kind - 1](frame, channel)

    @staticmethod
    def _answer(frame: Frame, status: int) -> None:
        # The lower half of ECX is returned as 0: NetBSD's driver requires it for CLOSE.
        frame.arg2 = (status & 0xFFFF) << 16

    def create(self, protocol: str, *, cookies: bool = True) -> Channel | None:
        """Return a new channel with the lowest free number, or None if the table is full."""
        limit = self._context.options.channels
        number = next((n for n in range(limit) if n not in self.channels), None)
        if number is None:
            return None
        secret = (self._rng.below(1 << 32), self._rng.below(1 << 32)) if cookies else None
        channel = Channel(number, protocol, self.endpoints[protocol], secret, self._context.now())
        self.channels[number] = channel
        self._watch_idle()
        return channel

    def _open(self, frame: Frame) -> None:
        context = self._context
        flagged = bool(frame.arg1 & COOKIE_FLAG)
        name = PROTOCOLS.get(frame.arg1 & 0x7FFFFFFF)
        if name is None:
            context.violation("open-protocol", f"EBX {frame.arg1 & 0xFFFFFFFF:#010x}")
            self._answer(frame, 0)
            return
        if flagged and not context.options.cookies:
            context.trace.emit("open.refused", protocol=name, reason="no cookies")
            self._answer(frame, 0)
            return
        injected = self._faults.inject("open", name)
        channel = self.create(name, cookies=flagged) if injected is None else None
        if channel is None:
            context.trace.emit("open.refused", protocol=name, reason="table full")
            context.log("GuestMsg: no channel is free.")
            self._answer(frame, 0)
            return
        context.trace.emit("open", channel=channel.number, protocol=name, cookies=flagged)
        self._answer(frame, SUCCESS)
        frame.arg3 = word(channel.number)
        if channel.cookies is not None:
            frame.arg4, frame.arg5 = channel.cookies
        channel.endpoint.opened(channel)

    def find(self, number: int, cookies: tuple[int, int], step: str) -> Channel | int:
        """Return the channel of a call, or the status word that refuses the call."""
        channel = self.channels.get(number)
        if channel is not None and channel.cookies in (None, cookies):
            return channel
        context = self._context
        # First the channels that the host ended: the guest may notice that late.
        for dead in (*self._ended.get(number, ()), *self._closed.get(number, ())):
            if dead.cookies in (None, cookies):
                return self._answer_dead(dead, number, step)
        if channel is None:
            context.violation("channel-unknown", f"{step} on channel {number}", number)
            context.log(f"GuestMsg: Channel {number}, Protocol error, state: 0")
        else:
            context.violation(
                "cookie", f"{step} with cookies {cookies[0]:#010x} {cookies[1]:#010x}", number
            )
            context.log(f"GuestMsg: channel {number}: wrong cookie, discarding message.")
        return 0

    def _answer_dead(self, dead: _Dead, number: int, step: str) -> int:
        context = self._context
        context.trace.emit("dead-channel", channel=number, step=step, reason=dead.reason)
        if dead.reason == "close":
            context.violation("channel-closed", f"{step} on channel {number}", number)
        elif step != "close":
            dead.calls += 1
            if dead.calls > _MAX_CALLS:
                context.violation(
                    "channel-dead", f"{step}, {dead.calls} calls since it failed", number
                )
        if number in self.channels:
            context.log(f"GuestMsg: channel {number}: wrong cookie, discarding message.")
        else:
            context.log(f"GuestMsg: Channel {number}, Protocol error, state: 0")
        return dead.status

    def kill(self, channel: Channel, reason: str, status: int = 0, *, calls: int = 0) -> None:
        """End ``channel`` from the host's side; later calls on it get ``status``."""
        if not channel.alive:
            return
        channel.alive = False
        self.channels.pop(channel.number, None)
        self._interrupted.discard(channel.number)
        record = _Dead(channel.cookies, reason, status, calls)
        records = self._closed if reason == "close" else self._ended
        records.setdefault(channel.number, deque(maxlen=_REMEMBERED)).appendleft(record)
        self._context.trace.emit(
            "close", channel=channel.number, protocol=channel.protocol, reason=reason
        )
        channel.endpoint.gone(channel, reason)

    def of(self, protocol: str) -> list[Channel]:
        """Return the open channels of ``protocol``, lowest number first."""
        return [c for _, c in sorted(self.channels.items()) if c.protocol == protocol]

    def interrupt(self) -> None:
        """Interrupt every message in transfer by a checkpoint."""
        for channel in self.channels.values():
            if channel.sending is not None or channel.reading is not None:
                self._interrupted.add(channel.number)

    def _watch_idle(self) -> None:
        limit = self._context.options.idle_close
        if limit and not self._idle_armed:
            self._idle_armed = True
            self._context.after(limit, self._close_idle)

    def _close_idle(self) -> None:
        self._idle_armed = False
        limit = self._context.options.idle_close * 1_000_000_000
        for channel in list(self.channels.values()):
            if self._context.now() - channel.last_call >= limit:
                self.kill(channel, "idle", CLOSED)
        if self.channels:
            self._watch_idle()

    # Faults and protocol errors that may occur at any step.

    def broken(self, channel: Channel, step: str) -> int | Effect | None:
        """Return the status of a call that fails for the host's reasons, or None to continue.

        An effect leaves the call a success: the step or the endpoint carries it out.
        """
        if channel.number in self._interrupted and step in {
            "sendpayload", "recvpayload", "recvstatus", "hb-out", "hb-in",
        }:  # fmt: skip
            self._interrupted.discard(channel.number)
            return self.restart(channel)
        effect = self._faults.inject(step, channel.protocol)
        return effect.play(self, channel) if isinstance(effect, CallFails) else effect

    def restart(self, channel: Channel) -> int:
        """Interrupt by a checkpoint: the guest has to send or fetch its message again."""
        if channel.reading is not None:
            channel.outbox.appendleft(channel.reading)
            channel.interrupted = True
        channel.sending = channel.reading = None
        channel.restarted = True
        return CHECKPOINT

    def leave_in_table(self, channel: Channel) -> None:
        """Leave a channel in the table whose cookies no guest has, until it is idle."""
        secret = (self._rng.below(1 << 32), self._rng.below(1 << 32))
        self.channels[channel.number] = Channel(
            channel.number,
            channel.protocol,
            _NO_ENDPOINT,
            secret,
            self._context.now(),
            guests=False,
        )

    @staticmethod
    def withdraw(channel: Channel) -> None:
        """Withdraw the message that the guest is fetching."""
        message, channel.reading = channel.reading, None
        if message is not None:
            channel.endpoint.dropped(channel, message)

    def out_of_turn(self, channel: Channel, step: str) -> int:
        """Record a call that does not fit the channel's state; returns its status."""
        self._context.violation("sequence", f"{step} with {channel.state()}", channel.number)
        state = 1 if channel.sending is not None else 2 if channel.reading is not None else 0
        self._context.log(f"GuestMsg: Channel {channel.number}, Protocol error, state: {state}")
        return 0

    # Guest to host.

    def _send_size(self, frame: Frame, channel: Channel) -> None:
        size = frame.arg1 & 0xFFFFFFFF
        if channel.sending is not None or channel.reading is not None:
            self._answer(frame, self.out_of_turn(channel, "sendsize"))
            return
        if size > self._context.options.max_message:
            self._context.violation("message-length", f"{size} bytes announced", channel.number)
            self._answer(frame, 0)
            return
        status = self.broken(channel, "sendsize")
        if isinstance(status, int):
            self._answer(frame, status)
            return
        offered = HIGH_BANDWIDTH if self._context.options.high_bandwidth else 0
        self._answer(frame, SUCCESS | offered)
        if size == 0:
            channel.endpoint.received(channel, b"")
        else:
            channel.sending = bytearray()
            channel.expected = size

    def _send_payload(self, frame: Frame, channel: Channel) -> None:
        if channel.sending is None:
            self._answer(frame, self.out_of_turn(channel, "sendpayload"))
            return
        status = self.broken(channel, "sendpayload")
        if isinstance(status, int):
            self._answer(frame, status)
            return
        piece = (frame.arg1 & 0xFFFFFFFF).to_bytes(4, "little")
        size = min(4, channel.expected - len(channel.sending))
        if size < 4 and any(piece[size:]):
            self._context.violation(
                "payload-padding", f"{size} bytes are left, EBX {frame.arg1:#010x}", channel.number
            )
        self._answer(frame, SUCCESS)
        self.take(channel, piece[:size])

    def take(self, channel: Channel, data: bytes) -> None:
        """Append ``data`` to the message that the guest sends; pass it on when it is complete."""
        assert channel.sending is not None
        channel.sending += data
        if len(channel.sending) >= channel.expected:
            message, channel.sending = bytes(channel.sending), None
            channel.endpoint.received(channel, message)

    # Host to guest.

    def _receive_size(self, frame: Frame, channel: Channel) -> None:
        if channel.sending is not None or channel.reading is not None:
            self._answer(frame, self.out_of_turn(channel, "recvsize"))
            return
        effect = self.broken(channel, "recvsize")
        if isinstance(effect, int):
            self._answer(frame, effect)
            return
        channel.endpoint.asked(channel, effect)
        channel.restarted = channel.interrupted = False
        if not channel.alive:
            self._answer(frame, CLOSED)
            return
        if channel.outbox:
            effect = self._faults.inject("announce", channel.protocol)
        if not channel.outbox or isinstance(effect, AnnouncesNothing):
            frame.arg1 = 0
            self._answer(frame, SUCCESS)
            return
        channel.reading = channel.outbox.popleft()
        channel.offset = 0
        channel.announced = len(channel.reading)
        if isinstance(effect, AnnouncesLength):
            channel.announced = self._faults.rng.choice(effect.lengths)
        frame.arg1 = channel.announced
        frame.arg3 = word(SENDPAYLOAD if isinstance(effect, NamesWrongType) else SENDSIZE)
        offered = HIGH_BANDWIDTH if self._context.options.high_bandwidth else 0
        self._answer(frame, SUCCESS | DORECV | offered)

    def _receive_payload(self, frame: Frame, channel: Channel) -> None:
        good = self._guest_status(frame, channel, "recvpayload")
        if self._given_up_already(frame, channel, good=good):
            return
        if channel.reading is None or (good and channel.offset >= channel.announced):
            self._answer(frame, self.out_of_turn(channel, "recvpayload"))
            return
        if not good:
            self._give_up(frame, channel)
            return
        effect = self.broken(channel, "recvpayload")
        if isinstance(effect, int):
            self._answer(frame, effect)
            return
        self._answer(frame, SUCCESS)
        piece = channel.reading[channel.offset : channel.offset + 4]
        channel.offset = min(channel.offset + 4, channel.announced)
        frame.arg1 = int.from_bytes(piece, "little")
        frame.arg3 = word(SENDSIZE if isinstance(effect, NamesWrongType) else SENDPAYLOAD)

    def _receive_status(self, frame: Frame, channel: Channel) -> None:
        good = self._guest_status(frame, channel, "recvstatus")
        if self._given_up_already(frame, channel, good=good):
            return
        if channel.reading is None:
            self._answer(frame, self.out_of_turn(channel, "recvstatus"))
            return
        if good and channel.offset < channel.announced:
            self._context.violation(
                "payload-size", f"{channel.state()}, reported success", channel.number
            )
            self._answer(frame, 0)
            return
        if not good:
            self._give_up(frame, channel)
            return
        status = self.broken(channel, "recvstatus")
        if isinstance(status, int):
            self._answer(frame, status)
            return
        self._answer(frame, SUCCESS)
        message, channel.reading = channel.reading, None
        channel.endpoint.fetched(channel, message)

    def _give_up(self, frame: Frame, channel: Channel) -> None:
        self._interrupted.discard(channel.number)
        self._answer(frame, SUCCESS)
        self.withdraw(channel)

    def _given_up_already(self, frame: Frame, channel: Channel, *, good: bool) -> bool:
        """Answer a guest that aborts a message which the host has withdrawn."""
        if good or channel.reading is not None or not channel.interrupted:
            return False
        channel.interrupted = False
        self._answer(frame, 0)
        return True

    def _guest_status(self, frame: Frame, channel: Channel, step: str) -> bool:
        value = low16(frame.arg1)
        if frame.arg1 & 0xFFFFFFFF not in (0, SUCCESS):
            self._context.violation(
                "payload-status", f"{step} with EBX {frame.arg1 & 0xFFFFFFFF:#010x}", channel.number
            )
        return bool(value & SUCCESS)

    def _close(self, frame: Frame, channel: Channel) -> None:
        if self._faults.inject("close", channel.protocol) is not None:
            # The guest forgets the channel with any answer, and so does the host.
            self._answer(frame, 0)
        else:
            self._answer(frame, SUCCESS)
        self.kill(channel, "close")
