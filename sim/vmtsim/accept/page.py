"""An acceptance run as one self-contained HTML page: verdicts, and both conversations."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import replace

from vmtsim.accept import verdict
from vmtsim.report import chart_svg
from vmtsim.report.campaign_page import STYLE, document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmtsim.accept.compare import Comparison
    from vmtsim.accept.run import Seen
    from vmtsim.accept.verdict import Result
    from vmtsim.core.trace import Event

_STYLE = (
    STYLE
    + """
body { max-width: 110rem; } .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.pair svg { width: 100%; height: auto; } tr.bad td { background: #b3261e22; }
td.t { white-space: nowrap; color: #777; } td { vertical-align: top; overflow-wrap: anywhere; }
.marked { color: #777; font-style: italic; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 60rem) { .pair { grid-template-columns: 1fr; } }
"""
)
_LOG = 200_000


def html(seen: Seen, results: list[Result]) -> str:
    """Return the page."""
    good = verdict.status(results) == 0
    parts = [
        "<h1>The driver on a real NetBSD</h1>",
        f'<p class="verdict {"good" if good else "bad"}">{"ok" if good else "NOT OK"}</p>',
        "<dl>"
        + "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
            for name, text in seen.versions.pairs.items()
        )
        + "</dl>",
        _table(results),
        *(_scenario(each) for each in results),
    ]
    log = seen.console().decode("latin-1")[-_LOG:]
    parts.append(
        f"<details><summary>Console</summary><pre>{escape(_printable(log))}</pre></details>"
    )
    return document("vmtsim accept", "\n".join(parts), _STYLE)


def _printable(text: str) -> str:
    return "".join(each if each == "\n" or each.isprintable() else "" for each in text)


def _table(results: list[Result]) -> str:
    rows = "".join(
        f"<tr{'' if each.verdict == verdict.OK else _BAD}>"
        f'<td><a href="#{escape(each.scenario)}">{escape(each.scenario)}</a></td>'
        f"<td>{escape(each.verdict)}</td><td>{each.judged} of {each.expected}</td>"
        f'<td class="n">{each.calls}</td><td class="n">{each.seconds:.0f}</td></tr>'
        for each in results
    )
    head = (
        "<tr><th>scenario</th><th>verdict</th><th>expectations judged</th>"
        '<th class="n">calls</th><th class="n">seconds</th></tr>'
    )
    return f"<table>{head}{rows}</table>"


_BAD = ' class="bad"'


def _scenario(result: Result) -> str:
    parts = [
        (
            f'<h2 id="{escape(result.scenario)}">{escape(result.scenario)}: '
            f"{escape(result.verdict)}</h2><p>{escape(result.summary)}</p>"
        )
    ]
    if result.crash:
        parts.append(f'<pre class="bad">{escape(result.crash)}</pre>')
    parts += [f'<p class="bad">{escape(text)}</p>' for text in result.findings]
    parts.append(
        "<table>"
        + "".join(
            f"<tr{_BAD if each.state == verdict.BROKEN else ''}><td>{escape(each.name)}</td>"
            f"<td>{escape(each.state)}</td><td>{escape(each.detail)}</td></tr>"
            for each in result.properties
        )
        + "</table>"
    )
    if result.skipped_steps:
        lines = "".join(f"<li>{escape(str(each))}</li>" for each in result.skipped_steps)
        parts.append(f"<details><summary>Skipped</summary><ul>{lines}</ul></details>")
    if result.comparison is not None:
        parts.append(_comparison(result.comparison))
        parts.append(
            "<details><summary>Charts</summary>"
            f'<div class="pair"><div>{_chart("Simulated", result.simulated, 0)}</div>'
            f"<div>{_chart('Real', result.real, result.origin)}</div></div></details>"
        )
    return "\n".join(parts)


def _comparison(comparison: Comparison) -> str:
    count = len(comparison.differences)
    title = "no difference" if not count else f"{count} difference{'s' if count > 1 else ''}"
    rows = []
    for row in comparison.rows:
        cells = []
        for message in (row.simulated, row.real):
            at = "" if message is None else f"{message.at / 1e9:.3f}"
            text = "" if message is None else escape(message.text)
            cells.append(f'<td class="t">{at}</td><td>{text}</td>')
        marked = f'<td class="marked">{escape(row.marked)}</td>'
        rows.append(f"<tr{'' if row.same else _BAD}>{''.join(cells)}{marked}</tr>")
    return (
        f"<details{' open' if count else ''}><summary>Conversations: {title}</summary>"
        '<table><tr><th colspan="2">simulated</th><th colspan="2">real</th><th>may differ</th></tr>'
        f"{''.join(rows)}</table></details>"
    )


def _chart(title: str, events: Iterable[Event], origin: int) -> str:
    moved = [replace(event, at=max(event.at - origin, 0)) for event in events]
    return chart_svg.svg(moved, title=title)
