"""The output of an acceptance run, and the files that it writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmtsim.accept import page, run, verdict
from vmtsim.accept.verdict import NOT_JUDGED
from vmtsim.core import output
from vmtsim.report.layout import WIDTH, field

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vmtsim.accept.run import Seen
    from vmtsim.accept.verdict import Result
    from vmtsim.core.trace import Event

_MOST = 5


def table(results: list[Result]) -> list[str]:
    """Return one line per scenario, followed by its problems."""
    width = max((len(each.scenario) for each in results), default=8)
    lines = [f"{'scenario':<{width}}  verdict     judged   calls  seconds"]
    for each in results:
        judged = f"{each.judged}/{each.expected}"
        lines.append(
            f"{each.scenario:<{width}}  {each.verdict:<10}  {judged:>6}  {each.calls:>6}"
            f"  {each.seconds:>7.0f}"
        )
        lines += _wrong(each)
    return lines


def _wrong(result: Result) -> list[str]:
    """Return the reasons why a scenario is not ok."""
    texts = [f"crash: {result.crash}"] if result.crash else []
    texts += result.findings
    texts += [
        f"{each.name}: {each.state}{': ' + each.detail if each.detail else ''}"
        for each in result.properties
        if each.state == verdict.BROKEN
    ]
    if result.comparison is not None:
        texts += [str(each) for each in result.comparison.differences]
    if result.skipped:
        texts.append(result.skipped)
    lines = []
    for text in texts[:_MOST]:
        first, *rest = text.splitlines() or [""]
        lines += [f"  {line}" for line in field("", _short(first), WIDTH - 2)]
        lines += [f"  {'':9}| {line}" for line in rest[:12]]
    if len(texts) > _MOST:
        lines.append(f"           and {len(texts) - _MOST} more in report.json")
    return lines


def _short(text: str, longest: int = 300) -> str:
    return text if len(text) <= longest else f"{text[: longest - 20]} [... {len(text)} characters]"


def closing(results: list[Result]) -> list[str]:
    """Return the overall verdict."""
    count = {
        name: sum(each.verdict == name for each in results)
        for name in (
            *(verdict.OK, verdict.DIFFERS, verdict.UNJUDGED, verdict.FAILED, verdict.CRASHED),
            verdict.SKIPPED,
        )
    }
    parts = ", ".join(f"{number} {name}" for name, number in count.items() if number)
    unseen = sorted(
        {each.name for result in results for each in result.properties if each.state == NOT_JUDGED}
    )
    lines = field("played", parts or "none")
    if unseen:
        lines += field("unseen", "not judged in some or all scenarios: " + ", ".join(unseen))
    good = verdict.status(results) == 0
    lines += field("verdict", "ok" if good else "NOT OK")
    return lines


def write(folder: Path, seen: Seen, results: list[Result]) -> None:
    """Write report.json, index.html, console.log and each scenario's traces; raises OutputError."""
    folder.mkdir(parents=True, exist_ok=True)
    record = run.record(seen, results)
    output.write_text(folder / "report.json", json.dumps(record, indent=2) + "\n")
    output.write_text(folder / "index.html", page.html(seen, results))
    log = seen.console().decode("latin-1")
    output.write_text(folder / "console.log", log)
    for result in results:
        for side, events in (("simulated", result.simulated), ("real", result.real)):
            if events:
                output.write_text(folder / f"{result.scenario}.{side}.jsonl", _trace(events))


def _trace(events: Iterable[Event]) -> str:
    from vmtsim.core.trace import FORMAT, VERSION  # noqa: PLC0415

    head = json.dumps({"format": FORMAT, "version": VERSION})
    return "\n".join([head, *(event.json() for event in events)]) + "\n"
