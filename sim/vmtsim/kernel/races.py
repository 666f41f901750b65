"""Data races: two accesses to the same bytes, one of them a write, with no order between them.

Source: C11 5.1.2.4; Flanagan and Freund, "FastTrack: Efficient and Precise Dynamic Race Detection",
PLDI 2009. The heap and the writable data of modules are watched; accesses come from the module's
code, a kernel function, or the host.  Bytes are grouped as they are accessed: two neighbouring
bytes with separate locks are no race.

The observed orders are kept, too: two places in the code, in different tasks, of which the second
is the next one to access the same bytes, one of them a write.  That is the alias coverage of Xu and
others, "KRACE: Data Race Fuzzing for Kernel File Systems", IEEE S&P 2020: if a campaign finds no
new one, its seeds repeat each other.

An access is atomic if it is one of atomic_ops(3), atomic_load_*(9) or atomic_store_*(9) (the debug
twin identifies that code), or a locked or exclusive instruction.  Two atomic accesses are no race,
and without a memory barrier they create no order either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj.errors import KobjError

from vmtsim.kernel.api import Subject
from vmtsim.kernel.cells import Cells
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.locked import is_locked
from vmtsim.kernel.ordering import Ordering, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtgen.kobj.debuginfo import DebugInfo

    from vmtsim.kernel.cells import Cell
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.loaded import Loaded
    from vmtsim.kernel.lwp import Lwp


class Access:
    """The task that accessed some bytes, when by its own clock, and where.

    ``private``: the kernel accessed its own state, which it orders by itself.
    """

    __slots__ = (
        "atomic", "function", "held", "now", "pc", "private", "processor", "task", "write",
    )  # fmt: skip

    def __init__(self, task: Task, lwp: Lwp, pc: int, function: str, *, write: bool) -> None:
        self.task = task
        self.now = task.now
        self.pc = pc
        self.function = function
        self.write = write
        self.atomic = self.private = False
        self.processor = lwp.processor
        if lwp.held or lwp.rwlocks or lwp.kernel_locks:
            big = ("the kernel lock",) if lwp.kernel_locks else ()
            self.held = (*lwp.held, *lwp.rwlocks, *big)
        else:
            self.held = ()

    def conflicts(self, other: Access) -> bool:
        """Whether the two are a race if they have no order."""
        return not (self.atomic and other.atomic) and not (self.private and other.private)

    def before(self, task: Task) -> bool:
        """Whether this access comes before all that ``task`` does from now on."""
        return self.task is task or self.now <= task.clock.get(self.task.number, 0)


class Races(Subject):
    """Detects races in memory.  ``kernel.options.races`` enables it."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._cells = Cells()
        self.count = 0  # accesses that were checked
        self.known: frozenset[str] = frozenset()  # fields whose races are not findings,
        # and those of them that had one: whether the second access wrote, or read.
        self.used: dict[str, set[bool]] = {}
        self._reported: set[object] = set()
        # Observed orders of two accesses: "FIRST SECOND", as offsets in the module's code.
        self.orders: set[str] = set()
        self._pairs: set[tuple[int, str, int, str, bool]] = set()
        self._info: dict[str, DebugInfo | None] = {}
        self._atomic_code: dict[int, bool] = {}
        self._ranges: list[tuple[int, int]] = []
        self._order: Ordering | None = None
        self.on_shared: Callable[[int], None] | None = None  # bytes that another task has written

    def boot(self) -> None:
        """Start to watch the heap."""
        kernel = self.kernel
        if not isinstance(kernel.order, Ordering):
            return
        self._order = kernel.order
        layout = kernel.cpu.layout
        self._watch(layout.heap, layout.heap_end)
        kernel.memory.observe(self._by_kernel)
        kernel.subject(Kmem).on_free.append(self._freed)

    def loaded(self, module: Loaded) -> None:
        """Watch the writable data of a module."""
        if self._order is None:
            return
        from vmtgen.kobj.debuginfo import DebugInfo  # noqa: PLC0415 - most runs need none of it

        twin = module.module.path.with_name(module.module.path.name + ".debug")
        try:
            self._info[module.name] = DebugInfo.read(twin)
        except (OSError, ValueError, KobjError):
            self._info[module.name] = None
        for start, end in module.writable():
            self._watch(start, end)

    def _watch(self, start: int, end: int) -> None:
        self._ranges.append((start, end))
        self.kernel.cpu.watch_accesses(self._by_code, start, end)

    # -- accesses ------------------------------------------------------------------------------

    def _by_code(self, write: bool, address: int, size: int, host: bool) -> None:
        """Handle an access of the module's code, or of the host."""
        lwp, order = self.kernel.scheduler.current, self._order
        if lwp is None or order is None:
            return
        self.count += 1
        task = lwp.task
        cell = self._cells.at.get(address)
        if cell is not None and cell.size == size:
            last = cell.write
            if last is not None and last.task is task and last.now == task.now:
                return  # it has written them since the last release
            if not write:
                last = cell.read
                if last is not None and last.task is task and last.now == task.now:
                    return
        pc = self.kernel.cpu.instruction()
        access = Access(order.task(lwp), lwp, pc, "the host, in" if host else "", write=write)
        access.atomic = not host and self._is_atomic(pc)
        self._look(access, address, size)

    def _by_kernel(self, write: bool, address: int, size: int) -> None:
        """Handle an access of a kernel function."""
        for start, end in self._ranges:
            if start <= address < end:
                break
        else:
            return
        lwp, order = self.kernel.scheduler.current, self._order
        if lwp is None or order is None or not size:
            return
        self.count += 1
        frame = lwp.frames[-1]
        entry = self.kernel.dispatch.serving() if frame.in_guest else frame.entry
        name = "the kernel" if entry is None else entry.name
        access = Access(order.task(lwp), lwp, -self.kernel.call_site, name, write=write)
        access.atomic = name.startswith("atomic_")
        data = self.kernel.dispatch.accesses_data
        access.private = name not in data if entry is not None else lwp.kind != "user"
        self._look(access, address, size)

    def _look(self, access: Access, address: int, size: int) -> None:
        order = self._order
        assert order is not None
        if access.atomic and access.write:
            order.stored(access.task, address, both=bool(access.function))
        elif access.atomic:
            depends = size == self.kernel.memory.pointer_size
            order.loaded(access.task, address, depends=depends)
        cell = self._cells.at.get(address)
        if cell is not None and cell.size == size:
            self._check(cell, access)
            return
        for cell in self._cells.fit(address, size):
            self._check(cell, access)

    def _check(self, cell: Cell, access: Access) -> None:
        task = access.task
        last = cell.write
        if last is not None and last.task is not task:
            self._came_next(last, access)
            if self.on_shared is not None:
                self.on_shared(access.pc)
        if last is not None and not last.before(task) and last.conflicts(access):
            self._race(cell, last, access)
        if access.write:
            reads = cell.reads.values() if cell.reads is not None else (cell.read,)
            for read in reads:
                if read is None or read.task is task:
                    continue
                self._came_next(read, access)
                if not read.before(task) and read.conflicts(access):
                    self._race(cell, read, access)
            cell.write, cell.read, cell.reads = access, None, None
        elif cell.reads is not None:
            cell.reads[task] = access
        elif cell.read is None or cell.read.before(task):
            cell.read = access
        else:
            cell.reads = {cell.read.task: cell.read, task: access}

    def _came_next(self, first: Access, second: Access) -> None:
        """Record that two tasks accessed the same bytes in this order, one of them with a write."""
        pair = (first.pc, first.function, second.pc, second.function, second.write)
        if pair not in self._pairs:
            self._pairs.add(pair)
            self.orders.add(f"{self._site(first)} {self._site(second)}")

    def _site(self, access: Access) -> str:
        """Return the place of an access, independent of the module's address."""
        at = abs(access.pc)
        module = self.kernel.loaded_at(at)
        where = "" if module is None else f"{module.name}+{at - module.text_base:x}"
        who = access.function.replace(" ", "-")
        return f"{who or 'code'}@{where}:{'w' if access.write else 'r'}"

    def _freed(self, start: int, end: int, _function: str) -> None:
        """Freed memory counts as written as a whole; then its records are dropped."""
        self._by_kernel(True, start, end - start)
        self._cells.forget(start, end)
        if self._order is not None:
            self._order.forget(range(start, end))

    # -- which instruction is atomic -------------------------------------------------------------

    def _is_atomic(self, pc: int) -> bool:
        known = self._atomic_code.get(pc)
        if known is None:
            known = self._atomic_code[pc] = is_locked(self.kernel.cpu, pc) or self._marked(pc)
        return known

    def _marked(self, pc: int) -> bool:
        found = self.kernel.loaded_at(pc)
        info = self._info.get(found.name) if found is not None else None
        return found is not None and info is not None and info.is_atomic(pc - found.text_base)

    # -- the report ----------------------------------------------------------------------------

    def _race(self, cell: Cell, first: Access, second: Access) -> None:
        kernel = self.kernel
        if self._is_kernels_own(cell.start, first, second):
            return
        name = self._field(cell.start)
        if name in self.known:
            self.used.setdefault(name, set()).add(second.write)
            return
        places = frozenset({first.pc, second.pc})
        key = (places, name)
        if key in self._reported:
            return
        self._reported.add(key)
        what = f"{name}, " if name else ""
        bytes_ = f"{cell.size} bytes" if cell.size > 1 else "1 byte"
        kernel.violation(
            "data-race",
            f"{what}{bytes_} at {kernel.describe(cell.start)}: {self._described(second)}, and "
            f"{self._described(first)}: they have no order",
            self._place(second),
        )

    def _is_kernels_own(self, address: int, first: Access, second: Access) -> bool:
        """Whether two functions of the kernel access an object of the kernel.

        The module does not decide their order: dostatvfs() reads and writes the statistics of a
        mount without a lock (NetBSD sys/kern/vfs_syscalls.c 1.570).
        """
        if first.pc > 0 or second.pc > 0:
            return False
        allocation = self.kernel.subject(Kmem).at(address)
        return allocation is not None and allocation.owner == "kernel"

    def _place(self, access: Access) -> Place:
        if access.pc <= 0:
            return self.kernel.location(-access.pc)
        return self.kernel.location(access.pc, call=False)

    def _described(self, access: Access) -> str:
        kernel = self.kernel
        verb = "writes" if access.write else "reads"
        if access.pc > 0:
            who = f"{access.function} {self._place(access)}".strip()
        elif access.pc:
            who = f"{access.function} called by {self._place(access)}"
        else:
            who = access.function
        how = " atomically" if access.atomic else ""
        locks = ", ".join(
            each if isinstance(each, str) else f"the lock at {kernel.describe(each.address)}"
            for each in access.held
        )
        return (
            f"{who} {verb} it{how} in {access.task.name} on "
            f"{access.processor.name} with {locks or 'no lock'} held"
        )

    def _field(self, address: int) -> str:
        """Return struct.field or the variable's name, if the debug twin has it."""
        kernel = self.kernel
        module = kernel.loaded_at(address)
        if module is not None:
            name, offset = module.symbol(address)
            info = self._info.get(module.name)
            struct = info.variables.get(name, "") if info is not None else ""
            path = info.field_at(struct, offset) if info is not None and struct else ""
            return f"{name}.{path}" if path else name
        allocation = kernel.subject(Kmem).at(address)
        if allocation is None:
            return ""
        offset = address - allocation.address
        names: list[str] = []
        for info in self._info.values():
            for struct in info.of_size(allocation.size) if info is not None else ():
                path = info.field_at(struct, offset) if info is not None else ""
                if path:
                    names.append(f"{struct}.{path}")
        return names[0] if len(names) == 1 else ""
