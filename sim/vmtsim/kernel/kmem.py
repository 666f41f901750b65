"""kmem(9) with guards: every object ends where a page ends, and freed memory is unmapped.

Objects are aligned to KMEM_ALIGN, 8 bytes, as sys/kern/subr_kmem.c promises; if the size is no
multiple of that, up to 7 bytes lie between the object and the end of the page.  An overrun beyond
them faults at once; they and the bytes before an object are checked when it is freed.  A freed
object stays unmapped, so that a use after free faults with both histories in the message.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, ClassVar, NoReturn

from vmtgen.common.dataclass import dataclass

from vmtsim.cpu.interface import READ, WRITE
from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.errors import Stalled
from vmtsim.kernel.facts import Kind, Owner, Side
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.memory import PAGE, Region, round_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel

KM_SLEEP, KM_NOSLEEP = 1, 2
_ALIGN = 8  # KMEM_ALIGN
_CANARY = 0xC5
_GUARDS = bytes([_CANARY]) * PAGE
_FRESH = b"\xa5"  # content of kmem_alloc memory: never zero by chance
_CALLERS = 3  # of the function that sends to the host: it is the same for all messages
# Freed objects whose history is kept; their addresses are not reused before that.
_QUARANTINE = 4096
# A thread waits this long for memory before the run reports it; the kernel waits forever.
_WAITS = 10 * SECOND


@dataclass
class Allocation:
    """One object: address, size, creator and the code that freed it (addresses in the guest).

    ``name`` is its name if it has one, such as "softc of wm0".
    """

    address: int
    size: int
    base: int
    mapped: int
    made_at: int
    made_by: str
    freed_at: int = 0
    owner: str = "kmem"
    name: str = ""


class _Arena:
    """A part of the heap, allocated from the start to the end, then from the start again."""

    def __init__(self, start: int, end: int) -> None:
        self._start, self._end = start, end
        self._next = start
        self._again = False  # the end was reached once: the rest may be in use

    def take(self, size: int, live: Iterable[Allocation]) -> int:
        """Return the first page of a free range, with a hole after it."""
        need = size + PAGE
        if not self._again and self._next + need <= self._end:
            base, self._next = self._next, self._next + need
            return base
        self._again = True
        busy = sorted((each.base, each.base + each.mapped + PAGE) for each in live)
        for first in (self._next, self._start):
            base = first
            for start, end in busy:
                if start < base + need and end > base:
                    base = end
            if base + need <= self._end:
                self._next = base + need
                return base
        raise MemoryError(f"the heap has no space for {size} bytes: too much is allocated")


class Kmem(Subject):
    """The kernel's allocator as a module sees it."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_kmem.c 1.89": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "kmem_strdupsize kmem_strfree"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: dict[int, Allocation] = {}
        self._freed: OrderedDict[int, Allocation] = OrderedDict()
        layout = kernel.cpu.layout
        self._shadow = kernel.memory.shadow
        self._shadow.found = self._uninitialised
        # Cleared objects are below the others: the processor watches only the latter.
        self._clear = _Arena(layout.heap, self._shadow.start)
        self._fresh = _Arena(self._shadow.start, layout.heap_end)
        self._reported: set[tuple[int, str]] = set()
        # Called for every allocation that may fail: true makes it fail (fault injection).
        self.refuse: Callable[[int], bool] = lambda _size: False
        self._limit = kernel.options.memory
        self._used = 0  # bytes that are mapped, with the holes between
        self._room = WaitQueue("kmem")
        # Called before memory is freed: (start, end, function) must panic if an object in it is in
        # use.
        self.on_free: list[Callable[[int, int, str], None]] = []

    # -- allocation --------------------------------------------------------------------------

    def allocate(
        self, size: int, *, clear: bool = True, owner: str = "kmem", name: str = ""
    ) -> int:
        """Return a new object of ``size`` bytes; the call site becomes its history.

        Memory that is not cleared is watched until all of it has been written.
        """
        kernel = self.kernel
        if size > kernel.options.memory:
            raise Stalled(f"{size} bytes for a {owner} are more than the machine has")
        room = -(-size // _ALIGN) * _ALIGN
        mapped = round_page(room)
        base = (self._clear if clear else self._fresh).take(mapped, self.live.values())
        address = base + mapped - room
        self._used += mapped + PAGE
        kernel.cpu.map(base, mapped, READ | WRITE)
        slack = address - base
        content = (b"\0" if clear else _FRESH) * size
        kernel.cpu.write(base, _GUARDS[:slack] + content + _GUARDS[: room - size])
        if not clear:
            self._shadow.add(address, room)
        lwp = kernel.scheduler.current
        made_by = lwp.name if lwp is not None else "kernel"
        allocation = Allocation(address, size, base, mapped, kernel.call_site, made_by)
        allocation.owner, allocation.name = owner, name
        self.live[address] = allocation
        kernel.memory.add_region(
            Region(base, base + mapped + PAGE, lambda at: self._owner(allocation, at))
        )
        return address

    def release(self, address: int, size: int | None, function: str) -> None:
        """Free an object; ``size`` is checked if the function has one."""
        kernel = self.kernel
        allocation = self.live.get(address)
        if allocation is None:
            self._bad_free(address, function)
        if size is not None and size != allocation.size:
            kernel.panic(
                "kmem-size",
                f"{function}({address:#x}, {size}) by {kernel.where()}: the object is "
                f"{allocation.size} bytes, {self._made(allocation)}",
            )
        for check in self.on_free:
            check(address, address + allocation.size, function)
        self._check_guards(allocation, function)
        kernel.cpu.unmap(allocation.base, allocation.mapped)
        self._shadow.remove(address, allocation.size)
        del self.live[address]
        self._used -= allocation.mapped + PAGE
        kernel.scheduler.wake_all(self._room)
        allocation.freed_at = kernel.call_site
        self._freed[address] = allocation
        if len(self._freed) > _QUARANTINE:
            _address, oldest = self._freed.popitem(last=False)
            kernel.memory.remove_region(oldest.base)

    def at(self, address: int) -> Allocation | None:
        """Return the object in which an address is."""
        for each in self.live.values():
            if each.address <= address < each.address + each.size:
                return each
        return None

    def _check_guards(self, allocation: Allocation, function: str) -> None:
        """Panic if the bytes around an object have changed."""
        kernel = self.kernel
        address, size = allocation.address, allocation.size
        end = allocation.base + allocation.mapped
        before = kernel.cpu.read(allocation.base, address - allocation.base)
        after = kernel.cpu.read(address + size, end - address - size)
        where = ""
        if before != _GUARDS[: len(before)]:
            last = max(i for i, byte in enumerate(before) if byte != _CANARY)
            where = f"byte {len(before) - last} before"
        elif after != _GUARDS[: len(after)]:
            first = next(i for i, byte in enumerate(after) if byte != _CANARY)
            where = f"byte {first} after"
        if where:
            kernel.panic(
                "out-of-bounds",
                f"{function} by {kernel.where()}: {where} the object of {size} bytes "
                f"({self._made(allocation)}) was overwritten",
            )

    def _bad_free(self, address: int, function: str) -> NoReturn:
        kernel = self.kernel
        old = self._freed.get(address)
        if old is not None:
            kernel.panic(
                "double-free",
                f"{function} by {kernel.where()}: object of {old.size} bytes at {address:#x} was "
                f"already freed by {kernel.location(old.freed_at)}, {self._made(old)}",
            )
        kernel.panic(
            "bad-free",
            f"{function} by {kernel.where()}: {address:#x} ({kernel.describe(address)}) is not "
            "the start of an object of kmem",
        )

    def _made(self, allocation: Allocation) -> str:
        return f"allocated by {self.kernel.location(allocation.made_at)}"

    def _owner(self, allocation: Allocation, at: int) -> Owner:
        offset = at - allocation.address
        state = "freed " if allocation.freed_at else ""
        side = Side.INSIDE
        if offset < 0:
            side, place = Side.BEFORE, f"{-offset} bytes before "
        elif offset >= allocation.size:
            side, place = Side.BEHIND, f"{offset - allocation.size} bytes after "
        else:
            place = f"offset {offset} of " if offset else ""
        if allocation.name:
            text = f"{place}{state}{allocation.name} ({allocation.size} bytes)"
        else:
            text = f"{place}{state}object of {allocation.size} bytes, {self._made(allocation)}"
        if allocation.freed_at:
            text += f", freed by {self.kernel.location(allocation.freed_at)}"
        return Owner(Kind.OBJECT, text, side, gone=bool(allocation.freed_at))

    def _uninitialised(self, first: int, count: int, size: int, reader: str) -> None:
        """Report a read of uninitialised memory, once for each place that reads."""
        kernel = self.kernel
        if kernel.scheduler.current is None:
            return  # a reader outside the machine
        who, place = self._reader(reader)
        site = next(a.made_at for a in self.live.values() if a.base <= first < a.base + a.mapped)
        if (site, who) in self._reported:
            return
        self._reported.add((site, who))
        many = f"{count} of {size} bytes" if size > 1 else "a byte"
        kernel.violation(
            "uninitialised-read",
            f"{who} {many} of uninitialised memory: {kernel.describe(first)}",
            place,
        )

    def _reader(self, reader: str) -> tuple[str, Place]:
        """Return the subject and verb of the message, and the guest's code that reads or calls."""
        kernel = self.kernel
        if reader == "kernel":
            frame = kernel.current.frames[-1]
            if frame.in_guest:
                name = kernel.describe(kernel.cpu.position()[0])
            else:
                name = f"kernel function {frame.entry.name}" if frame.entry else "the kernel"
            return f"{name}, called by {kernel.where()}, reads", kernel.where()
        where = kernel.location(kernel.cpu.instruction(), call=False)
        if reader == "guest":
            return f"{where} reads", where
        callers = [kernel.locate(at) for at in kernel.cpu.return_addresses(_CALLERS)]
        chain = "".join(f", called by {place}" for place in callers if place)
        caller = next((place for place in callers if place and place.known), where)
        return f"the host, by {where}{chain}, reads", caller

    # -- functions ---------------------------------------------------------------------------

    def give(
        self, function: str, size: int, flags: int, *, clear: bool, thread: bool = True
    ) -> Model | int:
        """Allocate by flags; ``thread``: not for interrupts.  Without memory, NULL or a wait."""
        kernel = self.kernel
        if thread:
            kernel.rules.thread_context(function)
        if not size:
            kernel.panic("kmem-size", f"{function} of 0 bytes by {kernel.where()}")
        if flags & (KM_SLEEP | KM_NOSLEEP) not in {KM_SLEEP, KM_NOSLEEP}:
            kernel.panic(
                "kmem-flags",
                f"{function} by {kernel.where()} with flags {flags:#x}: one of KM_SLEEP and "
                "KM_NOSLEEP is needed",
            )
        if flags & KM_NOSLEEP:
            refused = not self._fits(size) or self.refuse(size)
            return 0 if refused else self.allocate(size, clear=clear)
        kernel.rules.may_sleep(function)
        kernel.rules.not_suspending(
            "suspended-allocates",
            function,
            "without free memory it waits for the pagedaemon, which waits for the file system",
        )
        if self._fits(size):
            return self.allocate(size, clear=clear)
        return self._wait(function, size, clear=clear)

    def press(self, free: int | None) -> None:
        """Leave only this many bytes free; None: all memory."""
        whole = self.kernel.options.memory
        self._limit = whole if free is None else min(whole, self._used + free)
        self.kernel.scheduler.wake_all(self._room)

    def _fits(self, size: int) -> bool:
        return self._used + round_page(size) + PAGE <= self._limit

    def _wait(self, function: str, size: int, *, clear: bool) -> Model:
        """Wait for memory, and report when none becomes free."""
        kernel = self.kernel
        deadline: int | None = kernel.clock.now + _WAITS
        while not self._fits(size):
            woken = yield Block(self._room, deadline=deadline, what="kmem")
            if not woken:
                deadline = None
                kernel.violation(
                    "memory-exhausted",
                    f"{function} of {size} bytes by {kernel.where()} waits for memory: "
                    f"{self._used} of {self._limit} bytes are in use{self._most()}",
                )
        return self.allocate(size, clear=clear)

    def _most(self) -> str:
        """Report the code that has made the most objects."""
        made = Counter(each.made_at for each in self.live.values())
        if not made:
            return ""
        site, count = made.most_common(1)[0]
        return f", {count} objects of them by {self.kernel.location(site)}"

    @kernel_function("void *kmem_alloc(size_t size, km_flag_t flags)")
    def kmem_alloc(self, size: int, flags: int) -> Model | int:
        return self.give("kmem_alloc", size, flags, clear=False)

    @kernel_function("void *kmem_zalloc(size_t size, km_flag_t flags)")
    def kmem_zalloc(self, size: int, flags: int) -> Model | int:
        return self.give("kmem_zalloc", size, flags, clear=True)

    @kernel_function("void kmem_free(void *p, size_t size)")
    def kmem_free(self, address: int, size: int) -> None:
        self.kernel.rules.thread_context("kmem_free")
        self.release(address, size, "kmem_free")

    @kernel_function("void *kmem_intr_alloc(size_t size, km_flag_t flags)")
    def kmem_intr_alloc(self, size: int, flags: int) -> Model | int:
        return self.give("kmem_intr_alloc", size, flags, clear=False, thread=False)

    @kernel_function("void *kmem_intr_zalloc(size_t size, km_flag_t flags)")
    def kmem_intr_zalloc(self, size: int, flags: int) -> Model | int:
        return self.give("kmem_intr_zalloc", size, flags, clear=True, thread=False)

    @kernel_function("void kmem_intr_free(void *p, size_t size)")
    def kmem_intr_free(self, address: int, size: int) -> None:
        self.release(address, size, "kmem_intr_free")

    @kernel_function("char *kmem_strdupsize(const void *s, size_t *lenp, km_flag_t flags)")
    def kmem_strdupsize(self, text: int, length_at: int, flags: int) -> Model:
        content = self.kernel.memory.cstring(text) + b"\0"
        given = self.give("kmem_strdupsize", len(content), flags, clear=True)
        address = given if isinstance(given, int) else (yield from given)
        if address:
            self.kernel.memory.write(address, content)
            if length_at:
                self.kernel.memory.put_word(length_at, len(content))
        return address

    @kernel_function("void kmem_strfree(char *s)")
    def kmem_strfree(self, text: int) -> None:
        if text:
            self.kernel.rules.thread_context("kmem_strfree")
            size = len(self.kernel.memory.cstring(text)) + 1
            self.release(text, size, "kmem_strfree")

    def check_unload(self, module: str) -> None:
        """Report objects that were not freed."""
        for allocation in self.live.values():
            made_at = allocation.made_at
            if allocation.owner == "kmem" and self.kernel.loaded_at(made_at) is None:
                place = self.kernel.location(allocation.made_at)
                self.kernel.violation(
                    "leak",
                    f"module {module} is unloaded, but an object of {allocation.size} bytes "
                    f"allocated by {place} is not freed",
                    place,
                )
