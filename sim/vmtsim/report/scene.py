"""The scene of a failure as text: stack, source, locks, threads, live objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.report.layout import field, listed

if TYPE_CHECKING:
    from vmtsim.run.findings import Finding
    from vmtsim.run.scene import Moment

_AROUND = 4  # source lines shown on either side


def lines(module: Path, finding: Finding, moment: Moment | None) -> list[str]:
    """Return who ran where, the source there, what was held and what was alive."""
    shown = []
    place = finding.place
    if moment is not None:
        if moment.thread:
            shown += field("thread", moment.thread)
        if moment.stack:
            shown += listed("in", [str(each) for each in moment.stack])
        if place is None or not place.known:
            # The instruction that traps says little; its caller says more.
            callers = moment.stack[1 if moment.in_trap and len(moment.stack) > 1 else 0 :]
            place = next((each for each in callers if each.known), None)
    if place is not None and place.known:
        name, number = Path(place.file).name, place.line
        source = _excerpt(module, (name, number))
        if source:
            shown += [f"source   {name}:{number}", *(f"  {line}" for line in source)]
    if moment is not None:
        shown += listed("locks", moment.locks)
        shown += listed("threads", moment.threads)
        shown += listed("alive", moment.objects)
    return shown


def _excerpt(module: Path, place: tuple[str, int]) -> list[str]:
    """Return the source around a place, the line itself marked; nothing where it is not found.

    The source is looked for beside the module, in each directory above it, and in ``kmod`` there.
    """
    name, number = place
    for directory in (Path.cwd(), *module.resolve().parents):
        for candidate in (directory / name, directory / "kmod" / name):
            if candidate.is_file():
                return _numbered(candidate.read_text(encoding="utf-8").splitlines(), number)
    return []


def _numbered(lines: list[str], number: int) -> list[str]:
    first = max(number - _AROUND, 1)
    return [
        f"{'>' if current == number else ' '} {current:5}  {line.expandtabs(8)}".rstrip()
        for current, line in enumerate(lines[first - 1 : number + _AROUND], first)
    ]
