"""From a stub's number to the model of the function, and from names to addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from vmtgen.kobj.exported import exported_names

from vmtsim.cpu import STUB_SIZE
from vmtsim.cpu.interface import READ, WRITE
from vmtsim.kernel.errors import Unmodelled
from vmtsim.kernel.facts import Kind, Owner
from vmtsim.kernel.marshal import Reader, make_writer
from vmtsim.kernel.memory import PAGE, Region
from vmtsim.kernel.ordering import serialized
from vmtsim.kernel.subjects import load_subjects, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmtsim.kernel.api import DataSymbol, Prototype, Subject
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

# A thread's kernel stack in whole pages, and the part of them that is not stack: amd64 has
# UPAGES_STACK pages between its pcb and a red zone (sys/arch/amd64/include/param.h,
# x86/x86/vm_machdep.c), i386 UPAGES 3 with DIAGNOSTIC without struct pcb, aarch64 USPACE
# 32768 without struct pcb.
_STACKS = {"amd64": (12288, 0), "i386": (12288, 1024), "aarch64": (32768, 1024)}
_CALLERS = 1536  # frames of a module's callers: a system call, sysctl(9), a soft interrupt
_FIRST_SLOT = 1  # slot 0 is the return of a call into the guest


# Symbols of the stock driver when it is linked into the kernel; absent otherwise.
BUILTIN_VMT = frozenset(
    {"vmt_ca", "vmt_cd", "vmt_common_attach", "vmt_common_detach", "vmt_probe", "vmt_tclo_rpc"}
)
# Functions of one machine only.
_X86_ONLY = ("x86_", "tsc_", "rdtsc", "wbinvd", "lapic_", "ioapic_", "i82")


class Entry:
    """A stub and its server.

    ``serve`` calls ``method`` with the arguments that ``read`` returns; ``write`` takes its result,
    and is None if the function returns void.
    """

    __slots__ = ("_method", "_reader", "address", "name", "prototype", "read", "serve", "write")

    def __init__(
        self,
        prototype: Prototype,
        address: int,
        method: Callable[..., Any],
        reader: Reader,
        write: Callable[[Any], None] | None,
    ) -> None:
        self.name = prototype.name
        self.prototype = prototype
        self.address = address
        self._reader = reader
        self.read = reader.read
        self.method = method
        self.write = write

    @property
    def method(self) -> Callable[..., Any]:
        """The model of the function."""
        return self._method

    @method.setter
    def method(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.serve = self._reader.serving(method)


class Dispatch:
    """The kernel's symbol table, as a module sees it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.cpu = kernel.cpu
        self.entries: list[Any] = [None] * _FIRST_SLOT
        self.addresses: dict[str, int] = {}
        self.by_address: dict[int, str] = {}
        self._waiting: dict[str, tuple[Prototype, Any]] = {}
        self._missing: list[str] = []
        self.accesses_data: set[str] = set()  # functions that access memory that callers point at
        self._stacks = kernel.cpu.layout.stacks
        self._stack_size, taken = _STACKS[kernel.cpu.machine]
        self._stack_taken = taken + _CALLERS
        self._free_stacks: list[int] = []
        layout = self.cpu.layout
        kernel.memory.add_region(
            Region(layout.stubs, layout.stubs + 1024 * STUB_SIZE, self._of_stub)
        )
        kernel.memory.add_region(
            Region(layout.missing, layout.missing + 1024 * PAGE, self._without_model)
        )

    # -- symbols -----------------------------------------------------------------------------

    def add_subject(self, subject: Subject) -> None:
        """Add the functions and variables of a subject."""
        machine = self.cpu.machine
        for prototype, machines, method in subject.models():
            if machines is None or machine in machines:
                served = getattr(subject, method)
                if subject.accesses_data(prototype.name):
                    self.accesses_data.add(prototype.name)
                if self.kernel.order.on:
                    for lock in subject.locks(prototype.name):
                        served = serialized(self.kernel, lock, served)
                self._waiting[prototype.name] = (prototype, served)
        for symbol in subject.data():
            self._place(symbol)

    def _place(self, symbol: DataSymbol) -> None:
        address = self.kernel.memory.place(
            symbol.content, writable=symbol.writable, align=symbol.align
        )
        self.addresses[symbol.name] = address
        self.by_address[address] = symbol.name
        end = address + len(symbol.content)
        self.kernel.memory.add_region(
            Region(
                address,
                end,
                lambda at: Owner(
                    Kind.KERNEL, _offset(f"kernel variable {symbol.name}", at - address)
                ),
            )
        )

    @property
    def names(self) -> frozenset[str]:
        """Every name that this kernel exports."""
        return exported_names() | set(self.modelled())

    def modelled(self) -> Iterable[str]:
        """Names that have a model, sorted."""
        for cls in load_subjects():
            self.kernel.subject(cls)
        return sorted({*self._waiting, *self.addresses})

    def resolve(self, name: str) -> int | None:
        """Return the address of a kernel symbol, None if the kernel has none.

        Functions get their stub at the first request.  A symbol that the real kernel has and that
        has no model gets an address where nothing is mapped: using it stops the run.
        """
        known = self.addresses.get(name)
        if known is not None:
            return known
        waiting = self._waiting.get(name) or self._demanded(name)
        if waiting is not None:
            return self._stub(*waiting)
        if name not in exported_names() or not self._exported_here(name):
            return None
        address = self.cpu.layout.missing + len(self._missing) * PAGE
        self._missing.append(name)
        self.addresses[name] = address
        return address

    def _demanded(self, name: str) -> tuple[Prototype, Any] | None:
        """Return a function of a subject that the kernel does not have yet."""
        cls = subject_of(name)
        if cls is None:
            return None
        self.kernel.subject(cls)
        return self._waiting.get(name)

    def _exported_here(self, name: str) -> bool:
        if name in BUILTIN_VMT:
            return self.kernel.builtin_vmt
        without = self.kernel.options.without
        if any(name == f"{each}attach" or name.startswith(f"{each}_") for each in without):
            return False
        return self.cpu.machine == "amd64" or not name.startswith(_X86_ONLY)

    def _stub(self, prototype: Prototype, method: Callable[..., Any]) -> int:
        slot = len(self.entries)
        address = self.cpu.layout.stubs + slot * STUB_SIZE
        memory = self.kernel.memory
        self.entries.append(
            Entry(
                prototype,
                address,
                method,
                Reader(prototype, self.cpu, memory),
                make_writer(prototype, self.cpu),
            )
        )
        self.addresses[prototype.name] = address
        self.by_address[address] = prototype.name
        return address

    def wrap(self, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Let ``around(model)`` replace a function from now on.  KeyError: it has no model."""
        if name not in self._waiting:
            self._demanded(name)
        prototype, method = self._waiting[name]
        served = around(method)
        self._waiting[name] = (prototype, served)
        for entry in self.entries:
            if entry is not None and entry.name == name:
                entry.method = served

    def function_at(self, address: int) -> Entry | None:
        """Return the kernel function whose address this is."""
        offset = address - self.cpu.layout.stubs
        slot, rest = divmod(offset, STUB_SIZE)
        if rest or not _FIRST_SLOT <= slot < len(self.entries):
            return None
        entry: Entry = self.entries[slot]
        return entry

    def _of_stub(self, address: int) -> Owner:
        slot = (address - self.cpu.layout.stubs) // STUB_SIZE
        if _FIRST_SLOT <= slot < len(self.entries):
            return Owner(Kind.KERNEL, f"kernel function {self.entries[slot].name}")
        return Owner(Kind.KERNEL, "the kernel's text")

    def _without_model(self, address: int) -> Owner:
        index = (address - self.cpu.layout.missing) // PAGE
        name = self._missing[index] if index < len(self._missing) else "?"
        return Owner(Kind.MISSING, f"kernel symbol {name} (not modelled)")

    def missing_at(self, address: int) -> str | None:
        """Return the name of the unmodelled symbol whose address this is."""
        index = (address - self.cpu.layout.missing) // PAGE
        return self._missing[index] if 0 <= index < len(self._missing) else None

    def serving(self) -> Entry | None:
        """Return the function that runs now, called by the module's code."""
        slot, _rest = divmod(self.cpu.position()[0] - self.cpu.layout.stubs, STUB_SIZE)
        if not _FIRST_SLOT <= slot < len(self.entries):
            return None
        entry: Entry = self.entries[slot]
        return entry

    # -- functions for the scheduler ------------------------------------------------------------

    def unknown(self, slot: int) -> NoReturn:
        """Reject a stub without a function."""
        raise Unmodelled(f"the guest called stub {slot}, which belongs to no kernel function")

    def give_stack(self, lwp: Lwp) -> None:
        """Map a stack with a hole below it, filled with a pattern."""
        size = self._stack_size
        if self._free_stacks:
            base = self._free_stacks.pop()
        else:
            base = self._stacks + PAGE
            self._stacks += size + 2 * PAGE
        self.cpu.map(base, size, READ | WRITE)
        self.cpu.write(base, b"\x5a" * size)
        lwp.stack_top = base + size - self._stack_taken
        name = lwp.name
        self.kernel.memory.add_region(
            Region(
                base - PAGE,
                base,
                lambda _at: Owner(Kind.GUARD, f"the page below the stack of {name}"),
            )
        )
        self.kernel.memory.add_region(
            Region(base, base + size, lambda _at: Owner(Kind.STACK, f"the stack of {name}"))
        )

    def take_stack(self, lwp: Lwp) -> None:
        """Unmap the stack of a thread that has exited."""
        if lwp.stack_top:
            base = lwp.stack_top + self._stack_taken - self._stack_size
            self.cpu.unmap(base, self._stack_size)
            self.kernel.memory.remove_region(base)
            self.kernel.memory.remove_region(base - PAGE)
            self._free_stacks.append(base)
            lwp.stack_top = 0

    def not_preserved(
        self, function: int, before: tuple[int, ...], after: tuple[int, ...]
    ) -> NoReturn:
        """Panic: a function has changed a register that the ABI requires it to preserve."""
        names = [
            f"{name} ({old:#x} became {new:#x})"
            for name, old, new in zip(self.cpu.preserved_names, before, after, strict=True)
            if old != new
        ]
        where = self.kernel.location(function)
        self.kernel.panic(
            "registers-preserved",
            f"{where} returned with {', '.join(names)}: the C calling convention "
            "requires these registers unchanged",
            where,
        )


def _offset(what: str, distance: int) -> str:
    return f"{what}+{distance:#x}" if distance else what
