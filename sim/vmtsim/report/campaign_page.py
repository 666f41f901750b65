"""A campaign as one self-contained HTML page."""

from __future__ import annotations

from html import escape
from math import log10
from typing import TYPE_CHECKING

from vmtsim.report import campaign_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmtsim.campaign.record import Record

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2a7d3f; --bad: #b3261e; --bar: #4a7ab5; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0; }
dt { color: #777; } dd { margin: 0; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .18rem .6rem .18rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; } th { font-weight: 600; }
td { overflow-wrap: anywhere; } td.n, th.n { overflow-wrap: normal; white-space: nowrap; }
td.bar, th.bar { width: 40%; padding-right: 0; white-space: nowrap; }
td.bar i { display: block; height: .7em; background: var(--bar); min-width: 1px; }
th.bar { position: relative; } th.bar i { position: absolute; bottom: .18rem; font: inherit;
  font-weight: 400; color: #777; transform: translateX(-100%); }
pre { font: 12.5px/1.4 ui-monospace, monospace; padding: .8rem; border: 1px solid var(--line);
  border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
dd { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .6rem; } dl { display: block; } dd { margin-bottom: .4rem; }
  td.bar, th.bar { width: 25%; } th.bar i:not(:last-child) { display: none; }
  pre { font-size: 11px; padding: .4rem; }
}
"""  # noqa: E501 - CSS


def document(title: str, body: str, style: str = STYLE) -> str:
    """Return a whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    return f"<dl>{rows}</dl>"


def _share(count: int, most: int) -> float:
    """Return the length of a bar in per cent, on a logarithmic scale.

    Counts differ by powers of ten.  The bar of ``most`` has 100, that of 1 is still visible.
    """
    return 100 * log10(1 + count) / log10(1 + most)


def _axis(most: int) -> str:
    """Return the scale above the bars: the powers of ten, and the largest count at its end."""
    # Omit a number close to the end: there is no space for its label.
    powers = (10**power for power in range(1, len(str(most))))
    marks = [mark for mark in powers if _share(mark, most) < 80] + [most]
    return "".join(f'<i style="left:{_share(m, most):.1f}%">{m}</i>' for m in marks)


def _counts(rows: list[tuple[str, int, int | None]], head: str) -> str:
    most = max((count for _name, count, _seed in rows), default=1) or 1
    heads = (
        f'<th>{escape(head)}</th><th class="n">times</th><th class="n">first seed</th>'
        f'<th class="bar">{_axis(most)}&nbsp;</th>'
    )
    lines = [f"<table><tr>{heads}</tr>"]
    for name, count, seed in rows:
        shown = str(seed) if seed is not None else "-"
        mark = "" if count else ' class="bad"'
        bar = f'<i style="width:{_share(count, most):.1f}%"></i>' if count else "never"
        lines.append(
            f'<tr{mark}><td>{escape(name)}</td><td class="n">{count}</td>'
            f'<td class="n">{shown}</td><td class="bar">{bar}</td></tr>'
        )
    return "\n".join([*lines, "</table>"])


def html(record: Record) -> str:
    """Return the page of a campaign."""
    good = "bad" if record.status or record.cut else "good"
    body = [
        f"<h1>Campaign over {escape(record.file)}</h1>",
        f'<p class="verdict {good}">{escape(campaign_text.verdict(record))}</p>',
        _facts(_overview(record)),
    ]
    for failure in record.failures:
        body.append(f"<h2>{escape(failure.rule)}: {failure.seeds}</h2>")
        body.append(f"<p>{escape(failure.message)}</p>")
        if failure.lines:
            body.append(f"<pre>{escape(chr(10).join(failure.lines))}</pre>")
    faults = [name for name in record.properties if name.startswith("fault: ")]
    others = [name for name in record.properties if not name.startswith("fault: ")]
    for title, names in (
        ("Injected faults", faults),
        ("Events that must occur in some run", others),
    ):
        rows = [
            (n.removeprefix("fault: "), record.reached.get(n, 0), record.first.get(n))
            for n in names
        ]
        body.append(f"<h2>{title}</h2>\n<p>Bars have a logarithmic scale.</p>")
        body.append(_counts(sorted(rows, key=lambda row: -row[1]), "what"))
    return document(f"Campaign over {record.file}", "\n".join(body))


def _overview(record: Record) -> list[tuple[str, str]]:
    canary = "none given"
    if record.canary:
        seed = record.canary.get("seed")
        canary = (
            f"{record.canary['file']}: "
            + (f"caught at seed {seed} ({record.canary.get('rule')})" if seed else "NOT CAUGHT")
        )  # fmt: skip
    never = len(record.never)
    return [
        ("module", f"{record.file}, sha256 {record.digest}"),
        ("commit", record.commit or "unknown"),
        ("seeds", f"{record.played}, of which {record.failed} failed"),
        ("virtual time", f"{record.virtual / 3.6e12:.1f} hours in {record.wall:.0f} s"),
        ("speed", f"{record.speed:.0f} virtual seconds per CPU second"),
        ("actions and faults", f"{record.actions} and {record.injections}"),
        ("kernel calls, traps, switches",
         f"{record.kernel_calls}, {record.traps}, {record.switches}"),
        ("orders of accesses", campaign_text.orders(record) if record.orders else "not recorded"),
        ("replayed to check determinism", f"{record.replayed}"),
        ("canary", canary),
        ("never reached", f"{never} of {len(record.properties)}"),
    ]  # fmt: skip
