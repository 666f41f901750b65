"""Bytes of memory that are accessed together, as a race detector keeps them.

Two neighbouring bytes with separate locks are no race, and a structure that is cleared as a whole
has its members accessed one by one later.  So bytes are grouped as they are accessed: the first
access makes one cell of its bytes, and an access to a part of a cell splits it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.kernel.ordering import Task
    from vmtsim.kernel.races import Access


class Cell:
    """Bytes that are accessed together: the last write, and the reads since."""

    __slots__ = ("read", "reads", "size", "start", "write")

    def __init__(self, start: int, size: int) -> None:
        self.start = start
        self.size = size
        self.write: Access | None = None
        self.read: Access | None = None  # the only one that counts,
        self.reads: dict[Task, Access] | None = None  # or one for each task


class Cells:
    """The cells of all memory; no two share a byte.

    ``at`` has them by their first byte.  An access without its own cell needs a
    search, of any size.
    """

    def __init__(self) -> None:
        self.at: dict[int, Cell] = {}
        self._starts: list[int] = []  # the keys of ``at`` in order

    def fit(self, address: int, size: int) -> list[Cell]:
        """Return the cells of exactly these bytes, in order; splits and creates them as needed."""
        cells, starts = self.at, self._starts
        end = address + size
        index = bisect_right(starts, address)
        if index:
            before = cells[starts[index - 1]]
            if before.start == address:
                index -= 1
            elif before.start + before.size > address:
                self._split(before, address, index)
        found: list[Cell] = []
        at = address
        while at < end:
            following = starts[index] if index < len(starts) else end
            if following > at:
                cell = cells[at] = Cell(at, min(following, end) - at)
                starts.insert(index, at)
            else:
                cell = cells[at]
                if at + cell.size > end:
                    self._split(cell, end, index + 1)
            found.append(cell)
            at += cell.size
            index += 1
        return found

    def forget(self, start: int, end: int) -> None:
        """Drop the cells of these bytes: the memory is freed."""
        gone = self.fit(start, end - start)
        for cell in gone:
            del self.at[cell.start]
        first = bisect_left(self._starts, start)
        del self._starts[first : first + len(gone)]

    def _split(self, cell: Cell, at: int, index: int) -> None:
        """Cut a cell in two; ``index`` is where the second part goes in the order of cells."""
        second = Cell(at, cell.start + cell.size - at)
        second.write, second.read = cell.write, cell.read
        second.reads = None if cell.reads is None else dict(cell.reads)
        cell.size = at - cell.start
        self.at[at] = second
        self._starts.insert(index, at)
