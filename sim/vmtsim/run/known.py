"""Known data races: a list in YAML, each with a reason.

    races:
      - field: my_softc.sc_packets
            benign: a statistics counter; a lost count is of no consequence
        test: tests/test_my_driver.py
      - field: my_softc.sc_state
            guarded_by: callouts of one processor, which never run concurrently

A field is named as in the report.  ``benign`` explains why both orders of the two accesses are
correct, and ``test`` names the test that runs both; ``guarded_by`` names an ordering that the
simulator does not see.  An entry that no run needs is an error: the race that it excused no longer
exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.construct import value_of
from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Problems, load_yaml
from vmtgen.common.schema import Record

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Entry(Record):
    """A field whose races are known: the reason, and the test that runs both orders."""

    field: str
    benign: str = ""
    guarded_by: str = ""
    test: str = ""


@dataclass(frozen=True)
class File(Record):
    """The contents of a list of known races."""

    races: tuple[Entry, ...]


class KnownRaces:
    """The list in ``path``, or an empty one; ``used`` collects the fields that runs needed.

    Raises LocatedErrors with all problems of the file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.fields = frozenset() if path is None else _read(path)
        self.used: set[str] = set()

    def unused(self) -> list[str]:
        """Return the fields that no run needed, sorted."""
        return sorted(self.fields - self.used)


def _read(path: Path) -> frozenset[str]:
    root = load_yaml(path)
    problems = Problems()
    known = value_of(File, root, problems)
    entries = () if known is None else known.races
    nodes = root.entries["races"].elements if entries else ()
    seen: set[str] = set()
    for entry, node in zip(entries, nodes, strict=True):
        if bool(entry.benign) == bool(entry.guarded_by):
            problems.add(node, "expected one of benign and guarded_by, with the reason")
        elif entry.benign and not entry.test:
            problems.add(node, "expected test: the test that runs both orders")
        if entry.field in seen:
            problems.add(node, f"{entry.field} is in the list already")
        seen.add(entry.field)
    problems.raise_if_any()
    return frozenset(seen)
