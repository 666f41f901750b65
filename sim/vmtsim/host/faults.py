"""Faults of the host, injected at random or by a script.

A fault is a name with the points at which it can be injected.  Random faults have integer odds per
name, drawn from the host's own stream; a script arms one fault for its next opportunities.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field

from vmtsim.host import fault_messages
from vmtsim.host.channel import CLOSED, POWEROFF, TIMEOUT, UNSENT
from vmtsim.host.fault_effects import (
    AnnouncesLength,
    AnnouncesNothing,
    CallFails,
    ChannelTaken,
    ClockChanged,
    CommandNotRun,
    Effect,
    Messages,
    NamesWrongType,
    OpenFails,
    ReplyChanged,
    TimeRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.core.rng import Rng
    from vmtsim.host.channel import Channel
    from vmtsim.host.clock import HostClock
    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Details
    from vmtsim.host.transport import Transport

# The points of a message: the seven sub-commands, a message about to be announced, the two
# high-bandwidth calls, an RPCI command about to be executed, a time command.
POINTS = (
    "open",
    "sendsize",
    "sendpayload",
    "recvsize",
    "announce",
    "recvpayload",
    "recvstatus",
    "close",
    "hb-out",
    "hb-in",
    "rpci",
    "time",
)
_PAYLOAD = ("sendpayload", "recvpayload", "recvstatus", "hb-out", "hb-in")
_LENGTHS = ("sendsize", "recvsize")


@dataclass(frozen=True)
class Fault:
    """A fault: its injection points, a sentence that describes it, and its effect."""

    name: str
    points: tuple[str, ...]
    text: str
    effect: Effect
    # A further limit: only on channels of this protocol ("rpci" or "tclo").
    protocol: str | None = None
    # A limit for random faults: only if no TCLO message waits.  Each message of a burst is an
    # opportunity for the next burst, so that frequent bursts would never end.
    alone: bool = False


def _killed(name: str, status: int) -> CallFails:
    """Return the effect that the host forgets the channel; the call returns this status word."""

    def play(transport: Transport, channel: Channel) -> int:
        transport.kill(channel, name, status, calls=1)
        return status

    return CallFails(play)


def _wrong_cookie(transport: Transport, channel: Channel) -> int:
    transport.kill(channel, "wrong-cookie", calls=1)
    transport.leave_in_table(channel)
    return 0


def _unsent(transport: Transport, channel: Channel) -> int:
    transport.withdraw(channel)
    channel.interrupted = True
    return UNSENT


def _jump(details: Details, clock: HostClock) -> None:
    rng, seconds = details.rng, details.arguments.get("seconds")
    span = 10 ** rng.between(0, 5)
    drawn = rng.between(-span, span) * 1_000_000_000 if seconds is None else round(seconds * 1e9)
    clock.jump(drawn)


def _garbage(details: Details, clock: HostClock) -> None:
    clock.broken = details.rng.choice(
        ((0, 0), (-1, 0), (1 << 62, 0), (1_767_225_600, 1_000_000), (5, 0xFFFFFFFF))
    )


_STATUSES = (*_LENGTHS, *_PAYLOAD)
_ENORMOUS = (65537, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF)
_CATALOGUE = (
    Fault("checkpoint", _PAYLOAD, "a checkpoint interrupted the message: start it again",
          CallFails(lambda transport, channel: transport.restart(channel))),
    Fault("lose-channel", _STATUSES, "the host forgets the channel", _killed("lose-channel", 0)),
    Fault("wrong-cookie", _STATUSES, "the host has other cookies for the channel",
          CallFails(_wrong_cookie)),
    Fault("closed", _STATUSES, "the host closed the channel (flag 0x0004)",
          _killed("closed", CLOSED)),
    Fault("unsent", ("recvpayload", "hb-in", "recvstatus"), "the host withdrew its message",
          CallFails(_unsent)),
    Fault("power-off", _STATUSES, "the host is powering the machine off (flag 0x0020)",
          _killed("power-off", POWEROFF)),
    Fault("timed-out", _STATUSES, "the host timed the channel out (flag 0x0040)",
          _killed("timed-out", TIMEOUT)),
    Fault("refuse", (*_STATUSES, "close"), "one call fails, the channel stays open",
          CallFails(lambda _transport, _channel: 0)),
    Fault("table-full", ("open",), "no channel is free", OpenFails()),
    Fault("wrong-type", ("announce", "recvpayload"), "EDX names another type than it should",
          NamesWrongType()),
    Fault("huge-length", ("announce",), "the announced length exceeds all limits",
          AnnouncesLength(_ENORMOUS)),
    Fault("slow-reply", ("announce",), "the RPCI reply is not ready yet", AnnouncesNothing(),
          "rpci"),
    Fault("no-reply", ("rpci",), "the RPCI command is never answered",
          CommandNotRun(lambda _: None), "rpci"),
    Fault("reject", ("rpci",), "the command is refused: '0 ' and a text",
          CommandNotRun(lambda d: str(d.arguments.get("reply", "0 Permission denied")).encode()),
          "rpci"),
    Fault("reject-text", ("rpci",), "'1 ' and a text: accepted, but not stored",
          # A command whose reply begins with "1 " was executed, whatever follows.
          ReplyChanged(lambda _, reply: b"1 not stored" if reply[:2] == b"1 " else reply), "rpci"),
    Fault("garbage-reply", ("rpci",), "the reply is random bytes",
          CommandNotRun(lambda d: d.rng.bytes(d.rng.between(2, 64))), "rpci"),
    Fault("empty-reply", ("rpci",), "the reply has less than two bytes",
          CommandNotRun(lambda d: d.rng.choice((b"", b"1", b"0"))), "rpci"),
    Fault("long-reply", ("rpci",), "the reply is tens of kilobytes long",
          ReplyChanged(lambda d, reply: reply[:2] + b"x" * d.rng.between(5_000, 65_000)), "rpci"),
    Fault("steal", ("recvsize",), "another TCLO client takes over the application", ChannelTaken(),
          "tclo"),
    Fault("garbage-message", ("recvsize",), "a TCLO message of random bytes",
          Messages(fault_messages.garbage), "tclo"),
    Fault("unknown-message", ("recvsize",), "an unknown TCLO command",
          Messages(fault_messages.unknown), "tclo"),
    Fault("long-message", ("recvsize",), "a TCLO message of up to 64 KiB",
          Messages(fault_messages.long), "tclo"),
    Fault("nul-message", ("recvsize",), "a ping with NUL bytes at its end",
          Messages(fault_messages.with_nul), "tclo"),
    Fault("empty-message", ("recvsize",), "a TCLO message of no bytes",
          Messages(fault_messages.empty), "tclo"),
    Fault("burst", ("recvsize",), "many TCLO messages at once", Messages(fault_messages.burst),
          "tclo", alone=True),
    Fault("power-request", ("recvsize",), "the administrator presses a power button",
          Messages(fault_messages.power), "tclo"),
    Fault("clock-jump", ("time",), "the host's clock jumps, either way", ClockChanged(_jump)),
    Fault("clock-garbage", ("time",), "one answer with invalid seconds or microseconds",
          ClockChanged(_garbage)),
    Fault("clock-refused", ("time",), "the time command is refused", TimeRefused()),
)  # fmt: skip
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _CATALOGUE}


@dataclass
class _Armed:
    fault: Fault
    points: tuple[str, ...]
    times: int
    skip: int
    arguments: dict[str, Any] = field(default_factory=dict)


class Faults:
    """Decides whether a fault is injected now.

    ``plan`` maps a fault's name to (numerator, denominator); an absent name never happens.
    ``enabled`` switches random faults off (armed faults are still injected): the liveness phase of
    a campaign.  ``injected`` counts injected faults.  ``messages_wait`` is whether TCLO messages
    wait; the TCLO side sets it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rng = context.rng.fork("faults")
        self._by_point: dict[str, list[tuple[Fault, tuple[int, int]]]] = {}
        # The faults and odds of each (point, protocol), as the first call there computed them.
        self._possible: dict[
            tuple[str, str | None], tuple[tuple[Fault, ...], tuple[tuple[int, int], ...]]
        ] = {}
        self._armed: list[_Armed] = []
        self.enabled = True
        self.injected: Counter[str] = Counter()
        self.arguments: dict[str, Any] = {}
        self.last = ""  # the fault that was injected last
        self.messages_wait: Callable[[], bool] = lambda: False

    def set_plan(self, plan: Mapping[str, tuple[int, int]]) -> None:
        """Use these odds from now on.  Raises ValueError for an unknown fault."""
        by_point: dict[str, list[tuple[Fault, tuple[int, int]]]] = {}
        for name in sorted(plan):
            fault = find(name)
            for point in fault.points:
                by_point.setdefault(point, []).append((fault, plan[name]))
        self._by_point = by_point
        self._possible = {}

    def _possible_at(
        self, point: str, protocol: str | None
    ) -> tuple[tuple[Fault, ...], tuple[tuple[int, int], ...]]:
        """Return the faults that a call at ``point`` draws, and their odds."""
        drawn = [
            (fault, odds)
            for fault, odds in self._by_point.get(point, ())
            if fault.protocol is None or fault.protocol == protocol
        ]
        found = tuple(fault for fault, _ in drawn), tuple(odds for _, odds in drawn)
        self._possible[point, protocol] = found
        return found

    def arm(
        self,
        name: str,
        *,
        times: int = 1,
        skip: int = 0,
        at: str | None = None,
        **arguments: Any,
    ) -> None:
        """Inject ``name`` at its next ``times`` opportunities, after skipping ``skip``.

        ``at`` restricts it to one point, which may be one where it is never injected at random.
        Raises ValueError for a point at which the fault's effect has no meaning.
        """
        fault = find(name)
        if at is not None and at not in POINTS:
            raise ValueError(f"no point {at!r}: use one of {', '.join(POINTS)}")
        if at is not None and at not in fault.effect.POINTS:
            possible = ", ".join(fault.effect.POINTS)
            raise ValueError(f"{name} has no effect at {at}: use one of {possible}")
        points = fault.points if at is None else (at,)
        self._armed.append(_Armed(fault, points, times, skip, arguments))

    def disarm(self) -> None:
        """Disarm all faults."""
        self._armed.clear()

    @property
    def armed(self) -> tuple[str, ...]:
        """The names of armed faults."""
        return tuple(each.fault.name for each in self._armed)

    def inject(self, point: str, protocol: str | None = None, subject: str = "") -> Effect | None:
        """Return the effect of the fault that is injected at this point, or None.

        An armed fault that has an argument ``command`` is injected only if ``subject`` begins with
        it.  ``arguments`` then holds the fault's arguments.
        """
        if self._armed:
            found = self._scripted(point, protocol, subject)
            if found is not None:
                return found
        if not self.enabled:
            return None
        possible = self._possible.get((point, protocol)) or self._possible_at(point, protocol)
        faults, odds = possible
        if not odds:
            return None
        # All are drawn before one is taken: a fault that is absent does not shift the others.
        drawn = self._rng.chances(odds)
        if not drawn:
            return None
        hits = [
            fault
            for fault in map(faults.__getitem__, drawn)
            if not (fault.alone and self.messages_wait())
        ]
        if not hits:
            return None
        self.arguments = {}
        return self._record(self._rng.choice(hits), point)

    def _scripted(self, point: str, protocol: str | None, subject: str) -> Effect | None:
        for armed in self._armed:
            arguments = armed.arguments
            if point not in armed.points:
                continue
            expected = arguments.get("protocol", armed.fault.protocol)
            if expected is not None and expected != protocol:
                continue
            if not subject.startswith(arguments.get("command", "")):
                continue
            if armed.skip > 0:
                armed.skip -= 1
                continue
            armed.times -= 1
            if armed.times <= 0:
                self._armed.remove(armed)
            self.arguments = arguments
            return self._record(armed.fault, point)
        return None

    def _record(self, fault: Fault, point: str) -> Effect:
        self.injected[fault.name] += 1
        self._context.trace.emit("fault", name=fault.name, point=point, text=fault.text)
        self.last = fault.name
        return fault.effect

    @property
    def rng(self) -> Rng:
        """The stream for the details of a fault: lengths, contents, directions."""
        return self._rng


def find(name: str) -> Fault:
    """Return the fault called ``name`` (underscores count as hyphens); raises ValueError."""
    fault = FAULTS.get(name.replace("_", "-"))
    if fault is None:
        raise ValueError(f"unknown fault {name!r}: use one of {', '.join(FAULTS)}")
    return fault
