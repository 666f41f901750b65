"""What can go wrong on the host's side, by chance or by script.

A fault is a name with the points at which it can strike.  Chance is a plan of integer odds per
name, drawn from the host's own stream; a script arms one fault for its next opportunities.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmtsim.core.rng import Rng
    from vmtsim.host.context import Context

# The points of a message: the seven sub-commands, a message about to be announced, the two
# high-bandwidth calls, an RPCI command about to be carried out, a time command.
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
    """One way to fail: where it may strike, and what it does in a sentence."""

    name: str
    points: tuple[str, ...]
    text: str
    # A further limit: only on channels of this protocol ("rpci" or "tclo").
    protocol: str | None = None
    # And one for chance alone: only where no TCLO message waits.  Each message of a burst is an
    # opportunity for the next burst, which frequent ones would never let end.
    alone: bool = False


_CATALOGUE = (
    Fault("checkpoint", _PAYLOAD, "the message was interrupted by a checkpoint: start it again"),
    Fault("lose-channel", (*_LENGTHS, *_PAYLOAD), "the host forgets the channel"),
    Fault("wrong-cookie", (*_LENGTHS, *_PAYLOAD), "the host knows the channel by other cookies"),
    Fault("closed", (*_LENGTHS, *_PAYLOAD), "the host closed the channel (flag 0x0004)"),
    Fault("unsent", ("recvpayload", "hb-in", "recvstatus"), "the host withdrew its message"),
    Fault(
        "power-off", (*_LENGTHS, *_PAYLOAD), "the host is powering the machine off (flag 0x0020)"
    ),
    Fault("timed-out", (*_LENGTHS, *_PAYLOAD), "the host timed the channel out (flag 0x0040)"),
    Fault("refuse", (*_LENGTHS, *_PAYLOAD, "close"), "one call fails, the channel lives on"),
    Fault("table-full", ("open",), "no channel is free"),
    Fault("wrong-type", ("announce", "recvpayload"), "EDX names another type than it should"),
    Fault("huge-length", ("announce",), "the announced length is beyond any limit"),
    Fault("slow-reply", ("announce",), "the RPCI reply is not there yet", "rpci"),
    Fault("no-reply", ("rpci",), "the RPCI command is never answered", "rpci"),
    Fault("reject", ("rpci",), "the command is refused: '0 ' and a text", "rpci"),
    Fault("reject-text", ("rpci",), "'1 ' and a text: taken, but not stored", "rpci"),
    Fault("garbage-reply", ("rpci",), "the reply is random bytes", "rpci"),
    Fault("empty-reply", ("rpci",), "the reply has less than two bytes", "rpci"),
    Fault("long-reply", ("rpci",), "the reply is tens of kilobytes long", "rpci"),
    Fault("steal", ("recvsize",), "another TCLO client takes the application", "tclo"),
    Fault("garbage-message", ("recvsize",), "a TCLO message of random bytes", "tclo"),
    Fault("unknown-message", ("recvsize",), "a TCLO command that nobody knows", "tclo"),
    Fault("long-message", ("recvsize",), "a TCLO message of up to 64 KiB", "tclo"),
    Fault("nul-message", ("recvsize",), "a ping with NUL bytes at its end", "tclo"),
    Fault("empty-message", ("recvsize",), "a TCLO message of no bytes", "tclo"),
    Fault("burst", ("recvsize",), "many TCLO messages at once", "tclo", alone=True),
    Fault("power-request", ("recvsize",), "the administrator presses a power button", "tclo"),
    Fault("clock-jump", ("time",), "the host's clock jumps, either way"),
    Fault("clock-garbage", ("time",), "one answer with impossible seconds or microseconds"),
    Fault("clock-refused", ("time",), "the time command is refused"),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _CATALOGUE}

# Odds in ten thousand that a swarm gives to a fault at each of its opportunities.
_SWARM = (5, 10, 20, 50, 100, 200, 500)


@dataclass
class _Armed:
    fault: Fault
    points: tuple[str, ...]
    times: int
    skip: int
    arguments: dict[str, Any] = field(default_factory=dict)


class Faults:
    """Decides whether something goes wrong now.

    ``plan`` maps a fault's name to (numerator, denominator); an absent name never happens.
    ``enabled`` switches chance off (armed faults still strike): the liveness phase of a campaign.
    ``struck`` counts what happened.  ``crowded`` tells whether TCLO messages wait; the TCLO side
    sets it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rng = context.rng.fork("faults")
        self._by_point: dict[str, list[tuple[Fault, int, int]]] = {}
        self._armed: list[_Armed] = []
        self.enabled = True
        self.struck: Counter[str] = Counter()
        self.arguments: dict[str, Any] = {}
        self.crowded: Callable[[], bool] = lambda: False

    def set_plan(self, plan: Mapping[str, tuple[int, int]]) -> None:
        """Use these odds from now on.  Raises ValueError for a name that is not a fault's."""
        by_point: dict[str, list[tuple[Fault, int, int]]] = {}
        for name in sorted(plan):
            fault = find(name)
            numerator, denominator = plan[name]
            for point in fault.points:
                by_point.setdefault(point, []).append((fault, numerator, denominator))
        self._by_point = by_point

    def swarm(
        self, rng: Rng, *, names: Sequence[str] = tuple(FAULTS)
    ) -> dict[str, tuple[int, int]]:
        """Draw a plan from ``rng``, use it, and return it.

        Each of ``names`` is absent in half of the runs, rare in most of the others and frequent
        in some: runs that lack a fault reach states that it would cut short.
        """
        plan = {}
        for name in sorted(names):
            present, odds = rng.chance(1, 2), rng.choice(_SWARM)
            if present:
                plan[name] = (odds, 10_000)
        self.set_plan(plan)
        return plan

    def arm(
        self,
        name: str,
        *,
        times: int = 1,
        skip: int = 0,
        at: str | None = None,
        **arguments: Any,
    ) -> None:
        """Let ``name`` strike at its next ``times`` opportunities, after leaving out ``skip``.

        ``at`` narrows it to one point, which may be one where chance would not choose it.
        """
        fault = find(name)
        if at is not None and at not in POINTS:
            raise ValueError(f"no point {at!r}: use one of {', '.join(POINTS)}")
        points = fault.points if at is None else (at,)
        self._armed.append(_Armed(fault, points, times, skip, arguments))

    def disarm(self) -> None:
        """Forget all armed faults."""
        self._armed.clear()

    @property
    def armed(self) -> tuple[str, ...]:
        """The names of faults that still wait for their opportunity."""
        return tuple(each.fault.name for each in self._armed)

    def strike(self, point: str, protocol: str | None = None, subject: str = "") -> str | None:
        """Return the fault that strikes at this point, or None.

        ``subject`` is what an armed fault may be limited to by its argument ``command``: it
        matches if the subject begins with it.  ``arguments`` then holds the fault's arguments.
        """
        if self._armed:
            found = self._scripted(point, protocol, subject)
            if found is not None:
                return found
        if not self.enabled:
            return None
        odds = self._by_point.get(point)
        if not odds:
            return None
        # All are drawn before one is taken: a fault that is absent does not shift the others.
        hits = [
            fault
            for fault, numerator, denominator in odds
            if (fault.protocol is None or fault.protocol == protocol)
            and self._rng.chance(numerator, denominator)
            and not (fault.alone and self.crowded())
        ]
        if not hits:
            return None
        self.arguments = {}
        return self._record(self._rng.choice(hits), point)

    def _scripted(self, point: str, protocol: str | None, subject: str) -> str | None:
        for armed in self._armed:
            arguments = armed.arguments
            if point not in armed.points:
                continue
            wanted = arguments.get("protocol", armed.fault.protocol)
            if wanted is not None and wanted != protocol:
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

    def _record(self, fault: Fault, point: str) -> str:
        self.struck[fault.name] += 1
        self._context.trace.emit("fault", name=fault.name, point=point, text=fault.text)
        return fault.name

    @property
    def rng(self) -> Rng:
        """The stream for the details of a fault: lengths, contents, directions."""
        return self._rng


def find(name: str) -> Fault:
    """Return the fault called ``name`` (underscores count as hyphens); raises ValueError."""
    fault = FAULTS.get(name.replace("_", "-"))
    if fault is None:
        raise ValueError(f"no fault {name!r}: use one of {', '.join(FAULTS)}")
    return fault
