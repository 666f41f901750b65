"""Pages of physical memory: uvm_pglistalloc, uvm_pglistfree, and their records.

A page is a number (its physical address / 4096) and, once it has been allocated, a struct vm_page
of which only the first member is used: the entry of the list that it is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.core.frame import GuestFault
from vmtsim.cpu import CpuFault
from vmtsim.kernel.api import Block, DataSymbol, Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.memory import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

PAGES = 65536
"""Pages that uvm manages here: 256 MB."""

FREEMIN = max(min(PAGES // 200, 256), 32)
FREETARG = FREEMIN * 4 // 3
"""Free pages that the pagedaemon needs: uvmpd_tune in sys/uvm/uvm_pdaemon.c 1.134, one CPU."""

_FIRST = 0x1000  # the number of the first one: below are the kernel and its data
_ENTRY = 32  # bytes that a struct vm_page has here: the first two pointers, and room
_CHUNK = 256  # number of them that are created at a time
_RESERVED = 1 + 5  # uvmexp.reserve_pagedaemon and .reserve_kernel
_FILEMIN = PAGES // 10  # vm.filemin, 10 %: uvmpdpol_init in sys/uvm/uvm_pdpolicy_clock.c 1.40
_ENOMEM, _EINVAL = 12, 22
# A thread waits this long for pages before the run reports it; the kernel waits forever.
_WAITS = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Allocated:
    """An allocated page; ``made_at`` is the call of uvm_pglistalloc."""

    number: int
    made_at: int


class Pages(Subject):
    """The free pages, and the allocated ones.

    ``on_free`` is called with the number of each page that is freed, ``on_files`` with how many
    pages hold files.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/uvm/uvm_pglist.c 1.92": "uvm_pglistalloc uvm_pglistfree",
        "sys/uvm/uvm_page.c 1.256": "uvm_vm_page_to_phys uvm_availmem",
        "sys/arch/x86/x86/pmap.c 1.427": "pmap_extract",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "uvm_pgfl_lock": "uvm_pglistalloc uvm_pglistfree",
        "pm_lock": "pmap_extract",
    }
    ACCESSES_DATA = "uvm_pglistalloc uvm_pglistfree pmap_extract"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._free = bytearray(b"\1" * PAGES)  # by number - _FIRST
        self._count = PAGES
        self._hint = 0  # where the next search begins (uvm_physseg_set_start_hint)
        self._taken = 0  # pages that others have, while memory is short
        self._files = 0  # pages of files, while memory is short
        self._daemon_awake = False
        self._entries: dict[int, int] = {}  # index -> struct vm_page
        self._indices: dict[int, int] = {}  # struct vm_page -> index
        self._room = WaitQueue("pages")
        self._frames: dict[int, int] = {}  # number -> address that pmap_extract got
        self.live: dict[int, Allocated] = {}  # by struct vm_page
        self.on_free: Callable[[int], None] = lambda _number: None
        self.on_files: Callable[[int], None] = lambda _count: None

    def data(self) -> Iterator[DataSymbol]:
        """Yield the kernel's own map, of which only the address is used."""
        pointer = self.kernel.cpu.pointer_size
        yield DataSymbol("kernel_pmap_ptr", (1).to_bytes(pointer, "little"), writable=False)

    # -- for scenarios and the host --------------------------------------------------------------

    @property
    def available(self) -> int:
        """The number of free pages."""
        return max(self._count - self._taken - self._files, 0)

    @property
    def files(self) -> int:
        """The number of pages that hold files."""
        return self._files

    def press(self, free: int | None, files: int = 0) -> None:
        """Leave ``free`` pages free and let ``files`` pages hold files; others have the rest.

        None: all pages are free except the module's.
        """
        self._hold(0 if free is None else min(files, self._count))
        self._taken = 0 if free is None else max(self._count - self._files - free, 0)
        self.kernel.scheduler.wake_all(self._room)
        self._kick()

    def _hold(self, files: int) -> None:
        self._files = files
        self.on_files(files)

    def _kick(self) -> None:
        """Wake the pagedaemon where free pages are few: uvm_kick_pdaemon in uvm_pdaemon.c."""
        if self.available >= FREEMIN or self._files <= _FILEMIN or self._daemon_awake:
            return
        self._daemon_awake = True
        self.kernel.spawn("pgdaemon", "kthread", self._scan())

    def _scan(self) -> Model:
        """Turn pages of files into free ones, up to freetarg (uvm_pageout, uvmpd_scan).

        All pages of files are clean here; vm.filemin protects the last ones.
        """
        yield from ()
        self._daemon_awake = False
        number = min(FREETARG - self.available, self._files - _FILEMIN)
        if number > 0:
            self._hold(self._files - number)
            self.kernel.scheduler.wake_all(self._room)

    def read(self, address: int, size: int) -> bytes:
        """Return physical memory that was passed to pmap_extract; raises GuestFault for other."""
        try:
            return self.kernel.memory.read(self._virtual(address, size, write=False), size)
        except CpuFault:
            raise GuestFault(address, size, write=False) from None

    def write(self, address: int, data: bytes) -> None:
        """Store into such memory; raises GuestFault."""
        try:
            self.kernel.memory.write(self._virtual(address, len(data), write=True), data)
        except CpuFault:
            raise GuestFault(address, len(data), write=True) from None

    def _virtual(self, address: int, size: int, *, write: bool) -> int:
        page = self._frames.get(address // PAGE)
        if page is None or address % PAGE + size > PAGE:
            raise GuestFault(address, size, write=write)
        return page + address % PAGE

    def check_unload(self, module: str) -> None:
        """Report pages that an unloaded module has not freed."""
        super().check_unload(module)
        kernel = self.kernel
        left = [each for each in self.live.values() if kernel.loaded_at(abs(each.made_at)) is None]
        if not left:
            return
        sites = {each.made_at for each in left}
        names = ", ".join(sorted(str(kernel.location(site)) for site in sites))
        kernel.violation(
            "pages-left",
            f"module {module} is unloaded, but {len(left)} pages that were allocated by {names} "
            "were never freed",
        )

    # -- lists -----------------------------------------------------------------------------------

    def _entry(self, index: int) -> int:
        """Return the struct vm_page of a page."""
        if index not in self._entries:
            first = index - index % _CHUNK
            base = self.kernel.memory.place(bytes(_CHUNK * _ENTRY))
            for number in range(_CHUNK):
                self._entries[first + number] = base + number * _ENTRY
                self._indices[base + number * _ENTRY] = first + number
        return self._entries[index]

    def _known(self, function: str, page: int) -> Allocated:
        found = self.live.get(page)
        if found is None:
            kernel = self.kernel
            state = "is free" if page in self._indices else "was not allocated"
            kernel.panic(
                "pglist-unknown",
                f"{function} by {kernel.where()}: the page {page:#x} "
                f"({kernel.describe(page)}) {state}",
            )
        return found

    @kernel_function(
        "int uvm_pglistalloc(psize_t size, paddr_t low, paddr_t high, paddr_t alignment,"
        " paddr_t boundary, struct pglist *rlist, int nsegs, int waitok)"
    )
    def uvm_pglistalloc(
        self,
        size: int,
        low: int,
        high: int,
        alignment: int,
        boundary: int,
        rlist: int,
        nsegs: int,
        waitok: int,
    ) -> Model | int:
        """Pages from the hint on, or contiguous ones if ``nsegs`` allows no gaps."""
        kernel = self.kernel
        kernel.rules.thread_context("uvm_pglistalloc")
        if alignment & (alignment - 1) or boundary & (boundary - 1):
            kernel.panic(
                "pglist-arguments",
                f"uvm_pglistalloc by {kernel.where()}: alignment {alignment:#x} and boundary "
                f"{boundary:#x} are not both powers of two",
            )
        if waitok:
            kernel.rules.may_sleep("uvm_pglistalloc")
        if boundary and boundary < size:
            return _EINVAL
        self._begin(rlist)
        alignment = max(alignment, PAGE)
        number = -(-size // PAGE)
        gaps = nsegs >= number and alignment == PAGE and not boundary
        start = max(-(-low // alignment) * alignment // PAGE - _FIRST, 0)
        end = min(high // PAGE - _FIRST, PAGES)
        if start >= end:
            return _EINVAL

        def find() -> list[int] | None:
            if self.available <= _RESERVED or self.available < number:
                return None
            if gaps:
                return self._any(number, start, end)
            return self._row(number, start, end, alignment // PAGE, boundary // PAGE)

        found = find()
        if found is None and waitok:
            self._kick()
            return self._wait(find, rlist, number)
        error = _ENOMEM if found is None else self._give(found, rlist)
        self._kick()
        return error

    def _begin(self, rlist: int) -> None:
        """TAILQ_INIT of the list, which loses the pages that are on it."""
        kernel, memory = self.kernel, self.kernel.memory
        pointer = memory.pointer_size
        try:
            first = int.from_bytes(memory.cpu.read(rlist, pointer), "little")
        except CpuFault:
            first = 0  # the next line faults with a better message
        if first in self.live and memory.pointer(first + pointer) == rlist:
            kernel.violation(
                "pglist-lost",
                f"uvm_pglistalloc by {kernel.where()}: the list has pages, allocated by "
                f"{kernel.location(self.live[first].made_at)}, which are lost",
            )
        memory.put_pointer(rlist, 0)
        memory.put_pointer(rlist + pointer, rlist)

    def _wait(self, find: Callable[[], list[int] | None], rlist: int, number: int) -> Model:
        kernel = self.kernel
        deadline: int | None = kernel.clock.now + _WAITS
        while (found := find()) is None:
            if not (yield Block(self._room, deadline=deadline, what="pglalloc")):
                deadline = None
                kernel.violation(
                    "memory-exhausted",
                    f"uvm_pglistalloc of {number} pages by {kernel.where()} waits for memory: "
                    f"{self.available} pages are free",
                )
        return self._give(found, rlist)

    def _any(self, number: int, start: int, end: int) -> list[int] | None:
        """Return free pages, the first from the hint on, then those before it."""
        found: list[int] = []
        hint = min(max(self._hint, start), end)
        for at, stop in ((hint, end), (start, hint)):
            while len(found) < number and (at := self._free.find(1, at, stop)) >= 0:
                found.append(at)
                at += 1  # noqa: PLW2901 - the search continues after it
        return found if len(found) == number else None

    def _row(self, number: int, start: int, end: int, step: int, limit: int) -> list[int] | None:
        """Return contiguous free pages that start at a multiple of ``step``."""
        row = b"\1" * number
        at = start
        while (at := self._free.find(row, at, end)) >= 0:
            first = at + _FIRST
            if first % step or (limit and first // limit != (first + number - 1) // limit):
                at += 1
            else:
                return list(range(at, at + number))
        return None

    def _give(self, found: list[int], rlist: int) -> int:
        memory, site = self.kernel.memory, self.kernel.call_site
        pointer = memory.pointer_size
        for index in found:
            page = self._entry(index)
            self._free[index] = 0
            last = memory.pointer(rlist + pointer)
            memory.put_pointer(page, 0)
            memory.put_pointer(page + pointer, last)
            memory.put_pointer(last, page)
            memory.put_pointer(rlist + pointer, page)
            self.live[page] = Allocated(index + _FIRST, site)
        self._count -= len(found)
        self._hint = found[-1] + 1 if found else self._hint
        return 0

    @kernel_function("void uvm_pglistfree(struct pglist *list)")
    def uvm_pglistfree(self, rlist: int) -> None:
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.thread_context("uvm_pglistfree")
        pointer = memory.pointer_size
        while page := memory.pointer(rlist):
            allocated = self._known("uvm_pglistfree", page)
            after, before = memory.pointer(page), memory.pointer(page + pointer)
            memory.put_pointer(after + pointer if after else rlist + pointer, before)
            memory.put_pointer(before, after)
            del self.live[page]
            self._free[allocated.number - _FIRST] = 1
            self._count += 1
            self.on_free(allocated.number)
        kernel.scheduler.wake_all(self._room)

    # -- properties of pages ---------------------------------------------------------------------

    @kernel_function("paddr_t uvm_vm_page_to_phys(const struct vm_page *pg)")
    def uvm_vm_page_to_phys(self, page: int) -> int:
        return self._known("uvm_vm_page_to_phys", page).number * PAGE

    @kernel_function("int uvm_availmem(bool cached)")
    def uvm_availmem(self, _cached: bool) -> int:
        return self.available

    @kernel_function("bool pmap_extract(struct pmap *pmap, vaddr_t va, paddr_t *pap)")
    def pmap_extract(self, _pmap: int, address: int, result: int) -> bool:
        """For the kernel's map: a frame for each requested page, from 0x100 on."""
        page = address // PAGE * PAGE
        try:
            self.kernel.memory.cpu.read(page, 1)
        except CpuFault:
            return False
        number = next((n for n, at in self._frames.items() if at == page), 0)
        if not number:
            number = 0x100 + len(self._frames)
            self._frames[number] = page
        if result:
            self.kernel.memory.put_pointer(result, number * PAGE + address % PAGE)
        return True
