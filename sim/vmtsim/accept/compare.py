"""Compares the conversation of a real guest with that of the simulated one, message by message.

Both are of the same module with the same simulated host and the same scenario.  A difference in
order or content is a finding about the simulator, or about the kernel that it simulates.

Three things may differ, and are only marked:

* times;
* values that are the guest's own: uptime, release, version, interfaces, file systems;
* * the place and number of periodic messages, such as the uptime or a ping of the host; each must
  occur on both sides.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.report.chart import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmtsim.core.trace import Event

# Prefix of a request -> name of its value, and why it may differ.
_VALUES = (
    (rb"SetGuestInfo  7 ", "uptime", "hundredths of seconds since boot"),
    (rb"SetGuestInfo  8 ", "memory", "what the guest's memory is used for"),
    (rb"SetGuestInfo  9 ", "interfaces", "as the guest has them"),
    (rb"SetGuestInfo  10 ", "interfaces", "as the guest has them"),
    (rb"SetGuestDiskInfo ", "file systems", "as the guest has them"),
)
# Sent periodically: the place among the others, and how often they come, is random.
_PERIODIC_REQUESTS = (b"vmbackup.eventSet req.keepAlive ", b"info-set guestinfo.ip ")
_PERIODIC_MESSAGES = (b"ping", b"Set_Option broadcastIP 1")
_NULS = re.compile(rb"\0+")


@dataclass(frozen=True)
class Message:
    """One message.

    ``key`` is compared, ``text`` is shown; ``value`` names a value in it that may differ,
    ``floats`` is whether its place in the conversation may differ.
    """

    key: tuple[str, bytes, bytes]
    text: str
    at: int
    value: str = ""
    floats: bool = False


@dataclass(frozen=True)
class Difference:
    """A finding: a message that is only on one side, or different on the other."""

    simulated: Message | None
    real: Message | None

    @property
    def kind(self) -> str:
        """``simulated only``, ``real only`` or ``differs``."""
        if self.real is None:
            return "simulated only"
        return "real only" if self.simulated is None else "differs"

    def __str__(self) -> str:
        sides = [
            f"{name} {message.at / 1e9:.3f} s: {message.text}"
            for name, message in (("simulated", self.simulated), ("real", self.real))
            if message is not None
        ]
        return f"{self.kind}: " + "; ".join(sides)


@dataclass(frozen=True)
class Row:
    """A line of both columns; ``same`` is false for a difference, ``marked``: what may differ."""

    simulated: Message | None
    real: Message | None
    same: bool
    marked: str = ""


@dataclass(frozen=True)
class Comparison:
    """The two conversations side by side."""

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]


def messages(events: Iterable[Event], *, origin: int = 0, release: str = "") -> list[Message]:
    """Return the conversation in ``events``: messages, answers, and TCLO channels.

    ``release`` is the guest's own, which is masked in the messages.
    """
    made = (_message(event, origin, release.encode()) for event in events)
    return [message for message in made if message is not None]


def _message(event: Event, origin: int, release: bytes) -> Message | None:
    at = event.at - origin
    if event.kind == "open" and event["protocol"] == "tclo":
        return Message(("open", b"tclo", b""), "the guest opens a TCLO channel", at)
    if event.kind == "close" and event["protocol"] == "tclo":
        reason = str(event["reason"])
        return Message(("close", b"tclo", reason.encode()), f"a TCLO channel ends: {reason}", at)
    if event.kind == "tclo":
        text = _bytes(event["message"])
        return Message(
            ("host", text, b""), f"host: {shown(text)}", at, floats=text in _PERIODIC_MESSAGES
        )
    if event.kind == "tclo.reply":
        text, reply = _bytes(event["message"]), _bytes(event["reply"])
        return Message(
            ("answer", text, reply),
            f"guest: {shown(reply)} (to {shown(text)})",
            at,
            floats=text in _PERIODIC_MESSAGES,
        )
    if event.kind == "balloon":
        pages = f"the host has {event['size']} of {event['target']} pages"
        return Message(("balloon", pages.encode(), b""), pages, at)
    if event.kind == "balloon.reset":
        return Message(("balloon", b"reset", b""), "host: resets the balloon", at)
    if event.kind == "rpci":
        return _request(_bytes(event["request"]), _bytes(event["reply"]), at, release)
    return None


def _request(request: bytes, reply: bytes, at: int, release: bytes) -> Message:
    text = f"guest: {shown(request)} -> {shown(reply)}"
    for start, value, _reason in _VALUES:
        if request.startswith(start):
            return Message(
                ("rpci", start + b"{" + value.encode() + b"}", reply), text, at, value, floats=True
            )
    masked = request.replace(release, b"{release}") if release else request
    value = "release" if masked != request else ""
    # A text of fixed width has more or fewer NULs for a shorter or longer release.
    floats = request.startswith(_PERIODIC_REQUESTS)
    return Message(("rpci", _NULS.sub(b"\0", masked), reply), text, at, value, floats=floats)


def _bytes(value: object) -> bytes:
    raw = value if isinstance(value, bytes) else str(value or "").encode()
    return raw.removesuffix(b"\0")


def compare(simulated: Sequence[Message], real: Sequence[Message]) -> Comparison:
    """Compare the two conversations."""
    rows: list[Row] = []
    differences: list[Difference] = []
    left = [each for each in simulated if not each.floats]
    right = [each for each in real if not each.floats]
    matcher = SequenceMatcher(None, [m.key for m in left], [m.key for m in right], autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        pairs = _pairs(left[i1:i2], right[j1:j2])
        for one, other in pairs:
            if tag == "equal":
                marked = one.value if one is not None and one.value else ""
                rows.append(Row(one, other, same=True, marked=marked))
            else:
                rows.append(Row(one, other, same=False))
                differences.append(Difference(one, other))
    for row in _floating(simulated, real):
        rows.append(row)
        if not row.same:
            differences.append(Difference(row.simulated, row.real))
    return Comparison(tuple(rows), tuple(differences))


def _pairs(
    left: Sequence[Message], right: Sequence[Message]
) -> list[tuple[Message | None, Message | None]]:
    """Align messages that are similar enough to be the same message with another value."""
    pairs: list[tuple[Message | None, Message | None]] = []
    rest = list(right)
    for one in left:
        other = next((each for each in rest if _alike(one, each)), None)
        if other is not None:
            rest.remove(other)
        pairs.append((one, other))
    return [*pairs, *((None, other) for other in rest)]


def _alike(one: Message, other: Message) -> bool:
    def head(message: Message) -> tuple[str, bytes]:
        kind, text, _ = message.key
        words = text.split(b" ")
        # The number of a guest information item is part of its identity.
        return kind, b" ".join(words[:3] if words[0] == b"SetGuestInfo" else words[:1])

    return head(one) == head(other)


def _floating(simulated: Sequence[Message], real: Sequence[Message]) -> list[Row]:
    """Compare floating messages as two sets: each of them has to occur on both sides."""

    def firsts(side: Sequence[Message]) -> dict[tuple[str, bytes, bytes], Message]:
        found: dict[tuple[str, bytes, bytes], Message] = {}
        for message in side:
            if message.floats:
                found.setdefault(message.key, message)
        return found

    one, other = firsts(simulated), firsts(real)
    keys = [*one, *(key for key in other if key not in one)]
    rows = []
    for key in keys:
        a, b = one.get(key), other.get(key)
        known = a or b
        marked = f"place, {known.value}" if known is not None and known.value else "place"
        rows.append(Row(a, b, same=a is not None and b is not None, marked=marked))
    return rows
