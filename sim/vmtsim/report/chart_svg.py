"""A message sequence chart as one SVG file: host, channel, driver, powerd, and the times.

Self-contained: no external font, script or style.  Colours follow the reader's light or dark
setting.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vmtsim.report.chart import CHANNEL, DRIVER, HOST, POWERD, Row, drawn_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmtsim.core.trace import Event

_NAMES = {HOST: "VMware host", CHANNEL: "TCLO channel", DRIVER: "driver", POWERD: "powerd"}
_X = {HOST: 150, CHANNEL: 270, DRIVER: 850, POWERD: 1080}
_WIDTH = 1180
_TOP = 112
_STEP = 30
_GAP = 26
# Advance of a 12 px monospace character, rounded up.
_CHARACTER = 7.3
_QUIET = 1_000_000_000

_STYLE = """
  svg { --paper: #ffffff; --ink: #1c2127; --faint: #6a7480; --line: #c3cad2; --tclo: #0b5cad;
        --rpci: #17703c; --power: #8a4b00; --bad: #b3261e; background: var(--paper); }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #14181d; --ink: #e6eaee; --faint: #93a0ad; --line: #3a444e; --tclo: #7db8f5;
          --rpci: #79cf98; --power: #f0b36a; --bad: #ff8a80; }
  }
  text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
         fill: var(--ink); stroke: var(--paper); stroke-width: 4px; paint-order: stroke;
         stroke-linejoin: round; white-space: pre; }
  .title { font: 600 16px system-ui, sans-serif; }
  .under, .time, .more { fill: var(--faint); }
  .name { font: 600 13px system-ui, sans-serif; text-anchor: middle; }
  .time { text-anchor: end; }
  .middle { text-anchor: middle; }
  .life { stroke: var(--line); stroke-width: 1.5; }
  .gap { stroke: var(--line); stroke-dasharray: 2 5; }
  .arrow { stroke-width: 1.5; fill: none; }
  .answer { stroke-dasharray: 5 3; }
  .tclo { stroke: var(--tclo); } .rpci { stroke: var(--rpci); } .powerd { stroke: var(--power); }
  .open, .close, .host, .clock, .backup { stroke: var(--faint); } .bad { stroke: var(--bad); }
  text.bad { fill: var(--bad); stroke: var(--paper); }
  .dot { fill: var(--paper); stroke-width: 1.5; }
  marker path { fill: context-stroke; stroke: none; }
"""


def svg(
    events: Iterable[Event],
    *,
    title: str = "Conversation",
    about: str = "",
    origin: int = 0,
    limit: int = 400,
) -> str:
    """Return the chart as SVG text, under a title and a subtitle.

    ``origin`` is the virtual time (ns) of the axis's 0.  If there are more than ``limit`` rows, the
    chart shows the first and the last ones, most of them last ones, where a failure is.  Between
    them it shows how many are omitted.
    """
    everything = drawn_rows(events)
    chart = _Chart(origin)
    left = len(everything) - limit
    first = limit // 4 if left > 0 else limit
    for row in everything[:first]:
        chart.add(row)
    if left > 0:
        chart.more(left)
        for row in everything[first + left :]:
            chart.add(row)
    return chart.finish(title, about, len(everything))


class _Chart:
    """Draws from top to bottom, one row after another."""

    def __init__(self, origin: int) -> None:
        self._origin = origin
        self._y = _TOP
        self._before: int | None = None
        self._parts: list[str] = []

    def add(self, row: Row) -> None:
        """Draw ``row``, and its answer beneath it."""
        self._time(row.at)
        if row.left:
            self._call(row)
        if row.right:
            self._time(row.answered or row.at)
            # An answer below a row that failed for another reason is not itself a failure.
            failed = not row.right.startswith("guest: OK")
            self._arrow(DRIVER, HOST, "tclo answer" + (" bad" if failed else ""))
            self._channel(row, "tclo")
            self._label(DRIVER, HOST, row.right.removeprefix("guest: "), bad=failed)
            self._y += _STEP

    def _call(self, row: Row) -> None:
        label = row.left.removeprefix("host: ")
        if row.kind in {"open", "close"}:
            label = f"{row.kind} {label}"
        if row.source == row.target:
            self._note(row, label)
        else:
            bad = not row.good and not row.right
            self._arrow(row.source, row.target, f"{row.kind}{' bad' if bad else ''}")
            if row.kind == "tclo":
                self._channel(row, "tclo")
            self._label(row.source, row.target, label, bad=bad)
        self._y += _STEP

    def _time(self, at: int) -> None:
        stamp = (at - self._origin) / 1e9
        if self._before is not None and at - self._before >= _QUIET:
            self._parts.append(
                f'<line class="gap" x1="90" x2="{_WIDTH - 30}" y1="{self._y}" y2="{self._y}"/>'
            )
            self._y += _GAP
        if self._before is None or f"{(self._before - self._origin) / 1e9:.3f}" != f"{stamp:.3f}":
            self._parts.append(f'<text class="time" x="80" y="{self._y + 4}">{stamp:.3f}</text>')
        self._before = at

    def _arrow(self, source: int, target: int, kind: str) -> None:
        self._parts.append(
            f'<line class="arrow {kind}" x1="{_X[source]}" x2="{_X[target]}" y1="{self._y}" '
            f'y2="{self._y}" marker-end="url(#head)"/>'
        )

    def _channel(self, row: Row, kind: str) -> None:
        """Mark where a TCLO message passes its channel."""
        bad = "" if row.good else " bad"
        self._parts.append(
            f'<circle class="dot {kind}{bad}" cx="{_X[CHANNEL]}" cy="{self._y}" r="4"/>'
        )

    def _label(self, source: int, target: int, label: str, *, bad: bool) -> None:
        left, right = sorted((_X[source], _X[target]))
        if left < _X[CHANNEL] < right:
            left = _X[CHANNEL]
        room = max(right - left - 16, 190 if target == POWERD else 120)
        self._parts.append(
            f'<text class="middle{" bad" if bad else ""}" x="{(left + right) // 2}" '
            f'y="{self._y - 6}">{escape(_cut(label, room))}</text>'
        )

    def _note(self, row: Row, label: str) -> None:
        bad = "" if row.good else " bad"
        x = _X[row.source]
        if row.source == CHANNEL and not row.good:
            self._parts.append(
                f'<path class="arrow{bad}" d="M{x - 6} {self._y - 6}l12 12m0 -12l-12 12"/>'
            )
        else:
            kind = "host" if row.kind in {"console", "guest"} else row.kind
            self._parts.append(
                f'<rect class="dot {kind}{bad}" x="{x - 5}" y="{self._y - 5}" width="10" '
                'height="10"/>'
            )
        words = f"{row.kind}: {label}" if row.kind != "host" else label
        at, room, anchor = x + 14, _WIDTH - x - 40, ""
        if row.kind in {"console", "guest"}:
            # There is space for a whole line on the left.
            at, room, anchor = x - 14, x - _X[CHANNEL], ' text-anchor="end"'
        self._parts.append(
            f'<text class="{bad.strip()}" x="{at}" y="{self._y + 4}"{anchor}>'
            f"{escape(_cut(words, room))}</text>"
        )

    def more(self, count: int) -> None:
        """Draw the note that ``count`` rows are omitted."""
        self._parts.append(
            f'<text class="more" x="{_X[HOST]}" y="{self._y + 4}">... and {count} more</text>'
        )
        self._y += _STEP

    def finish(self, title: str, about: str, count: int) -> str:
        """Return the whole drawing."""
        bottom = self._y + 4
        height = bottom + 24
        heads = "".join(
            f'<line class="life" x1="{_X[side]}" x2="{_X[side]}" y1="{_TOP - 22}" y2="{bottom}"/>'
            f'<text class="name" x="{_X[side]}" y="{_TOP - 30}">{name}</text>\n'
            for side, name in _NAMES.items()
        )
        body = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title about">\n'
            f'<title id="title">{escape(title)}</title>\n'
            f'<desc id="about">Message sequence chart with {count} rows; times in seconds.</desc>\n'
            f"<style>{_STYLE}</style>\n"
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" orient="auto-start-reverse"><path d="M0 1 10 5 0 9z"/></marker>'
            "</defs>\n"
            f'<text class="title" x="30" y="28">{escape(title)}</text>\n'
            f'<text class="under" x="30" y="48">{escape(_cut(about, _WIDTH - 60))}</text>\n'
            f'<text class="time" x="80" y="{_TOP - 16}">seconds</text>\n'
            f"{_legend()}"
            f"{heads}{body}\n</svg>\n"
        )


def _legend() -> str:
    entries = (
        ("tclo", "TCLO, to the guest"),
        ("rpci", "RPCI, to the host"),
        ("powerd", "event"),
        ("bad", "trouble"),
    )
    parts, x = [], 640
    for kind, words in entries:
        parts.append(
            f'<line class="arrow {kind}" x1="{x}" x2="{x + 18}" y1="24" y2="24"/>'
            f'<text class="under" x="{x + 24}" y="28">{words}</text>\n'
        )
        x += 42 + round(len(words) * _CHARACTER)
    return "".join(parts)


def _cut(label: str, room: float) -> str:
    size = max(int(room / _CHARACTER), 8)
    return label if len(label) <= size else f"{label[: size - 3]}..."
