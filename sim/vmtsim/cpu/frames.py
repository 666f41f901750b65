"""Physical memory for the guest's heap, stacks and data, and the translation to it.

A region of Unicorn costs 50 microseconds to map, and more with each region that is mapped already;
an idle guest allocates 13 objects a minute.  So these addresses get single pages, frames, of a
few large regions at physical addresses that no pointer of the guest reaches, and the processor
asks ``translate`` when it meets a page for the first time.  Elsewhere physical and virtual
addresses are equal.  So they are for a page that is not mapped, which makes Unicorn report the
exact address of a fault.

Hooks are called for physical addresses.  None is for a frame, unless it is watched: Unicorn calls
a slow function for each store to a page that a hook is for.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any

from vmtsim.cpu.interface import PAGE
from vmtsim.cpu.library import uc

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from vmtsim.cpu.library import Processor

SHIFT = 12  # from an address to the number of its page
_ZEROES = bytes(PAGE)
_SLAB = 64  # frames of one region
_PHYSICAL = 1 << 56  # where the regions begin, of one range of addresses after the other
_ROOM = 1 << 40  # bytes between the first regions of two ranges
# Added to a frame's physical address for an access that must fault: nothing is mapped there.
_NO_FRAME = 1 << 57
DATA = uc.UC_PROT_READ | uc.UC_PROT_WRITE


class Memory:
    """Memory of this process for some pages of the guest, filled with zeroes.

    A child of this process gets a copy, as of all other memory.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._content = memory = mmap.mmap(-1, size, flags=private)
        self.place = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        view = memoryview(memory)
        self.pages = [view[start : start + PAGE] for start in range(0, size, PAGE)]


class _Pool:
    """The frames for one range of virtual addresses."""

    def __init__(self, virtual: range, physical: int) -> None:
        self.virtual = virtual
        self.physical = self.end = physical  # from the first frame to after the last
        self.spare: list[tuple[int, memoryview]] = []  # (physical address, content): zero


class Frames:
    """The frames of an engine.

    ``ranges`` of virtual addresses have frames, each at physical addresses of its own, so that
    a range can be watched.
    """

    def __init__(self, engine: Processor, ranges: Sequence[range]) -> None:
        self._uc = engine
        self._pools = [_Pool(each, _PHYSICAL + n * _ROOM) for n, each in enumerate(ranges)]
        self._reachable = range(_PHYSICAL, _PHYSICAL + len(ranges) * _ROOM)
        self._regions: list[Memory] = []  # must stay referenced
        self._frames: dict[int, tuple[int, memoryview]] = {}  # by virtual page address
        self.virtual_pages: dict[int, int] = {}  # physical page address -> virtual
        # Virtual page address -> the parts of it that the processor may know: its own pages are
        # smaller on aarch64.
        self._known: dict[int, set[int]] = {}

    def pool(self, address: int) -> _Pool | None:
        """Return the frames for an address; None where there are none."""
        for pool in self._pools:
            if address in pool.virtual:
                return pool
        return None

    def map(self, pool: _Pool, address: int, size: int) -> list[memoryview]:
        """Give pages a frame each, filled with zeroes; returns their contents."""
        spare, found = pool.spare, []
        while len(spare) < size >> SHIFT:
            self._grow(pool)
        for page in range(address, address + size, PAGE):
            self._frames[page] = frame = spare.pop()
            self.virtual_pages[frame[0]] = page
            found.append(frame[1])
        return found

    def _grow(self, pool: _Pool) -> None:
        memory = Memory(_SLAB * PAGE)
        self._uc.mem_map_ptr(pool.end, memory.size, DATA, memory.place)
        self._regions.append(memory)
        places = range(pool.end, pool.end + memory.size, PAGE)
        pool.spare += reversed(list(zip(places, memory.pages, strict=True)))
        pool.end += memory.size

    def unmap(self, pool: _Pool, address: int, size: int) -> None:
        """Take the frames of pages back."""
        for page in range(address, address + size, PAGE):
            frame = self._frames.pop(page)
            del self.virtual_pages[frame[0]]
            frame[1][:] = _ZEROES
            pool.spare.append(frame)
            # The processor looks a part up as code: the answer replaces what it knew.
            for part in self._known.pop(page, ()):
                self._uc.ctl_remove_cache(part, part + 1)

    def translating(self, plain: Container[int]) -> Callable[..., bool]:
        """Return the function that Unicorn calls for a page that it does not know.

        ``plain`` are the numbers of other pages that are read and written, and never run.  Such a
        page is made known for both at once: an entry replaces that of another access to its page.
        """
        frames, virtual = self._frames, self.virtual_pages
        known, reachable = self._known, self._reachable

        def translate(_uc: Any, address: int, access: int, entry: Any, _data: Any) -> bool:
            answer, page = entry.contents, address & -PAGE
            fetch = access == uc.UC_MEM_FETCH
            place = address
            frame = frames.get(page)
            if frame is not None:
                known.setdefault(page, set()).add(address)
                place = frame[0] | address & PAGE - 1
            if (fetch and frame is not None) or (place == address and page in reachable):
                place |= _NO_FRAME
                virtual[place & -PAGE] = page
            answer.paddr = place
            if fetch:
                answer.perms = uc.UC_PROT_EXEC
            elif frame is not None or page >> SHIFT in plain:
                answer.perms = DATA
            else:
                answer.perms = uc.UC_PROT_READ if access == uc.UC_MEM_READ else uc.UC_PROT_WRITE
            return True

        return translate

    def places(self, address: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield the physical address of each page of a range, and the part of the range in it."""
        start = 0
        while start < size:
            at = address + start
            end = min(size, (at | PAGE - 1) + 1 - address)
            frame = self._frames.get(at & -PAGE)
            place = at if frame is None else frame[0] | at & PAGE - 1
            yield place | _NO_FRAME if at in self._reachable else place, start, end
            start = end

    def content(self, page: int) -> memoryview:
        """Return the memory of a page that has a frame, by its virtual address."""
        return self._frames[page][1]

    def has(self, address: int) -> bool:
        """Whether the page of a virtual address has a frame."""
        return address & -PAGE in self._frames

    def elsewhere(self) -> tuple[range, range]:
        """Return all physical addresses that are not for frames."""
        return range(self._reachable.start), range(self._reachable.stop, 1 << 64)

    def virtual(self, address: int) -> int:
        """Return the virtual address of a physical one."""
        page = self.virtual_pages.get(address & -PAGE)
        return address if page is None else page | address & PAGE - 1

    def watched(self, start: int, end: int) -> list[range]:
        """Return the physical addresses of frames whose pages may be in a range."""
        return [
            range(pool.physical, pool.physical + _ROOM)
            for pool in self._pools
            if start < pool.virtual.stop and pool.virtual.start < end
        ]
