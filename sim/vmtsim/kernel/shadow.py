"""Uninitialised bytes of the heap: those that were not written since their allocation.

A small KMSAN (NetBSD sys/kern/subr_msan.c): one mark for each byte of an object that the allocator
did not clear.  A write by the guest's code, a kernel function or the host removes the mark; memcpy
copies marks from one object into another.  Marks do not follow a value through registers.  So a
read is reported

- when a kernel function or the host makes it, if any byte of it is marked: the byte leaves to
  the kernel, to a process or to the host;
- when the guest's code makes it, if all of it is marked and it is shorter than a word: copies
  of whole structures use words, and include uninitialised padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.cpu import Cpu

_PAGE_SHIFT = 12


@dataclass(slots=True, eq=False)
class _Object:
    """``marks`` holds 1 for a byte that was never written; ``left`` is their number."""

    address: int
    marks: bytearray
    left: int


def _ignore(_first: int, _count: int, _size: int, _reader: str) -> None:
    """Report nothing."""


class Shadow:
    """The marks of all objects between ``start`` and ``end``, the upper half of the heap.

    ``found(first, count, size, reader)`` is called for a read of ``size`` bytes that includes
    ``count`` marks, the first at address ``first``; ``reader`` is 'guest', 'kernel' or 'host'.
    """

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._word = cpu.pointer_size
        layout = cpu.layout
        self.start = layout.heap_middle
        self.end = layout.heap_end
        self.found: Callable[[int, int, int, str], None] = _ignore
        self._pages: dict[int, _Object] = {}
        self._watching = False

    def add(self, address: int, size: int) -> None:
        """Mark a new object; objects do not share pages."""
        if not self._watching:
            # Every access becomes a little slower with it: start only when an object needs it.
            self._watching = True
            self._cpu.watch_accesses(self._seen, self.start, self.end)
        fresh = _Object(address, bytearray(b"\1" * size), size)
        for page in range(address >> _PAGE_SHIFT, ((address + size - 1) >> _PAGE_SHIFT) + 1):
            self._pages[page] = fresh

    def remove(self, address: int, size: int) -> None:
        """Forget an object."""
        for page in range(address >> _PAGE_SHIFT, ((address + size - 1) >> _PAGE_SHIFT) + 1):
            self._pages.pop(page, None)

    def _at(self, address: int, size: int) -> tuple[_Object, int, int] | None:
        """Return the marked object that a range touches, and from where to where it does."""
        pages = self._pages
        fresh = pages.get(address >> _PAGE_SHIFT) or pages.get((address + size - 1) >> _PAGE_SHIFT)
        if fresh is None:
            return None
        first = max(address - fresh.address, 0)
        end = min(address + size - fresh.address, len(fresh.marks))
        return (fresh, first, end) if first < end else None  # the bytes before it have no marks

    def written(self, address: int, size: int) -> None:
        """Remove the marks of a range."""
        place = self._at(address, size)
        if place is None:
            return
        fresh, first, end = place
        if not fresh.left:
            return
        fresh.left -= fresh.marks.count(1, first, end)
        fresh.marks[first:end] = bytes(end - first)

    def copied(self, target: int, source: int, size: int) -> None:
        """Copy the marks of another range to a range."""
        place = self._at(source, size) if self.start <= source < self.end else None
        marks = bytearray(size)
        if place is not None:
            fresh, first, end = place
            offset = fresh.address + first - source
            marks[offset : offset + end - first] = fresh.marks[first:end]
        place = self._at(target, size) if self.start <= target < self.end else None
        if place is not None:
            fresh, first, end = place
            offset = fresh.address + first - target
            fresh.left -= fresh.marks.count(1, first, end)
            fresh.marks[first:end] = marks[offset : offset + end - first]
            fresh.left += fresh.marks.count(1, first, end)

    def used(self, address: int, size: int, reader: str = "kernel") -> None:
        """Report a read that includes a mark."""
        place = self._at(address, size)
        if place is None:
            return
        fresh, first, end = place
        at = fresh.marks.find(1, first, end) if fresh.left else -1
        if at >= 0:
            self.found(fresh.address + at, fresh.marks.count(1, at, end), size, reader)

    def _seen(self, write: bool, address: int, size: int, host: bool) -> None:
        """Follow an access of the guest's code or of the host: called for every access."""
        if not write and not host and size >= self._word:
            return
        fresh = self._pages.get(address >> _PAGE_SHIFT)
        if fresh is None:
            self._seen_across(write, address, size, host)
            return
        if not fresh.left:
            return
        first, marks = address - fresh.address, fresh.marks
        end = first + size
        if first < 0 or end > len(marks) or host:
            self._seen_across(write, address, size, host)
        elif write:
            count = marks.count(1, first, end)
            if count:
                fresh.left -= count
                marks[first:end] = bytes(size)
        elif marks.count(1, first, end) == size:
            self.found(address, size, size, "guest")

    def _seen_across(self, write: bool, address: int, size: int, host: bool) -> None:
        """Follow an access of the host, or one that may begin before an object or end after it."""
        if write:
            self.written(address, size)
        elif host:
            self.used(address, size, "host")
        else:
            place = self._at(address, size)
            if place is None:
                return
            fresh, first, end = place
            if fresh.marks.count(1, first, end) == size:
                self.found(address, size, size, "guest")
