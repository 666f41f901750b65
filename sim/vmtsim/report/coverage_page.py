"""Coverage as one self-contained HTML page: a table, then each file with its lines coloured."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vmtsim.report.campaign_page import STYLE, document
from vmtsim.run.coverage import FileCoverage, percent, total

if TYPE_CHECKING:
    from vmtsim.run.coverage import Coverage

_STYLE = (
    STYLE
    + """
.code { font: 12.5px/1.35 ui-monospace, monospace; overflow-x: auto; border: 1px solid var(--line);
  border-radius: 4px; }
.code span { display: block; white-space: pre; padding: 0 .6rem; }
.code .ran { background: #2a7d3f22; } .code .missed { background: #b3261e33; }
.code b { display: inline-block; width: 8.5em; color: #888; font-weight: normal; }
td.bar i { background: var(--good); }
"""
)


def html(coverage: Coverage, files: list[FileCoverage]) -> str:
    """Return the page."""
    whole = total(files)
    ran = f"{whole.run} of {whole.total} lines that have code ran in {coverage.runs} runs"
    heads = "".join(f'<th class="n">{name}</th>' for name in ("lines", "run", "share"))
    body = [
        f"<h1>Line coverage of {escape(coverage.module.name)}</h1>",
        f"<p>{ran}: <b>{percent(whole.run, whole.total)}</b>.",
        "The number beside a line is the number of runs that executed it.</p>",
        f"<table><tr><th>file</th>{heads}<th></th></tr>",
    ]
    for file in files:
        share = 100 * file.run // max(file.total, 1)
        body.append(
            f'<tr><td><a href="#{escape(file.name)}">{escape(file.name)}</a></td>'
            f'<td class="n">{file.total}</td><td class="n">{file.run}</td>'
            f'<td class="n">{percent(file.run, file.total)}</td>'
            f'<td class="bar"><i style="width:{share}%"></i></td></tr>'
        )
    body.append("</table>")
    body += [_source(file) for file in files]
    return document(f"Line coverage of {coverage.module.name}", "\n".join(body), _STYLE)


def _source(file: FileCoverage) -> str:
    name = escape(file.name)
    head = f'<h2 id="{name}">{name}</h2>'
    if file.path is None:
        missed = ", ".join(file.missed_ranges()) or "none"
        return f"{head}\n<p>The source was not found. Lines that never ran: {escape(missed)}.</p>"
    lines = []
    for number, text in enumerate(file.path.read_text(encoding="utf-8").splitlines(), 1):
        count = file.hits.get(number)
        kind = "" if count is None else ' class="ran"' if count else ' class="missed"'
        shown = "" if count is None else str(count)
        lines.append(f"<span{kind}><b>{number:5} {shown:>6}</b>{escape(text.expandtabs(8))}</span>")
    return f'{head}\n<div class="code">{"".join(lines)}</div>'
