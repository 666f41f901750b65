"""The guest's memory: memory of this process, most of it accessed without the library."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vmtsim.cpu.frames import DATA, SHIFT, Frames, Memory
from vmtsim.cpu.interface import PAGE, Access, CpuFault
from vmtsim.cpu.library import LIBRARY, uc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vmtsim.cpu.library import Processor

_OFFSET = PAGE - 1


class Pages:
    """Maps, reads and writes the memory of a Unicorn engine."""

    pointer_size: int

    def __init__(self, engine: Processor, framed: Sequence[range]) -> None:
        """``framed`` are the ranges of addresses that get single pages: see ``Frames``."""
        self._uc = engine
        self._handle = engine.handle
        self._mem_read = LIBRARY.uc_mem_read
        self._mem_write = LIBRARY.uc_mem_write
        self._byte = ctypes.create_string_buffer(1)
        self._memory: dict[int, Memory] = {}  # by the address at which it was mapped
        self._frames = Frames(engine, framed)
        self._pages: dict[int, memoryview] = {}  # by page number: what can be read,
        self._writable: dict[int, memoryview] = {}  # and what can be written
        self._readonly_from, self._readonly_to = 1 << 64, 0
        self._readonly: dict[int, int] = {}  # start -> end of pages that may not be written

    def map(self, address: int, size: int, protection: int) -> None:
        """Map pages, filled with zeroes."""
        pool = self._frames.pool(address) if protection == DATA else None
        if pool is not None:
            contents = self._frames.map(pool, address, size)
        else:
            self._memory[address] = memory = Memory(size)
            self._uc.mem_map_ptr(address, size, protection, memory.place)
            contents = memory.pages
        self._pages.update(
            zip(range(address >> SHIFT, (address + size) >> SHIFT), contents, strict=True)
        )
        self._note(address, size, protection)

    def unmap(self, address: int, size: int) -> None:
        """Unmap pages."""
        pool = self._frames.pool(address)
        if pool is not None and address not in self._memory:
            self._frames.unmap(pool, address, size)
        else:
            self._uc.mem_unmap(address, size)
            self._memory.pop(address, None)
        self._readonly.pop(address, None)
        for page in range(address >> SHIFT, (address + size) >> SHIFT):
            self._pages.pop(page, None)
            self._writable.pop(page, None)

    def protect(self, address: int, size: int, protection: int) -> None:
        """Change the protection of pages."""
        self._uc.mem_protect(address, size, protection)
        self._note(address, size, protection)

    def _note(self, address: int, size: int, protection: int) -> None:
        pages = range(address // PAGE, (address + size) // PAGE)
        if protection & uc.UC_PROT_WRITE:
            self._readonly.pop(address, None)
            # Write code through the library, which then drops its translation.
            if not protection & uc.UC_PROT_EXEC:
                self._writable.update((page, self._pages[page]) for page in pages)
        else:
            for page in pages:
                self._writable.pop(page, None)
            self._readonly[address] = address + size
            self._readonly_from = min(self._readonly_from, address)
            self._readonly_to = max(self._readonly_to, address + size)

    @staticmethod
    def _parts(pages: Mapping[int, memoryview], address: int, size: int) -> list[memoryview] | None:
        """Return the memory of a range in pieces; None unless all its pages are known."""
        number, start = address >> SHIFT, address & _OFFSET
        parts = []
        while size > 0:
            page = pages.get(number)
            if page is None:
                return None
            parts.append(page[start : start + size])
            size -= PAGE - start
            number, start = number + 1, 0
        return parts

    def _spread(self, address: int, data: bytes) -> bool:
        """Write to known pages; false, and nothing is written, unless all are known."""
        parts = self._parts(self._writable, address, len(data))
        if parts is None:
            return False
        start = 0
        for part in parts:
            part[:] = data[start : start + len(part)]
            start += len(part)
        return True

    def checked_write(self, address: int, data: bytes) -> None:
        """Change memory as the guest's own code could: CpuFault on read-only pages too."""
        page = self._writable.get(address >> SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + len(data)
            if end <= PAGE:  # most often
                page[offset:end] = data
                return
            if self._spread(address, data):
                return
        # Heap and stacks lie outside of the range in which anything is read-only.
        nearby = self._readonly_from < address + len(data) and address < self._readonly_to
        for start, end in self._readonly.items() if nearby else ():
            if address < end and start < address + len(data):
                raise CpuFault(
                    "page fault",
                    0,
                    access=Access.WRITE,
                    address=max(address, start),
                    size=len(data),
                    mapped=True,
                )
        self._store(address, data)

    def read(self, address: int, size: int) -> bytes:
        """Return memory, independent of its protection; CpuFault if it is not mapped."""
        page = self._pages.get(address >> SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + size
            if end <= PAGE:
                return page[offset:end].tobytes()
            parts = self._parts(self._pages, address, size)
            if parts is not None:
                return b"".join(parts)
        return b"".join(self._by_page(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Change memory, independent of its protection; CpuFault if it is not mapped."""
        if not self._spread(address, data):
            self._store(address, data)

    def _by_page(self, address: int, size: int) -> Iterator[bytes]:
        """Read by the library, page by page; CpuFault at the first one that is not mapped."""
        for place, start, end in self._frames.places(address, size):
            buffer = ctypes.create_string_buffer(end - start)
            if self._mem_read(self._handle, place, buffer, end - start):
                raise CpuFault(
                    "page fault", 0, access=Access.READ, address=address + start, size=size
                )
            yield buffer.raw

    def _store(self, address: int, data: bytes) -> None:
        """Write by the library; CpuFault, and nothing is written, unless all is mapped."""
        size = len(data)
        places = list(self._frames.places(address, size))
        for place, start, _end in places:
            if self._mem_read(self._handle, place, self._byte, 1):
                raise CpuFault(
                    "page fault", 0, access=Access.WRITE, address=address + start, size=size
                )
        for place, start, end in places:
            self._mem_write(self._handle, place, data[start:end], end - start)

    def forget_code(self, start: int, end: int) -> None:
        """Drop translated code of this range."""
        self._uc.ctl_remove_cache(start, end)

    def read_word(self, address: int) -> int:
        """Return the pointer-sized word at ``address``."""
        page = self._pages.get(address >> SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + self.pointer_size
            if end <= PAGE:
                return int.from_bytes(page[offset:end], "little")
        return int.from_bytes(self.read(address, self.pointer_size), "little")
