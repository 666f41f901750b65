"""The guest's memory: memory of this process, most of it accessed without the library."""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING

from vmtsim.cpu.interface import Access, CpuFault
from vmtsim.cpu.library import LIBRARY, uc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.cpu.library import Processor

PAGE = 4096
_SHIFT, _OFFSET = 12, 4095
_LARGE = 1 << 20  # bytes that are read without first checking whether they are mapped
_SMALL = 256  # bytes: a buffer of such a size is kept
_SMALL_MEMORY = 4 * PAGE  # bytes: memory of at most this size is kept when it is unmapped,
_MOST_SPARE = 32  # this many of each size


def own_memory(size: int) -> mmap.mmap:
    """Return memory full of zeroes, which a child of this process copies like all other memory."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class _Memory:
    """Memory of this process for some pages of the guest, filled with zeroes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._content = memory = own_memory(size)
        self.place = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        view = memoryview(memory)
        self.pages = [view[start : start + PAGE] for start in range(0, size, PAGE)]

    def clear(self) -> None:
        """Fill it with zeroes."""
        self._content[:] = bytes(self.size)


class Pages:
    """Maps, reads and writes the memory of a Unicorn engine."""

    pointer_size: int

    def __init__(self, engine: Processor) -> None:
        self._uc = engine
        self._handle = engine.handle
        self._mem_read = LIBRARY.uc_mem_read
        self._mem_write = LIBRARY.uc_mem_write
        self._buffers: dict[int, ctypes.Array[ctypes.c_char]] = {}  # by size
        # A word that is read often; this avoids a new buffer for each read.
        self._word = ctypes.c_uint64(0)
        self._word_at = ctypes.c_void_p(ctypes.addressof(self._word))
        self._memory: dict[int, _Memory] = {}  # by the address at which it was mapped
        self._spare: dict[int, list[_Memory]] = {}  # by size: not mapped now, and zero
        self._pages: dict[int, memoryview] = {}  # by page number: what can be read,
        self._writable: dict[int, memoryview] = {}  # and what can be written
        self._readonly_from, self._readonly_to = 1 << 64, 0
        self._readonly: dict[int, int] = {}  # start -> end of pages that may not be written

    def map(self, address: int, size: int, protection: int) -> None:
        """Map pages, filled with zeroes."""
        spare = self._spare.get(size)
        memory = spare.pop() if spare else _Memory(size)
        self._uc.mem_map_ptr(address, size, protection, memory.place)
        self._memory[address] = memory
        self._pages.update(
            zip(range(address >> _SHIFT, (address + size) >> _SHIFT), memory.pages, strict=True)
        )
        self._note(address, size, protection)

    def unmap(self, address: int, size: int) -> None:
        """Unmap pages."""
        self._uc.mem_unmap(address, size)
        self._readonly.pop(address, None)
        for page in range(address // PAGE, (address + size) // PAGE):
            self._pages.pop(page, None)
            self._writable.pop(page, None)
        memory = self._memory.get(address)
        if memory is not None and memory.size == size:
            del self._memory[address]
            self._keep(memory)

    def _keep(self, memory: _Memory) -> None:
        """Keep small memory for the next ``map``: new memory from the system takes long."""
        spare = self._spare.setdefault(memory.size, [])
        if memory.size <= _SMALL_MEMORY and len(spare) < _MOST_SPARE:
            memory.clear()
            spare.append(memory)

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
        number, start = address >> _SHIFT, address & _OFFSET
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
        """Write to several pages; false, and nothing is written, unless all are known."""
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
        page = self._writable.get(address >> _SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + len(data)
            if end <= PAGE:
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
        if data and self._mem_write(self._handle, address, data, len(data)):
            raise self._outside(Access.WRITE, address, len(data))

    def read(self, address: int, size: int) -> bytes:
        """Return memory, independent of its protection; CpuFault if it is not mapped."""
        page = self._pages.get(address >> _SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + size
            if end <= PAGE:
                return bytes(page[offset:end])
            parts = self._parts(self._pages, address, size)
            if parts is not None:
                return b"".join(parts)
        if size > _LARGE:
            self._check_mapped(address, size)
        buffer = self._buffers.get(size)
        if buffer is None:
            buffer = ctypes.create_string_buffer(size)
            if size <= _SMALL:
                self._buffers[size] = buffer
        if self._mem_read(self._handle, address, buffer, size):
            raise self._outside(Access.READ, address, size)
        return buffer.raw

    def write(self, address: int, data: bytes) -> None:
        """Change memory, independent of its protection; CpuFault if it is not mapped."""
        page = self._writable.get(address >> _SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + len(data)
            if end <= PAGE:
                page[offset:end] = data
                return
            if self._spread(address, data):
                return
        if data and self._mem_write(self._handle, address, data, len(data)):
            raise self._outside(Access.WRITE, address, len(data))

    def _check_mapped(self, address: int, size: int) -> None:
        """Fault for a range that is not entirely mapped, before memory is allocated for it."""
        first = address
        for start, last, _protection in sorted(self._uc.mem_regions()):
            if start <= first <= last:
                first = last + 1
        if first < address + size:
            raise CpuFault("page fault", 0, access=Access.READ, address=first, size=size)

    def _outside(self, access: Access, address: int, size: int) -> CpuFault:
        """Return the fault for a range that is not entirely mapped, at its first missing byte."""
        first = address
        end = address + size
        regions = sorted(self._uc.mem_regions())
        for start, last, _protection in regions:
            if start <= first <= last:
                first = last + 1
        if first >= end:
            first = address
        return CpuFault("page fault", 0, access=access, address=first, size=size)

    def forget_code(self, start: int, end: int) -> None:
        """Drop translated code of this range."""
        self._uc.ctl_remove_cache(start, end)

    def read_word(self, address: int) -> int:
        """Return the pointer-sized word at ``address``."""
        page = self._pages.get(address >> _SHIFT)
        if page is not None:
            offset = address & _OFFSET
            end = offset + self.pointer_size
            if end <= PAGE:
                return int.from_bytes(page[offset:end], "little")
        if self._mem_read(self._handle, address, self._word_at, self.pointer_size):
            raise self._outside(Access.READ, address, self.pointer_size)
        return self._word.value
