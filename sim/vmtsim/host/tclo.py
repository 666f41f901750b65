"""The TCLO side: what the host tells the guest, and how it takes the answers.

The loop, the replies and the start: open-vm-tools lib/rpcIn/rpcin.c and
lib/rpcChannel/rpcChannel.c.  The order after a reset, the host's log lines and its time-outs were
read in public vmware.log files and in govmomi's toolbox.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vmtsim.host.channel import CLOSED
from vmtsim.host.fault_effects import ChannelTaken, Messages
from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.channel import Channel
    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Effect
    from vmtsim.host.faults import Faults
    from vmtsim.host.power import Power
    from vmtsim.host.timers import Timer
    from vmtsim.host.tools import Tools
    from vmtsim.host.transport import Transport

APPLICATION = "toolbox"
_RESETS = 3


@dataclass(eq=False)
class Message:
    """One message to the guest, from the queue to its answer."""

    text: bytes
    done: Callable[[bool, bytes], None] | None = None
    # Part of what follows a reset: not said twice when the guest resets again.
    start: bool = False
    # From here on the guest owes the answer.
    fetched: bool = False
    timer: Timer | None = None

    def finish(self, ok: bool, reply: bytes) -> None:
        """End the message with its answer, or with (False, b"") for none."""
        if self.timer is not None:
            self.timer.cancel()
        done, self.done = self.done, None
        if done is not None:
            done(ok, reply)


@dataclass(eq=False)
class _Line:
    """A TCLO channel's state above the transport."""

    direct: deque[Message] = field(default_factory=deque)
    current: Message | None = None
    sent: bool = False
    late: int = 0
    resets: int = 0
    # Another client of this simulation's making: how long it insists on the name (virtual ns).
    thief_until: int | None = None


class Tclo:
    """Queues messages for the application and plays the host's part of the loop."""

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
        # Told what the guest has read, whoever sent it.
        self.on_fetched: Callable[[bytes], None] = lambda _message: None
        self._lines: dict[Channel, _Line] = {}
        self._announced = False
        self.queue: deque[Message] = deque()
        faults.crowded = lambda: bool(self.queue)
        # Application name -> the channel that it answers on.
        self.bound: dict[str, Channel] = {}
        self.resets = 0
        self.thefts = 0
        self._ping: Timer | None = None
        self._broadcast: Timer | None = None

    # The operator's side.

    def send(
        self,
        message: str | bytes,
        done: Callable[[bool, bytes], None] | None = None,
        *,
        start: bool = False,
    ) -> None:
        """Queue a message for the application; ``done(ok, reply)`` is called with its answer.

        It waits for the application to be bound, and one message waits for the other's answer.
        """
        text = message.encode() if isinstance(message, str) else bytes(message)
        self.queue.append(Message(text, done, start))

    def set_option(self, name: str, value: str, *, start: bool = False) -> None:
        """Tell the guest the value of an option."""
        self.send(f"Set_Option {name} {value}", start=start)

    def reset(self) -> bool:
        """Send ``reset`` once more on the application's channel; returns false without one."""
        channel = self.bound.get(APPLICATION)
        if channel is None:
            return False
        self._reset(self._lines[channel])
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent or answered."""
        return not self.queue and all(
            line.current is None and not line.direct for line in self._lines.values()
        )

    def _reset(self, line: _Line) -> None:
        line.resets += 1
        line.direct.append(Message(b"reset"))

    # Endpoint of the transport.

    def opened(self, channel: Channel) -> None:
        """Greet a new channel with ``reset``: nothing else is known of who opened it."""
        line = self._lines[channel] = _Line()
        self._reset(line)

    def received(self, channel: Channel, message: bytes) -> None:
        """Take the send that begins each turn: an answer, or nothing."""
        line = self._lines[channel]
        line.sent = True
        self._tools.alive()
        current = line.current
        owed = current is not None and current.fetched
        if not message:
            if current is not None and owed:
                self._context.violation(
                    "tclo-reply-owed", f"empty send after {current.text!r}", channel.number
                )
                self._finish(channel, line, current, ok=False, reply=b"")
                return
            # Nothing is owed any more for what was given up.
            line.late = 0
            if self._context.trace.wants("poll"):
                self._context.trace.emit("poll", channel=channel.number)
            return
        if current is None or not owed:
            if line.late:
                line.late -= 1
                self._context.trace.emit("tclo.late", channel=channel.number, reply=message)
            else:
                self._context.violation("tclo-unasked", repr(message[:40]), channel.number)
            return
        ok = self._judge(channel, message)
        self._finish(channel, line, current, ok=ok, reply=message)

    def _judge(self, channel: Channel, reply: bytes) -> bool:
        if reply.endswith(b"\0"):
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
        if message.text == b"reset":
            self._after_reset(channel, line, reply if ok else b"")
        message.finish(ok, reply)

    def asked(self, channel: Channel, fault: Effect | None) -> None:
        """Put the next message into the outbox, if the guest may have one."""
        line = self._lines[channel]
        current = line.current
        if current is not None and current.fetched:
            self._context.violation(
                "tclo-reply-owed", f"next message asked after {current.text!r}", channel.number
            )
            return
        if not line.sent and not channel.restarted:
            self._context.violation("tclo-recv-without-send", "RECVSIZE", channel.number)
        line.sent = False
        if isinstance(fault, ChannelTaken):
            self.steal(channel)
            return
        if isinstance(fault, Messages):
            fault.play(self._faults, self, self._power)
        if current is not None:
            return
        if line.direct:
            message = line.direct.popleft()
        elif self.queue and channel is self.bound.get(APPLICATION):
            message = self.queue.popleft()
        else:
            return
        line.current = message
        nul = b"\0" if self._context.options.nul_terminated else b""
        channel.outbox.append(message.text + nul)
        message.timer = self._context.after(
            self._context.options.reply_timeout, lambda: self._timed_out(channel, line, message)
        )

    def fetched(self, channel: Channel, message: bytes) -> None:
        """Note that the guest has read the message; from here on it owes the answer."""
        line = self._lines[channel]
        if line.current is not None:
            line.current.fetched = True
            self._context.trace.emit("tclo", channel=channel.number, message=message)
            self._power.fetched(line.current.text)
            self.on_fetched(line.current.text)

    def dropped(self, channel: Channel, message: bytes) -> None:
        """Note that the guest gave up reading the message, or that it was withdrawn."""
        line = self._lines[channel]
        current, line.current = line.current, None
        self._context.trace.emit("tclo.dropped", channel=channel.number, message=message)
        if current is not None:
            # It may say why in place of an answer.
            line.late += 1
            self._again(line, current)
            current.finish(ok=False, reply=b"")

    def gone(self, channel: Channel, reason: str) -> None:
        """Forget a channel; the message on its way is lost."""
        line = self._lines.pop(channel)
        for name, bound in list(self.bound.items()):
            if bound is channel:
                del self.bound[name]
                if name == APPLICATION:
                    self._quiet()
                    self._tools.set_running(running=False, reason=reason)
        until = line.thief_until
        if until is not None and reason == "stolen":
            # Tools daemons come back a second after an error, and take the name again.
            self._context.after(1.0, lambda: self._steal_again(until))
        if line.current is not None:
            self._context.trace.emit(
                "tclo.lost", channel=channel.number, message=line.current.text, reason=reason
            )
            line.current.finish(ok=False, reply=b"")

    @staticmethod
    def _again(line: _Line, message: Message) -> None:
        # Without its reset a channel would stay silent for ever.
        if message.text == b"reset" and line.resets < _RESETS:
            line.resets += 1
            line.direct.append(Message(b"reset"))

    def _timed_out(self, channel: Channel, line: _Line, message: Message) -> None:
        if line.current is not message or not channel.alive:
            return
        if not message.fetched:
            if channel.reading is not None:
                # Half read: the guest may still finish it, and answer late.
                line.late += 1
            channel.outbox.clear()
        else:
            line.late += 1
        line.current = None
        self._context.log(f"GuestRpcSendTimedOut: message to {APPLICATION} timed out.")
        self._context.trace.emit(
            "tclo.timeout", channel=channel.number, message=message.text, fetched=message.fetched
        )
        self._again(line, message)
        message.finish(ok=False, reply=b"")

    # What follows a reset.

    def _after_reset(self, channel: Channel, line: _Line, reply: bytes) -> None:
        prefix, _, name = reply.decode("latin-1").rstrip("\0").rpartition(" ")
        if prefix != "OK ATR" or not name:
            self._context.violation("tclo-reset", repr(reply[:40]), channel.number)
            self._again(line, Message(b"reset"))
            return
        line.resets = 0
        self.resets += 1
        before = self.bound.get(name)
        if before is not channel:
            old = before.number if before is not None else 65535
            self._context.log(
                f"GuestRpc: application {name}, changing channel {old} -> {channel.number}"
            )
            self._context.trace.emit("tclo.bound", name=name, channel=channel.number, before=old)
            self.bound[name] = channel
            if before is not None:
                self._transport.kill(before, "stolen", CLOSED)
        if name == APPLICATION:
            self._start()

    def _start(self) -> None:
        options = self._context.options
        self._tools.forget()
        self._tools.set_running(running=True, reason="reset")
        self.queue = deque(message for message in self.queue if not message.start)
        waiting, self.queue = self.queue, deque()
        if options.capabilities_register:
            self.send("Capabilities_Register", start=True)
        for name, value in options.option_burst:
            self.set_option(name, value, start=True)
        self.queue.extend(waiting)
        if options.power_on and not self._announced:
            self._power.request("power-on")
        self._announced = True
        self._quiet()
        if options.ping:
            self._ping = self._context.after(options.ping, self._send_ping)
        if options.broadcast_ip:
            self._broadcast = self._context.after(
                options.broadcast_ip, lambda: self.set_option("broadcastIP", "1")
            )

    def _send_ping(self) -> None:
        if not any(message.text == b"ping" for message in self.queue):
            self.send("ping")
        self._ping = self._context.after(self._context.options.ping, self._send_ping)

    def _quiet(self) -> None:
        for timer in (self._ping, self._broadcast):
            if timer is not None:
                timer.cancel()

    # Another client of the same name.

    def steal(self, channel: Channel, seconds: float = 3.0) -> None:
        """Let a second tools client take the application from ``channel``, and insist on it.

        For ``seconds`` it takes the name back whenever the guest does; then it leaves.
        """
        thief = self._transport.create("tclo")
        if thief is None:
            return
        thief.guests = False
        self.thefts += 1
        until = self._context.now() + round(seconds * NANOSECONDS)
        self._lines[thief] = _Line(thief_until=until)
        self._context.trace.emit("open", channel=thief.number, protocol="tclo", cookies=True)
        self._context.log(
            f"GuestRpc: application {APPLICATION}, changing channel "
            f"{channel.number} -> {thief.number}"
        )
        if channel is self.bound.get(APPLICATION):
            self._quiet()
        self.bound[APPLICATION] = thief
        self._transport.kill(channel, "stolen", CLOSED, told=1)
        self._context.after(seconds, lambda: self._transport.kill(thief, "thief left", CLOSED))

    def _steal_again(self, until: int) -> None:
        channel = self.bound.get(APPLICATION)
        left = until - self._context.now()
        if channel is not None and left > 0 and self._lines[channel].thief_until is None:
            self.steal(channel, left / NANOSECONDS)
