"""Defects that a seed plants into the clean twins, and how many of them are found.

A plant drops a pair of calls that take and release a lock or preemption, drops a barrier, stops a
callout instead of halting it, or swaps two mutexes.  The choice is random: the share
that is found shows how well the detector works on defects that it was not written for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtsim.core.rng import Rng

    from .cases import Case

_PAIRS = (
    (r"mutex_enter\((&\w+->\w+)\);", "mutex_exit({});"),
    (r"(kpreempt_disable)\(\);", "kpreempt_enable();"),
)
_WEAKER = (
    ("atomic_store_release(", "atomic_store_relaxed("),
    ("callout_halt(&it->c_callout, NULL)", "callout_stop(&it->c_callout)"),
)


@dataclass(frozen=True)
class Plant:
    """A module's text with a defect, and its description."""

    what: str
    source: str


def _clean(case: Case) -> str:
    """Return the twin without its preprocessor lines, so that only code is dropped."""
    lines: list[str] = []
    keep = [True]
    for line in case.source(planted=False).splitlines():
        word = line.strip()
        if word == "#ifndef PLANTED":
            keep.append(True)
        elif word == "#ifdef PLANTED":
            keep.append(False)
        elif word == "#else":
            keep[-1] = not keep[-1]
        elif word == "#endif":
            keep.pop()
        elif all(keep):
            lines.append(line)
    return "\n".join(lines) + "\n"


def plants(case: Case) -> Iterator[Plant]:
    """Yield every defect of these kinds that fits the twin."""
    text = _clean(case)
    start = text.index("make(void)")
    start = text.index("return 0;", start)
    for enter, leave in _PAIRS:
        for match in re.compile(enter).finditer(text, start):
            end = leave.format(match[1])
            behind = text.find(end, match.end())
            if "softint_schedule" in text[match.end() : behind]:
                continue  # softint(9) requires it, and reports a violation itself
            dropped = text[: match.start()] + text[match.end() : behind] + text[behind + len(end) :]
            line = text.count("\n", 0, match.start()) + 1
            yield Plant(f"without {match[0]} in line {line}", dropped)
    for strong, weak in _WEAKER:
        at = text.find(strong, start)
        while at >= 0:
            yield Plant(f"{weak} for {strong}", text[:at] + weak + text[at + len(strong) :])
            at = text.find(strong, at + 1)
    two = re.compile(r"(mutex_enter\(&it->\w+\);)(\s+)(mutex_enter\(&it->\w+\);)")
    for match in two.finditer(text, start):
        swapped = text[: match.start()] + match[3] + match[2] + match[1] + text[match.end() :]
        yield Plant(f"{match[3]} before {match[1]}", swapped)


def drawn(cases: tuple[Case, ...], rng: Rng, count: int) -> list[tuple[Case, Plant]]:
    """Draw this many plants, none twice."""
    every = [(case, plant) for case in cases for plant in plants(case)]
    rng.shuffle(every)
    return every[:count]
