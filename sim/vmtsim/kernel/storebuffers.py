"""Store buffers: other processors see a processor's stores later, the processor itself at once.

With ``--store-buffers`` each processor buffers its latest stores to the heap and to the writable
data of modules.  At each switch of the processor the seed decides which of them reach memory:

* x86: in the order in which they were made (Sewell and others, "x86-TSO: A Rigorous and Usable
  Programmer's Model for x86 Multiprocessors", CACM 53(7), 2010);
* aarch64: in any order, but of two to the same bytes, and of two with a releasing barrier between
  them (Arm Architecture Reference Manual, DDI 0487, B2.3, "Definition of the Arm memory model").

One processor runs at a time.  So memory shows that processor's view: when it stops, the bytes below
its buffered stores are restored; when it continues, its stores are written over memory again.
Loads are in order on all machines: the effects of a missing acquiring barrier are not simulated.

A buffer is flushed by: an atomic operation of atomic_ops(3) or a locked or exclusive instruction,
membar_sync(9), everything that makes an order in the kernel (locks, queues, wakeups, cross calls:
see vmtsim.kernel.ordering), a trap to the hypervisor, and a thread that sleeps, ends or moves to
another processor.  On real machines some of these flush less: no behaviour is simulated that they
forbid.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vmtsim.cpu import CpuFault
from vmtsim.kernel.api import Subject
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.locked import is_locked

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.loaded import Loaded
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.processors import Processor

# Stores that one processor can buffer: 56 in "Skylake" (Intel 64 and IA-32 Architectures
# Optimization Reference Manual, 248966, table of buffers).
_ROOM = 56
_FENCES = ("membar_release", "membar_producer", "membar_exit")
_ORDERS = ("gives", "takes", "starts", "gone", "wakes", "crosses", "excludes", "lowers")


class Store:
    """One store.  ``group`` counts the releasing barriers before it."""

    __slots__ = ("address", "data", "group", "size")

    def __init__(self, address: int, size: int, group: int) -> None:
        self.address = address
        self.size = size
        self.group = group
        self.data = b""  # known after the instruction

    def overlaps(self, other: Store) -> bool:
        """Whether they have bytes in common."""
        return self.address < other.address + other.size and (
            other.address < self.address + self.size
        )


class Buffer:
    """The stores of a processor, oldest first, and, while it runs, the bytes below them."""

    def __init__(self) -> None:
        self.stores: list[Store] = []
        self.below: dict[int, int] = {}
        self.group = 0


class StoreBuffers(Subject):
    """The buffers of all processors.  ``kernel.options.store_buffers`` enables them."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.late = 0  # stores that stayed buffered over a switch of the processor
        self._on = False
        self._in_order = kernel.cpu.machine != "aarch64"
        self._rng = kernel.rng.fork("store buffers")
        self._buffers: dict[Processor, Buffer] = {}
        self._inside: Processor | None = None
        self._was: dict[Lwp, Processor] = {}
        self._locked: dict[int, bool] = {}

    def boot(self) -> None:
        """Start to buffer stores to the heap."""
        kernel = self.kernel
        if not kernel.options.store_buffers:
            return
        self._on = True
        self._buffers = {each: Buffer() for each in kernel.processors}
        kernel.scheduler.buffers = self
        layout = kernel.cpu.layout
        kernel.cpu.watch_accesses(self._by_code, layout.heap, layout.heap_end)
        kernel.memory.observe(self._by_kernel)
        kernel.subject(Kmem).on_free.append(self._freed)
        self._wrap()

    def loaded(self, module: Loaded) -> None:
        """Buffer stores to the writable data of a module."""
        if self._on:
            for start, end in module.writable():
                self.kernel.cpu.watch_accesses(self._by_code, start, end)

    def _wrap(self) -> None:
        """Flush the buffer before anything that makes an order."""
        kernel = self.kernel
        dispatch, order = kernel.dispatch, kernel.order
        for name in dispatch.modelled():
            if name.startswith("atomic_") or name == "membar_sync":
                dispatch.wrap(name, self._emptied)
            elif name in _FENCES:
                dispatch.wrap(name, self._fenced)
        for name in _ORDERS:
            # Replaced in this object, so that nothing costs more without buffers.
            setattr(order, name, self._emptied(getattr(order, name)))
        trap = kernel.cpu.on_trap

        def trapped(pc: int) -> None:
            self.empty()
            trap(pc)

        kernel.cpu.on_trap = trapped

    def _emptied(self, what: Callable[..., Any]) -> Callable[..., Any]:
        def after(*arguments: Any, **named: Any) -> Any:
            self.empty()
            return what(*arguments, **named)

        return after

    def _fenced(self, what: Callable[..., Any]) -> Callable[..., Any]:
        def after(*arguments: Any) -> Any:
            if self._inside is not None:
                self._buffers[self._inside].group += 1
            return what(*arguments)

        return after

    # -- stores of the processor that runs -------------------------------------------------------

    def _by_code(self, write: bool, address: int, size: int, host: bool) -> None:
        """Add a store to the buffer, before the instruction makes it."""
        if not write or self._inside is None:
            return
        if host:
            self.empty()
            return
        pc = self.kernel.cpu.instruction()
        locked = self._locked.get(pc)
        if locked is None:
            locked = self._locked[pc] = is_locked(self.kernel.cpu, pc)
        if locked:
            self.empty()
            return
        buffer = self._buffers[self._inside]
        self._know_last(buffer)
        if len(buffer.stores) == _ROOM:
            self._reach_below(buffer, 1)
        for at, byte in enumerate(self.kernel.cpu.read(address, size), address):
            buffer.below.setdefault(at, byte)
        buffer.stores.append(Store(address, size, buffer.group))

    def _know_last(self, buffer: Buffer) -> None:
        """Read the result of the last store: its instruction has completed by now."""
        if buffer.stores and not buffer.stores[-1].data:
            last = buffer.stores[-1]
            last.data = self.kernel.cpu.read(last.address, last.size)

    def _by_kernel(self, write: bool, address: int, size: int) -> None:
        """Order the writes of a kernel function after all stores of this processor."""
        if write and self._inside is not None:
            below = self._buffers[self._inside].below
            if any(address <= at < address + size for at in below):
                self.empty()

    def _reach_below(self, buffer: Buffer, count: int) -> None:
        """Let the oldest stores of the running processor reach memory."""
        for store in buffer.stores[:count]:
            for at, byte in enumerate(store.data, store.address):
                buffer.below[at] = byte
        del buffer.stores[:count]
        kept = {
            at for each in buffer.stores for at in range(each.address, each.address + each.size)
        }
        buffer.below = {at: byte for at, byte in buffer.below.items() if at in kept}

    def empty(self) -> None:
        """Let all stores of the running processor reach memory, which already shows them."""
        if self._inside is not None:
            buffer = self._buffers[self._inside]
            if buffer.stores:
                buffer.stores.clear()
                buffer.below.clear()

    def _freed(self, start: int, end: int, _function: str) -> None:
        """Forget stores to freed memory; a late one is a separate race."""
        for buffer in self._buffers.values():
            buffer.stores = [
                each
                for each in buffer.stores
                if each.address >= end or each.address + each.size <= start
            ]
            for at in [each for each in buffer.below if start <= each < end]:
                del buffer.below[at]

    # -- switching processors --------------------------------------------------------------------

    def enters(self, lwp: Lwp) -> None:
        """Show memory as the processor of this thread sees it; some stores of all reach it."""
        self._leave()
        was = self._was.get(lwp)
        if was is not None and was is not lwp.processor:
            self._reach(was, len(self._buffers[was].stores))
        self._was[lwp] = lwp.processor
        for processor, buffer in self._buffers.items():
            if buffer.stores:
                self.late += len(buffer.stores)
                self._draw(processor)
        self._inside = lwp.processor
        buffer = self._buffers[lwp.processor]
        for store in buffer.stores:
            for at, byte in enumerate(self._read(store), store.address):
                buffer.below.setdefault(at, byte)
        for store in buffer.stores:
            self._write(store.address, store.data)

    def flush_for(self, lwp: Lwp) -> None:
        """Flush the buffer of the processor of a thread that sleeps or has exited."""
        self.empty()
        if lwp.state == "gone":
            self._was.pop(lwp, None)

    def _leave(self) -> None:
        """Restore the bytes below the stores of the processor that ran last."""
        if self._inside is None:
            return
        buffer, self._inside = self._buffers[self._inside], None
        self._know_last(buffer)
        for store in buffer.stores:
            below = bytes(buffer.below[store.address + at] for at in range(store.size))
            self._write(store.address, below)
        buffer.below.clear()

    def _draw(self, processor: Processor) -> None:
        """Let the seed decide which stores of a stopped processor reach memory now."""
        stores = self._buffers[processor].stores
        if self._in_order:
            self._reach(processor, self._rng.below(len(stores) + 1))
            return
        kept: list[Store] = []
        for store in stores:
            behind = any(each.group < store.group or each.overlaps(store) for each in kept)
            if behind or self._rng.below(2):
                kept.append(store)
            else:
                self._write(store.address, store.data)
        self._buffers[processor].stores = kept

    def _reach(self, processor: Processor, count: int) -> None:
        """Let the oldest stores of a stopped processor reach memory."""
        stores = self._buffers[processor].stores
        for store in stores[:count]:
            self._write(store.address, store.data)
        del stores[:count]

    def _read(self, store: Store) -> bytes:
        try:
            return self.kernel.cpu.read(store.address, store.size)
        except CpuFault:
            return bytes(store.size)

    def _write(self, address: int, data: bytes) -> None:
        with suppress(CpuFault):  # the memory of an unloaded module
            self.kernel.cpu.write(address, data)
