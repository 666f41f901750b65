"""The conversation of host and guest as text, in two columns.

::

    0.997  tclo    host: reset                   guest: OK ATR toolbox
    0.998  tclo    host: Capabilities_Register
           rpci    tools.set.version 2147483647  guest: OK<space>

The host's TCLO messages are on the left, with the guest's answer on the right.  RPCI commands that
the guest sent before it answered are in between.  ``svg`` in ``chart_svg`` draws the same rows as a
message sequence chart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, replace

from vmtsim.core.trace import printable, unprintable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmtsim.core.trace import Event

_RIGHT = 54
_LONGEST = 72
_ERRNO = r"E[A-Z0-9]+ \(-?[0-9]+\)"  # the format of administrator.describe_errno
# An answer that comes later than this (ns) gets a separate line with its time.
_PROMPT = 100_000_000

_ENDS = {
    "lost": "forgotten by the host",
    "lose-channel": "forgotten by the host",
    "closed": "closed by the host",
    "stolen": "taken by another client",
    "client left": "the other client left",
    "idle": "idle too long",
    "power-off": "the machine powers off",
    "timed-out": "timed out",
}

# Sides of a row in the drawing: sender and receiver.
HOST, CHANNEL, DRIVER, POWERD = range(4)


@dataclass(frozen=True)
class Row:
    """One line: ``left`` is the host's column, ``right`` the guest's answer or "".

    ``at`` and ``answered`` are virtual nanoseconds.  ``source`` and ``target`` are the sides of the
    drawing (equal for an event at a single place).
    """

    at: int
    kind: str
    left: str
    right: str = ""
    answered: int = 0
    channel: int | None = None
    source: int = HOST
    target: int = DRIVER
    good: bool = True


def shown(payload: bytes | str | None, longest: int = _LONGEST) -> str:
    """Return a readable payload: binary bytes escaped, ``<space>`` at the end, cut if long."""
    if payload is None:
        return "(none)"
    raw = payload if isinstance(payload, bytes) else unprintable(payload)
    text = printable(raw.removesuffix(b"\0"))
    if not text:
        return "(empty)"
    if len(text) > longest:
        return f"{text[: longest - 20]}... ({len(raw)} bytes)"
    return f"{text[:-1]}<space>" if text.endswith(" ") else text


def _tclo(event: Event) -> Row:
    return Row(event.at, "tclo", f"host: {shown(event['message'])}", channel=event.get("channel"))


def _rpci(event: Event) -> Row:
    plain = event["reply"] in {b"1 ", "1 "}
    verdict = "" if plain else f'  -> "{shown(event["reply"])}"'
    return Row(
        event.at,
        "rpci",
        shown(event["request"]) + verdict,
        channel=event.get("channel"),
        source=DRIVER,
        target=HOST,
        good=bool(event["ok"]),
    )


def _open(event: Event) -> Row | None:
    if event["protocol"] != "tclo":
        return None
    return Row(event.at, "open", f"TCLO channel {event['channel']}", channel=event["channel"],
               source=DRIVER, target=CHANNEL)  # fmt: skip


def _refused(event: Event) -> Row:
    return Row(event.at, "open", f"{event['protocol'].upper()} refused: {event['reason']}",
               source=DRIVER, target=CHANNEL, good=False)  # fmt: skip


def _ended(event: Event) -> Row | None:
    if event["reason"] == "close":
        if event["protocol"] != "tclo":
            return None
        return Row(
            event.at,
            "close",
            f"TCLO channel {event['channel']}",
            channel=event["channel"],
            source=DRIVER,
            target=CHANNEL,
        )
    reason = _ENDS.get(event["reason"], event["reason"])
    return Row(event.at, "lost", f"channel {event['channel']}: {reason}",
               channel=event["channel"], source=CHANNEL, target=CHANNEL, good=False)  # fmt: skip


def _fault(event: Event) -> Row:
    return Row(event.at, "fault", f"{event['name']} at {event['point']}",
               source=HOST, target=HOST, good=False)  # fmt: skip


def _timeout(event: Event) -> Row:
    return Row(event.at, "late", f"no answer to {shown(event['message'])}",
               channel=event.get("channel"), source=HOST, target=HOST, good=False)  # fmt: skip


def _violation(event: Event) -> Row:
    detail = event.get("detail") or event.get("text")
    return Row(event.at, "RULE", f"{event['rule']}: {detail}",
               source=DRIVER, target=DRIVER, good=False)  # fmt: skip


def _power(event: Event) -> Row:
    return Row(event.at, "powerd", f"{event.get('script')} {event.get('name')}",
               source=DRIVER, target=POWERD)  # fmt: skip


def _clock(event: Event) -> Row | None:
    amounts = {
        "jump": lambda: f"{event['ns'] / 1e9:+.3f} s",
        "set": lambda: f"to {event['ns'] / 1e9:.3f}",
        "drift": lambda: f"{event['ppm']:+d} ppm",
        "lag": lambda: f"{event['us']} us",
    }
    amount = amounts.get(event["action"])
    if amount is None:
        return None
    return Row(event.at, "clock", f"host: {event['action']} {amount()}", source=HOST, target=HOST)


def _note(text: str) -> Callable[[Event], Row]:
    def row(event: Event) -> Row:
        return Row(event.at, "host", text, source=HOST, target=HOST)

    return row


def _failed(event: Event) -> Row:
    return Row(event.at, "FAILED", f"{event['place']}: {event['text'].partition(';')[0]}",
               source=DRIVER, target=DRIVER, good=False)  # fmt: skip


def _answer_to_guest(event: Event) -> Row | None:
    """Return the row of a failed command, or of one that reads a value; "0" is success."""
    result = str(event["result"])
    if result == "0":
        return None
    failed = re.fullmatch(_ERRNO, result) is not None
    return Row(event.at, "guest", f"{_command(event)}: {result}",
               source=DRIVER, target=DRIVER, good=not failed)  # fmt: skip


def _command(event: Event) -> str:
    argument = str(event["argument"])
    return str(event["verb"]) if argument in {"", "None"} else f"{event['verb']} {argument}"


_ROWS: dict[str, Callable[[Event], Row | None]] = {
    "tclo": _tclo,
    "rpci": _rpci,
    "open": _open,
    "open.refused": _refused,
    "close": _ended,
    "fault": _fault,
    "tclo.timeout": _timeout,
    "violation": _violation,
    "powerd": _power,
    "host.clock": _clock,
    "backup.silent": _note("abandons the backup: the guest does not answer"),
    "host.checkpoint": _note("checkpoint"),
    "host.migrate": _note("migrates the machine"),
    "host.revert": _note("reverts to a snapshot"),
    "scenario.failed": _failed,
    "guest.done": _answer_to_guest,
}
KINDS = (*_ROWS, "tclo.reply")

# The kinds of events that are drawn if nothing was sent to the host.
_CONVERSATION = {"tclo", "tclo.reply", "rpci", "open", "open.refused"}


def _console(event: Event) -> Row:
    text = str(event["text"])
    return Row(event.at, "console", text, source=DRIVER, target=DRIVER,
               good=not text.startswith("panic: "))  # fmt: skip


def _done(event: Event) -> Row:
    failed = _answer_to_guest(event)
    return failed or Row(event.at, "guest", _command(event), source=DRIVER, target=DRIVER)


def drawn_rows(events: Iterable[Event]) -> list[Row]:
    """Return the rows to draw: the conversation's, or those of a driver without a conversation.

    The latter are the console's lines and the administrator's actions.
    """
    kept = list(events)
    if any(event.kind in _CONVERSATION for event in kept):
        return rows(kept)
    makers = {**_ROWS, "console": _console, "guest.done": _done}
    made = (makers[event.kind](event) for event in kept if event.kind in makers)
    return [row for row in made if row is not None]


def rows(events: Iterable[Event]) -> list[Row]:
    """Return the rows of a conversation; skips events that do not belong to it."""
    found: list[Row] = []
    # Channel -> the first row of its open exchange.
    started: dict[int, int] = {}
    for event in events:
        if event.kind == "tclo.reply":
            _reply(found, started, event)
            continue
        make = _ROWS.get(event.kind)
        row = make(event) if make is not None else None
        if row is None:
            continue
        if row.kind == "tclo" and row.channel is not None:
            started[row.channel] = len(found)
        found.append(row)
    return found


def _reply(found: list[Row], started: dict[int, int], event: Event) -> None:
    """Put the guest's answer beside the last row of its exchange."""
    answer = f"guest: {shown(event['reply'])}"
    good = bool(event["ok"])
    first = started.pop(event["channel"], None)
    for index in range(len(found) - 1, -1 if first is None else first - 1, -1):
        row = found[index]
        if first is not None and row.kind in {"tclo", "rpci"} and not row.right:
            if event.at - row.at < _PROMPT:
                found[index] = replace(row, right=answer, answered=event.at, good=row.good and good)
                return
            break
    found.append(Row(event.at, "tclo", "", answer, event.at, event["channel"], DRIVER, HOST, good))


def text(events: Iterable[Event], *, origin: int = 0) -> list[str]:
    """Return the conversation as lines; times are seconds after ``origin`` (virtual ns).

    A time equal to the one above is omitted, and so are answers that report plain success.
    """
    lines = []
    before = ""
    for row in rows(events):
        stamp = f"{(row.at - origin) / 1e9:.3f}"
        first = f"{'' if stamp == before else stamp:>7}  {row.kind:<6}  {row.left}"
        before = stamp
        lines.append(f"{first:<{_RIGHT - 2}}  {row.right}" if row.right else first)
    return [line.rstrip() for line in lines]
