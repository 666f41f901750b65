"""The C lines of a module that ran: the emulator's blocks mapped through the module's line table.

A line counts as run if one of its instructions was in a block that ran.  Lines without code do not
count at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import MissingInputError
from vmtgen.kobj import KobjError, LineTable, read_module

from vmtsim.run.sources import find_source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmtsim.run.simulation import Simulation


class NoLinesError(MissingInputError):
    """The module has no debug twin."""

    hint = "`vmtgen build` writes NAME.kmod.debug beside NAME.kmod; keep the two together"


@dataclass
class FileCoverage:
    """One source file: line -> number of runs that executed it."""

    name: str
    path: Path | None
    hits: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Lines that have code."""
        return len(self.hits)

    @property
    def run(self) -> int:
        """Lines that ran."""
        return sum(1 for count in self.hits.values() if count)

    @property
    def missed(self) -> list[int]:
        """Lines that never ran, ascending."""
        return sorted(line for line, count in self.hits.items() if not count)

    def missed_ranges(self) -> list[str]:
        """Return the lines that never ran as ``12`` and ``17-20``.

        Lines without code do not split ranges.
        """
        lines = sorted(self.hits)
        out: list[str] = []
        start = previous = 0
        for line in [*lines, 0]:
            if line and not self.hits[line]:
                start = start or line
                previous = line
            elif start:
                out.append(str(start) if start == previous else f"{start}-{previous}")
                start = 0
        return out


class Coverage:
    """Collects coverage over many runs of one module."""

    def __init__(self, module: Path) -> None:
        self.module = module
        self.runs = 0
        twin = module.with_name(module.name + ".debug")
        if not twin.is_file():
            raise NoLinesError(f"{twin}: not found, and it holds the line numbers")
        try:
            self._table = LineTable.read(twin)
        except (KobjError, ValueError) as error:
            raise NoLinesError(f"{twin}: {error}") from None
        self._size = read_module(module).sizes["text"]
        self._hits: Counter[tuple[str, int]] = Counter()
        self._blocks: set[tuple[int, int]] = set()
        self._bases: list[int] = []

    def watch(self, simulation: Simulation) -> None:
        """Start observing a run; call before it starts, and ``ended`` after it."""
        self._blocks = set()
        self._bases = []
        blocks = self._blocks
        cpu = simulation.kernel.cpu
        cpu.watch_blocks(
            lambda address, size: blocks.add((address, size)),
            cpu.layout.modules,
            cpu.layout.modules_end,
        )
        simulation.trace.subscribe(lambda event: self._bases.append(event["text"]), ["module"])

    def ended(self) -> None:
        """Add the blocks that the run executed."""
        self.runs += 1
        bases = sorted(self._bases)
        seen: set[tuple[str, int]] = set()
        for address, size in self._blocks:
            at = bisect_right(bases, address) - 1
            if at >= 0 and address - bases[at] < self._size:
                seen.update(self._lines(address - bases[at], size))
        self._hits.update(seen)

    def _lines(self, start: int, size: int) -> Iterable[tuple[str, int]]:
        """Return the lines of the code from ``start`` on (offset in the text)."""
        table = self._table
        first = max(bisect_right(table.starts, start) - 1, 0)
        last = bisect_right(table.starts, start + size - 1)
        return {row for row in table.rows[first:last] if row is not None}

    def files(self, source: Path | None = None) -> list[FileCoverage]:
        """Return the module's own files, sorted by name.

        Headers of the kernel count only if they are beside the module's sources, which are searched
        in ``source``, else above the module and in ``kmod/NAME`` there.
        """
        found: dict[str, FileCoverage] = {}
        paths: dict[str, Path | None] = {}
        for name, line in sorted(self._table.lines()):
            if name not in paths:
                paths[name] = find_source(self.module, name, self._table, source)
            path = paths[name]
            if path is None and not name.endswith(".c"):
                continue
            file = found.setdefault(name, FileCoverage(Path(name).name, path))
            file.hits[line] = self._hits[name, line]
        return [found[name] for name in sorted(found)]


def percent(run: int, total: int) -> str:
    """Return a share as '97.3 %'; never 100 if a line is missing."""
    if not total:
        return "-"
    share = 1000 * run // total
    return f"{share // 10}.{share % 10} %"


def table(files: list[FileCoverage]) -> list[str]:
    """Return a line for each file, with the lines that never ran."""
    lines = [f"{'file':<20}{'lines':>7}{'run':>7}{'share':>10}  never run"]
    for file in [*files, total(files)]:
        missed = ", ".join(file.missed_ranges()) if file.name != "all" else ""
        first = f"{file.name:<20}{file.total:>7}{file.run:>7}{percent(file.run, file.total):>10}"
        lines.append(f"{first}  {missed}".rstrip())
    return lines


def total(files: list[FileCoverage]) -> FileCoverage:
    """Return the sum as a file named ``all``."""
    whole = FileCoverage("all", None)
    for file in files:
        for line, count in file.hits.items():
            whole.hits[len(whole.hits)] = min(count, 1) if line else 0
    return whole


def lcov(files: list[FileCoverage]) -> str:
    """Return the figures as an lcov tracefile, for genhtml and other tools that read the format."""
    out = ["TN:vmtsim"]
    for file in files:
        out.append(f"SF:{file.path if file.path is not None else file.name}")
        out += [f"DA:{line},{count}" for line, count in sorted(file.hits.items())]
        out += [f"LF:{file.total}", f"LH:{file.run}", "end_of_record"]
    return "\n".join(out) + "\n"
