"""The TCLO side: the host's messages to the guest, and its handling of the answers.

The loop, the replies and the start: open-vm-tools lib/rpcIn/rpcin.c and
lib/rpcChannel/rpcChannel.c.  start.py sends the messages after a reset,
applications.py keeps the names of channels.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field

from vmtsim.host import vix
from vmtsim.host.applications import APPLICATION, Applications, Rival
from vmtsim.host.fault_effects import ChannelTaken, Messages
from vmtsim.host.start import Start

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.timers import Timer
    from vmtsim.host.channel import Channel
    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Effect
    from vmtsim.host.faults import Faults
    from vmtsim.host.power import Power
    from vmtsim.host.tools import Tools
    from vmtsim.host.transport import Transport

_RESETS = 3
_REGISTER = b"Capabilities_Register"


@dataclass(eq=False)
class Message:
    """One message to the guest, from the queue to its answer."""

    text: bytes
    done: Callable[[bool, bytes], None] | None = None
    # One of the messages after a reset: not sent twice if the guest resets again.
    start: bool = False
    # From this time on the guest owes the answer.
    fetched: bool = False
    timer: Timer | None = None

    def finish(self, ok: bool, reply: bytes) -> None:
        """End the message with its answer, or with (False, b"") for none."""
        self.withdraw()
        done, self.done = self.done, None
        if done is not None:
            done(ok, reply)

    def withdraw(self) -> None:
        """Cancel its timeout."""
        if self.timer is not None:
            self.timer.cancel()


@dataclass(eq=False)
class _Line:
    """A TCLO channel's state above the transport."""

    direct: deque[Message] = field(default_factory=deque)
    current: Message | None = None
    sent: bool = False
    late: int = 0
    resets: int = 0
    # Another client that this simulation makes, which never polls.
    rival: Rival | None = None


class Tclo:
    """Queues messages for the application and runs the host's part of the loop."""

    def __init__(
        self,
        context: Context,
        transport: Transport,
        faults: Faults,
        tools: Tools,
        power: Power,
    ) -> None:
        self._context = context
        self._transport = transport
        self._faults = faults
        self._tools = tools
        self._power = power
        # Called with each message that the guest has read, from any sender.
        self.on_fetched: Callable[[bytes], None] = lambda _message: None
        self._lines: dict[Channel, _Line] = {}
        self.queue: deque[Message] = deque()
        faults.messages_wait = lambda: bool(self.queue)
        self.applications = Applications(context, transport, tools.heartbeat)
        self.applications.lost = self._lost
        self._start = Start(context, tools, power, self)
        self.resets = 0
        self.claims = 0

    # Called by the operator.

    def send(
        self,
        message: str | bytes,
        done: Callable[[bool, bytes], None] | None = None,
        *,
        start: bool = False,
    ) -> None:
        """Queue a message for the application; ``done(ok, reply)`` is called with its answer.

        The message waits until the application is bound and the previous message is answered.
        The host abandons a message that the guest does not fetch in time (E11).
        """
        text = message.encode() if isinstance(message, str) else bytes(message)
        queued = Message(text, done, start)
        expiry = self._context.options.message_expiry
        if expiry:
            queued.timer = self._context.after(expiry, lambda: self._expired(queued))
        self.queue.append(queued)

    def set_option(self, name: str, value: str, *, start: bool = False) -> None:
        """Send the value of an option to the guest."""
        self.send(f"Set_Option {name} {value}", start=start)

    def reset(self) -> bool:
        """Send ``reset`` once more on the application's channel; returns false if there is none."""
        channel = self.channel
        if channel is None:
            return False
        self._reset(self._lines[channel])
        return True

    @property
    def channel(self) -> Channel | None:
        """The channel of the application, None while no client in the guest has its name."""
        return self.applications.bound.get(APPLICATION)

    @property
    def registering(self) -> bool:
        """Whether the host waits for the application's registration."""
        line = self._lines.get(self.channel) if self.channel is not None else None
        current = line.current if line is not None else None
        return current is not None and current.fetched and current.text == _REGISTER

    @property
    def idle(self) -> bool:
        """Whether no message waits to be sent or answered."""
        return not self.queue and all(
            line.current is None and not line.direct for line in self._lines.values()
        )

    def steal(self, seconds: float = 3.0) -> None:
        """Let a second tools client claim the application's name for ``seconds``."""
        Rival(self._context, self._transport, self.applications, seconds, self._rival_came)

    def _rival_came(self, rival: Rival, channel: Channel) -> None:
        self.claims += 1
        self._lines[channel] = _Line(rival=rival)

    def _reset(self, line: _Line) -> None:
        line.resets += 1
        line.direct.append(Message(b"reset"))

    def _lost(self, name: str) -> None:
        if name == APPLICATION:
            self._start.stop()

    def _expired(self, message: Message) -> None:
        if message not in self.queue:
            return
        self.queue.remove(message)
        self.applications.timed_out(None)
        self._context.trace.emit("tclo.timeout", channel=None, message=message.text, fetched=False)
        message.finish(ok=False, reply=b"")

    # Endpoint of the transport.

    def opened(self, channel: Channel) -> None:
        """Greet a new channel with ``reset``: the host knows only its client's name."""
        line = self._lines[channel] = _Line()
        self._reset(line)

    def received(self, channel: Channel, message: bytes) -> None:
        """Handle the send that begins each turn: an answer, or nothing."""
        line = self._lines[channel]
        line.sent = True
        self._tools.heartbeat.beat()
        current = line.current
        owed = current is not None and current.fetched
        if not message:
            if current is not None and owed:
                self._context.violation(
                    "tclo-reply-owed", f"empty send after {current.text!r}", channel.number
                )
                self._finish(channel, line, current, ok=False, reply=b"")
                return
            # The guest owes no answer to an abandoned message.
            line.late = 0
            if self._context.trace.has_listener("poll"):
                self._context.trace.emit("poll", channel=channel.number)
            return
        if current is None or not owed:
            if line.late:
                line.late -= 1
                self._context.trace.emit("tclo.late", channel=channel.number, reply=message)
            else:
                self._context.violation("tclo-unrequested", repr(message[:40]), channel.number)
            return
        ok = self._judge(channel, current, message)
        self._finish(channel, line, current, ok=ok, reply=message)

    def _judge(self, channel: Channel, message: Message, reply: bytes) -> bool:
        strict = self._context.options.age == "old" and not vix.is_vix(message.text)
        if strict and reply.endswith(b"\0"):
            self._context.violation("tclo-reply-nul", repr(reply[-20:]), channel.number)
        ok = reply.startswith(b"OK ")
        if not ok and not reply.startswith(b"ERROR "):
            self._context.violation("tclo-reply", repr(reply[:40]), channel.number)
        return ok

    def _finish(
        self, channel: Channel, line: _Line, message: Message, *, ok: bool, reply: bytes
    ) -> None:
        line.current = None
        self._context.trace.emit(
            "tclo.reply", channel=channel.number, message=message.text, reply=reply, ok=ok
        )
        self._power.replied(message.text, ok=ok)
        if reply:
            self.applications.answered(channel)
        if message.text == b"reset":
            self._after_reset(channel, line, reply if ok else b"")
        message.finish(ok, reply)

    def asked(self, channel: Channel, fault: Effect | None) -> None:
        """Put the next message into the outbox, if the guest may have one."""
        line = self._lines[channel]
        current = line.current
        if current is not None and current.fetched:
            self._context.violation(
                "tclo-reply-owed", f"next message requested after {current.text!r}", channel.number
            )
            return
        if not line.sent and not channel.restarted:
            self._context.violation("tclo-recv-without-send", "RECVSIZE", channel.number)
        line.sent = False
        if isinstance(fault, ChannelTaken):
            self.steal()
            return
        if isinstance(fault, Messages):
            fault.play(self._faults, self, self._power)
        if current is not None:
            return
        if line.direct:
            message = line.direct.popleft()
        elif self.queue and channel is self.channel:
            message = self.queue.popleft()
        else:
            return
        message.withdraw()
        line.current = message
        channel.outbox.append(message.text + self._nul(message))
        message.timer = self._context.after(
            self._context.options.reply_timeout, lambda: self._timed_out(channel, line, message)
        )

    def _nul(self, message: Message) -> bytes:
        which = self._context.options.nul_terminated
        return b"\0" if which == "all" or (which == "ping" and message.text == b"ping") else b""

    def fetched(self, channel: Channel, message: bytes) -> None:
        """Handle a message that the guest has read; from now on it owes the answer."""
        line = self._lines[channel]
        if line.current is not None:
            line.current.fetched = True
            self._context.trace.emit("tclo", channel=channel.number, message=message)
            self._power.fetched(line.current.text)
            self.on_fetched(line.current.text)

    def dropped(self, channel: Channel, message: bytes) -> None:
        """Handle a message that the guest stopped reading, or that was withdrawn."""
        line = self._lines[channel]
        current, line.current = line.current, None
        self._context.trace.emit("tclo.dropped", channel=channel.number, message=message)
        if current is not None:
            # The guest may report the reason instead of an answer.
            line.late += 1
            self._again(line, current)
            current.finish(ok=False, reply=b"")

    def gone(self, channel: Channel, reason: str) -> None:
        """Forget a channel; its current message is lost."""
        line = self._lines.pop(channel)
        self.applications.gone(channel, reason)
        if line.rival is not None:
            line.rival.gone()
        if line.current is not None:
            self._context.trace.emit(
                "tclo.lost", channel=channel.number, message=line.current.text, reason=reason
            )
            line.current.finish(ok=False, reply=b"")

    @staticmethod
    def _again(line: _Line, message: Message) -> None:
        # Without its reset a channel would stay silent forever.
        if message.text == b"reset" and line.resets < _RESETS:
            line.resets += 1
            line.direct.append(Message(b"reset"))

    def _timed_out(self, channel: Channel, line: _Line, message: Message) -> None:
        if line.current is not message or not channel.alive:
            return
        if not message.fetched:
            if channel.reading is not None:
                # Partially read: the guest may still finish it, and answer late.
                line.late += 1
            channel.outbox.clear()
        else:
            line.late += 1
        line.current = None
        self.applications.timed_out(channel)
        self._context.trace.emit(
            "tclo.timeout", channel=channel.number, message=message.text, fetched=message.fetched
        )
        self._again(line, message)
        message.finish(ok=False, reply=b"")

    def _after_reset(self, channel: Channel, line: _Line, reply: bytes) -> None:
        prefix, _, name = reply.decode("latin-1").rstrip("\0").rpartition(" ")
        if prefix != "OK ATR" or not name:
            self._context.violation("tclo-reset", repr(reply[:40]), channel.number)
            self._again(line, Message(b"reset"))
            return
        line.resets = 0
        self.resets += 1
        if self.applications.claim(name, channel) and name == APPLICATION:
            self._start.begin()
