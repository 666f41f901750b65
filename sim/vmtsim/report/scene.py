"""The context of a failure as text: stack, source, locks, threads, live objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.kernel.loaded import read_lines
from vmtsim.kernel.rule_table import RULES
from vmtsim.report.layout import field, listed
from vmtsim.run.sources import find_source

if TYPE_CHECKING:
    from vmtsim.kernel.facts import Place
    from vmtsim.run.findings import Finding
    from vmtsim.run.scene import Moment

_AROUND = 4  # source lines shown on either side


def lines(module: Path, finding: Finding, moment: Moment | None) -> list[str]:
    """Return the fix, the thread and its stack, the source, the locks held and the live objects."""
    rule = RULES.get(finding.rule)
    shown = [] if rule is None else field("fix", rule.remedy)
    if finding.detected:
        shown += field("detected", finding.detected)
    place = finding.place
    if moment is not None:
        if moment.thread:
            shown += field("thread", moment.thread)
        if moment.stack:
            shown += listed("stack", [str(each) for each in moment.stack])
        if place is None or not place.known:
            # The instruction that traps is not informative; its caller is.
            callers = moment.stack[1 if moment.in_trap and len(moment.stack) > 1 else 0 :]
            place = next((each for each in callers if each.known), None)
    if place is not None and place.known:
        shown += _excerpt(module, place)
    if moment is not None:
        shown += listed("locks", moment.locks)
        shown += listed("threads", moment.threads)
        shown += listed("objects", moment.objects)
    return shown


def _excerpt(module: Path, place: Place) -> list[str]:
    """Return the source around a place, from the file that the module was built from."""
    lines = read_lines(module)
    path = None if lines is None else find_source(module, place.file, lines)
    label = f"source   {Path(place.file).name}:{place.line}"
    if path is None:
        return [f"{label} (not shown: the source that the module was built from was not found)"]
    text = path.read_text(encoding="utf-8", errors="backslashreplace")
    return [label, *(f"  {line}" for line in _numbered(text.splitlines(), place.line))]


def _numbered(lines: list[str], number: int) -> list[str]:
    first = max(number - _AROUND, 1)
    return [
        f"{'>' if current == number else ' '} {current:5}  {line.expandtabs(8)}".rstrip()
        for current, line in enumerate(lines[first - 1 : number + _AROUND], first)
    ]
