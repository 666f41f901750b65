"""kqueue(2) of devices: knotes, the filterops of drivers, and kevent(2).

A knote is memory of the kernel, and a klist is linked through its knotes, as in sys/sys/event.h:
drivers read their members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed

from vmtsim.kernel.api import Block, Call, DataSymbol, Subject, kernel_function
from vmtsim.kernel.callback import same_locks
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

FILTERS = {"read": 0, "write": 1}  # EVFILT_*
ADD, DELETE, ENABLE, DISABLE, ONESHOT, CLEAR, DISPATCH = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80
EOF = 0x8000
LOWAT = 1  # NOTE_LOWAT
_ISFD, _MPSAFE = 1, 2  # FILTEROP_*
_KLIST = 8  # of struct selinfo: after sel_collision, which is 64 bits wide
_SELTRUE = "seltrue_filtops"
# 10.99.12 is the first version seen with kevent::ext.
_EXTENDED = 1_099_001_200


class KnoteFields:
    """Offsets of struct knote by the size of a word; ``ext`` is the size of kevent::ext."""

    def __init__(self, word: int, *, extended: bool) -> None:
        self.link, self.selnext, self.kq = 0, word, 4 * word
        self.ident = self.kq + word
        self.filter, self.flags, self.fflags = (self.ident + word + 4 * n for n in range(3))
        # An int64_t is aligned to 8, but on i386 to 4.
        self.data = self.fflags + 4 + (4 if word == 8 else 0)
        self.udata = self.data + 8
        self.status = self.udata + word + (32 if extended else 0)
        self.sfflags = self.status + 4
        self.sdata = self.status + 8
        self.obj, self.fop, self.kfilter, self.hook, self.hookid = (
            self.sdata + word * (n + 1) for n in range(5)
        )
        self.size = self.hookid + word


class FilterFields:
    """Offsets of struct filterops by the size of a word."""

    def __init__(self, word: int) -> None:
        self.flags = 0
        self.attach, self.detach, self.event, self.touch = (word * (n + 1) for n in range(4))
        self.size = 5 * word


@dataclass(eq=False)
class Knote:
    """A knote of a queue, and its state (KN_* of sys/sys/event.h)."""

    object: KernelObject
    filter: int
    active: bool = False
    queued: bool = False
    disabled: bool = False
    neutral: bool = False  # klist_fini removed the driver's functions
    ending: bool = False  # KN_WILLDETACH

    @property
    def address(self) -> int:
        """The address of the struct knote."""
        return self.object.at


@dataclass(frozen=True)
class Event:
    """The result of kevent(2) for a knote."""

    filter: int
    flags: int
    fflags: int
    data: int


@dataclass(eq=False)
class Queue:
    """The kqueue of one open device."""

    knotes: list[Knote] = field(default_factory=list)
    ready: list[Knote] = field(default_factory=list)  # in the order of kq_head
    waiting: WaitQueue = field(default_factory=lambda: WaitQueue("kqueue"))


class Kqueues(Subject):
    """All knotes by their addresses."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_event.c 1.150": "*",
        "sys/kern/sys_select.c 1.68": "selrecord_knote selremove_knote",
    }
    # The lock of a list's owner guards the list.
    SERIALIZED: ClassVar[Mapping[str, str]] = {"kq_lock": "knote knote_set_eof knote_clear_eof"}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        word = kernel.memory.pointer_size
        extended = kernel.options.version >= _EXTENDED
        self.fields, self._filterops = KnoteFields(word, extended=extended), FilterFields(word)
        self._knotes: dict[int, tuple[Knote, Queue]] = {}
        self._lists: dict[int, int] = {}  # knote -> the klist that it is on

    def data(self) -> Iterator[DataSymbol]:
        """Yield the filter that is always ready; its functions are not in guest memory."""
        yield DataSymbol(_SELTRUE, bytes(self._filterops.size))

    # -- lists of knotes -----------------------------------------------------------------------

    def _on(self, head: int) -> list[int]:
        """Return the knotes of a klist."""
        memory, found = self.kernel.memory, []
        at = memory.pointer(head)
        while at:
            found.append(at)
            at = memory.pointer(at + self.fields.selnext)
        return found

    @kernel_function("void klist_init(void *list)")
    def klist_init(self, head: int) -> None:
        self.kernel.memory.put_pointer(head, 0)

    @kernel_function("void klist_fini(void *list)")
    def klist_fini(self, head: int) -> None:
        """Knotes that are on the list stay, and no longer call the driver (nop_filtops)."""
        for at in self._on(head):
            found = self._knotes.get(at)
            self._lists.pop(at, None)
            if found is not None:
                found[0].neutral = True

    @kernel_function("void klist_insert(void *list, void *kn)")
    def klist_insert(self, head: int, knote: int) -> None:
        memory, fields = self.kernel.memory, self.fields
        memory.put_pointer(knote + fields.selnext, memory.pointer(head))
        memory.put_pointer(head, knote)
        self._lists[knote] = head

    @kernel_function("bool klist_remove(void *list, void *kn)")
    def klist_remove(self, head: int, knote: int) -> bool:
        """Whether the list is empty now."""
        kernel, memory, fields = self.kernel, self.kernel.memory, self.fields
        before = 0
        for at in self._on(head):
            if at == knote:
                break
            before = at
        else:
            kernel.panic(
                "knote-not-on-list",
                f"klist_remove by {kernel.where()}: {kernel.describe(knote)} is not on the list at "
                f"{kernel.describe(head)}",
            )
        after = memory.pointer(knote + fields.selnext)
        memory.put_pointer(before + fields.selnext if before else head, after)
        self._lists.pop(knote, None)
        return not memory.pointer(head)

    @kernel_function("void selrecord_knote(void *sip, void *kn)")
    def selrecord_knote(self, selinfo: int, knote: int) -> None:
        self.klist_insert(selinfo + _KLIST, knote)

    @kernel_function("bool selremove_knote(void *sip, void *kn)")
    def selremove_knote(self, selinfo: int, knote: int) -> bool:
        return self.klist_remove(selinfo + _KLIST, knote)

    @kernel_function("void knote(void *list, long hint)")
    def knote(self, head: int, hint: int) -> Model | None:
        """Call the filter of each knote of a list; returns None if the list is empty."""
        return self._note(head, hint) if self.kernel.memory.pointer(head) else None

    def _note(self, head: int, hint: int) -> Model:
        for at in self._on(head):
            found = self._knotes.get(at)
            if found is not None and (yield from self._event(found[0], hint)):
                self._activate(*found)

    @kernel_function("void knote_set_eof(void *kn, uint32_t flags)")
    def knote_set_eof(self, knote: int, flags: int) -> None:
        memory, at = self.kernel.memory, knote + self.fields.flags
        memory.put_u32(at, memory.u32(at) | EOF | flags)

    @kernel_function("void knote_clear_eof(void *kn)")
    def knote_clear_eof(self, knote: int) -> None:
        memory, at = self.kernel.memory, knote + self.fields.flags
        memory.put_u32(at, memory.u32(at) & ~EOF)

    @kernel_function("int filt_seltrue(void *kn, long hint)")
    def filt_seltrue(self, knote: int, _hint: int) -> int:
        self.kernel.memory.put_u64(knote + self.fields.data, 0)
        return 1

    @kernel_function("int seltrue_kqfilter(dev_t dev, void *kn)")
    def seltrue_kqfilter(self, _device: int, knote: int) -> int:
        memory, fields = self.kernel.memory, self.fields
        if memory.u32(knote + fields.filter) not in FILTERS.values():
            return Errno.EINVAL
        memory.put_pointer(knote + fields.fop, self.kernel.symbols[_SELTRUE])
        return 0

    # -- the driver's filter -------------------------------------------------------------------

    def _filter(self, knote: Knote, member: str, *arguments: int) -> Model:
        """Call a function of the knote's filterops, with the kernel lock unless it is MP-safe."""
        kernel, memory = self.kernel, self.kernel.memory
        fop = memory.pointer(knote.address + self.fields.fop)
        function = memory.pointer(fop + getattr(self._filterops, member))
        if not function:
            kernel.panic(
                "knote-filter",
                f"the filterops at {kernel.describe(fop)} have no f_{member}",
            )
        big, held = kernel.subject(KernelLock), list(kernel.current.held)
        mpsafe = memory.u32(fop + self._filterops.flags) & _MPSAFE
        if not mpsafe:
            waiting = big.lock(1)
            if waiting is not None:
                yield from waiting
        result = signed((yield Call(function, (knote.address, *arguments))), 32)
        who = f"f_{member} {kernel.location(function)} of a knote"
        same_locks(kernel, held, who, "callback-with-mutex")
        if not mpsafe:
            big.unlock(1)
        return result

    def _event(self, knote: Knote, hint: int) -> Model:
        """Return the result of a filter: whether there is an event (filter_event)."""
        if knote.neutral:
            return 0  # filt_nopevent
        fop = self.kernel.memory.pointer(knote.address + self.fields.fop)
        if fop == self.kernel.symbols[_SELTRUE]:
            return self.filt_seltrue(knote.address, hint)
        word = (1 << 8 * self.kernel.memory.pointer_size) - 1
        return (yield from self._filter(knote, "event", hint & word))

    def _activate(self, knote: Knote, queue: Queue) -> None:
        """Put it on the queue (knote_activate)."""
        if knote.ending:
            return
        knote.active = True
        if not knote.queued and not knote.disabled:
            knote.queued = True
            queue.ready.append(knote)
            self.kernel.scheduler.wake_all(queue.waiting)

    # -- kevent(2) -------------------------------------------------------------------------------

    def register(
        self,
        queue: Queue,
        change: Event,
        attach: Callable[[int], Model],
        *,
        number: int = 0,
        file: int = 0,
    ) -> Model:
        """Add, change or delete a knote (kqueue_register): returns an errno.

        ``attach`` is d_kqfilter or fo_kqfilter with the address of the knote; ``number`` is the
        descriptor, ``file`` the file_t.
        """
        kernel, memory, fields = self.kernel, self.kernel.memory, self.fields
        knote = next((each for each in queue.knotes if each.filter == change.filter), None)
        if knote is None:
            if not change.flags & ADD:
                return Errno.ENOENT
            made = KernelObject(kernel, fields.size, "knote of an open device")
            knote = Knote(made, change.filter)
            at = made.at
            memory.put_pointer(at + fields.ident, number)
            memory.put_u32(at + fields.filter, change.filter)
            memory.put_u32(at + fields.flags, change.flags)
            memory.put_pointer(at + fields.obj, file)
            self._store(knote, change)
            queue.knotes.append(knote)
            self._knotes[at] = knote, queue
            error = yield from attach(at)
            if error:
                self._forget(knote, queue)
                return error
            self._check(knote)
        elif change.flags & DELETE:
            yield from self._detach(knote, queue)
            return 0
        else:
            self._store(knote, change)
        if (yield from self._event(knote, 0)):
            self._activate(knote, queue)
        if change.flags & DISABLE:
            knote.disabled = True
        if change.flags & ENABLE:
            knote.disabled = False
            if knote.active:
                self._activate(knote, queue)
        return 0

    def _store(self, knote: Knote, change: Event) -> None:
        memory, at, fields = self.kernel.memory, knote.address, self.fields
        memory.put_u32(at + fields.sfflags, change.fflags)
        memory.put_word(at + fields.sdata, change.data)

    def _check(self, knote: Knote) -> None:
        """Panic for a knote that the driver accepted without a filter that the kernel can use."""
        kernel, memory = self.kernel, self.kernel.memory
        fop = memory.pointer(knote.address + self.fields.fop)
        if fop == kernel.symbols[_SELTRUE]:
            return
        if not fop:
            kernel.panic(
                "knote-filter",
                "d_kqfilter or fo_kqfilter accepted a knote and did not set its kn_fop: "
                "the kernel's own has no f_event",
            )
        for member in ("event", "detach"):
            if not memory.pointer(fop + getattr(self._filterops, member)):
                kernel.panic(
                    "knote-filter", f"the filterops at {kernel.describe(fop)} have no f_{member}"
                )
        if not memory.u32(fop + self._filterops.flags) & _ISFD:
            kernel.panic(
                "knote-not-of-file",
                f"the filterops at {kernel.describe(fop)} lack FILTEROP_ISFD: the kernel looks for "
                "the knote among those of no file",
            )

    def _forget(self, knote: Knote, queue: Queue) -> None:
        """Free a knote (knote_detach)."""
        kernel, at = self.kernel, knote.address
        knote.ending = True
        if knote in queue.ready:
            queue.ready.remove(knote)
        queue.knotes.remove(knote)
        del self._knotes[at]
        head = self._lists.pop(at, None)
        if head is not None:
            kernel.violation(
                "knote-on-list",
                f"a knote is freed, and is still on the list at {kernel.describe(head)}: the next "
                "event accesses freed memory",
            )
        knote.object.free("knote_detach")

    def _detach(self, knote: Knote, queue: Queue) -> Model:
        knote.ending = True
        fop = self.kernel.memory.pointer(knote.address + self.fields.fop)
        if not knote.neutral and fop != self.kernel.symbols[_SELTRUE]:
            yield from self._filter(knote, "detach")
        self._forget(knote, queue)

    def scan(self, queue: Queue, deadline: int) -> Model:
        """Return the events of a queue, at the latest at ``deadline`` in ns; -EINTR on a signal."""
        kernel, memory, fields = self.kernel, self.kernel.memory, self.fields
        found: list[Event] = []
        while not found:
            while not queue.ready:
                if kernel.clock.now >= deadline:
                    return found
                woken = yield Block(queue.waiting, deadline=deadline, what="kqueue", signal=True)
                if woken is None:
                    return -Errno.EINTR
            ready, queue.ready = queue.ready, []
            for knote in ready:
                knote.queued = False
                at = knote.address
                flags = memory.u32(at + fields.flags)
                if knote.disabled:
                    continue
                if not flags & ONESHOT and not (yield from self._event(knote, 0)):
                    knote.active = knote.queued
                    continue
                flags = memory.u32(at + fields.flags)  # f_event may set EV_EOF
                found.append(
                    Event(
                        knote.filter, flags, memory.u32(at + fields.fflags),
                        memory.s64(at + fields.data),
                    )
                )  # fmt: skip
                if flags & ONESHOT:
                    yield from self._detach(knote, queue)
                elif flags & CLEAR:
                    memory.put_u64(at + fields.data, 0)
                    memory.put_u32(at + fields.fflags, 0)
                    knote.active = knote.queued
                elif flags & DISPATCH:
                    knote.disabled, knote.active = True, False
                elif not knote.queued:
                    knote.queued = True
                    queue.ready.append(knote)
        return found

    def close(self, queue: Queue) -> Model:
        """Detach all knotes of a descriptor that is closed (knote_fdclose)."""
        for knote in list(queue.knotes):
            if not knote.ending:
                yield from self._detach(knote, queue)

    def check_unload(self, module: str) -> None:
        """Report knotes whose functions were unloaded with their module."""
        super().check_unload(module)
        kernel = self.kernel
        for knote, _queue in self._knotes.values():
            fop = kernel.memory.pointer(knote.address + self.fields.fop)
            if knote.neutral or fop == kernel.symbols[_SELTRUE] or kernel.loaded_at(fop):
                continue
            knote.neutral = True
            kernel.violation(
                "knote-of-module",
                f"module {module} is unloaded, but a process waits for events of its device, and "
                "the kernel calls its filter at the next one, or when the descriptor is closed",
            )
