"""atomic_ops(3) and membar_ops(3) (NetBSD common/lib/libc/atomic), as a table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Prototype, Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel

# C type by the end of a function's name; add() takes the signed ones.
_TYPES = {
    "32": "uint32_t",
    "64": "uint64_t",
    "uint": "unsigned int",
    "ulong": "unsigned long",
    "int": "int",
    "long": "long",
    "ptr": "void *",
}
_BITWISE = ("32", "64", "uint", "ulong")
_COUNTING = ("32", "64", "uint", "ulong", "ptr")
_ADDING = ("32", "64", "int", "long", "ptr")
# operation -> (types, whether it has an operand, new value from old value and operand)
_OPERATIONS: dict[str, tuple[tuple[str, ...], bool, Callable[[int, int], int]]] = {
    "add": (_ADDING, True, lambda old, value: old + value),
    "and": (_BITWISE, True, lambda old, value: old & value),
    "or": (_BITWISE, True, lambda old, value: old | value),
    "inc": (_COUNTING, False, lambda old, _value: old + 1),
    "dec": (_COUNTING, False, lambda old, _value: old - 1),
}
# A 32-bit processor has no 64-bit operations except this one.
_ON_32_BITS = {"atomic_cas_64"}
# common/lib/libc/arch/x86_64/atomic/atomic.S has no alias of this name.
_NOT_ON_X86 = {"atomic_or_64"}

_BARRIERS = ("membar_acquire", "membar_release", "membar_sync")


class Atomics(Subject):
    """Operations that no other thread can see partially done: a model runs without a switch."""

    SOURCES: ClassVar[Mapping[str, str]] = {"common/lib/libc/arch/x86_64/atomic/atomic.S 1.17": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        for prototype, _machines, method in self.models():
            if method in _BARRIERS:
                continue
            operation, _, rest = prototype.name.removeprefix("atomic_").partition("_")
            width = rest.removesuffix("_nv").removesuffix("_ni")
            # The methods that the table names.
            setattr(
                self,
                method,
                partial(
                    getattr(self, f"_{operation}")
                    if operation in {"swap", "cas"}
                    else self._change,
                    prototype.name,
                    width,
                ),
            )

    @classmethod
    def _table(cls) -> Iterator[tuple[Prototype, frozenset[str] | None, str]]:
        for operation, (types, operand, _function) in _OPERATIONS.items():
            for width in types:
                kind = _TYPES[width]
                pointer = "void" if width == "ptr" else kind
                value = f", {'ssize_t' if width == 'ptr' else kind} value" if operand else ""
                where = f"(volatile {pointer} *p{value})"
                yield cls._entry(f"void atomic_{operation}_{width}{where}")
                yield cls._entry(f"{kind} atomic_{operation}_{width}_nv{where}")
        for width in _COUNTING:
            kind = _TYPES[width]
            pointer = "void" if width == "ptr" else kind
            yield cls._entry(f"{kind} atomic_swap_{width}(volatile {pointer} *p, {kind} value)")
            for end in ("", "_ni"):
                yield cls._entry(
                    f"{kind} atomic_cas_{width}{end}(volatile {pointer} *p, {kind} old, {kind} new)"
                )

    @staticmethod
    def _entry(text: str) -> tuple[Prototype, frozenset[str] | None, str]:
        prototype = Prototype(text)
        name = prototype.name
        wide = name.removesuffix("_nv").removesuffix("_ni").endswith("_64")
        machines = None
        if name in _NOT_ON_X86:
            machines = frozenset({"aarch64"})
        elif wide and name not in _ON_32_BITS:
            machines = frozenset({"amd64", "aarch64"})
        return prototype, machines, f"do_{name}"

    @classmethod
    def functions(cls) -> Iterator[tuple[Prototype, frozenset[str] | None, str]]:
        """Yield the table, and the memory barriers."""
        yield from cls._table()
        for name in _BARRIERS:
            for prototype, machines in getattr(cls, name).kernel_functions:
                yield prototype, machines, name

    # -- the operations ----------------------------------------------------------------------

    def _size(self, width: str) -> int:
        if width in {"32", "uint", "int"}:
            return 4
        return 8 if width == "64" else self.kernel.memory.pointer_size

    def _load(self, name: str, address: int, size: int) -> int:
        kernel = self.kernel
        if address % size and (kernel.cpu.machine != "i386" or size == 4):
            kernel.panic(
                "atomic-alignment",
                f"{name} by {kernel.where()}: {kernel.describe(address)} is not a multiple of "
                f"{size} bytes",
            )
        return int.from_bytes(kernel.memory.read(address, size), "little")

    def _store(self, address: int, size: int, value: int) -> int:
        value &= (1 << (8 * size)) - 1
        self.kernel.memory.write(address, value.to_bytes(size, "little"))
        return value

    def _change(self, name: str, width: str, address: int, operand: int = 0) -> int | None:
        size = self._size(width)
        function = _OPERATIONS[name.split("_")[1]][2]
        new = self._store(address, size, function(self._load(name, address, size), operand))
        return new if name.endswith("_nv") else None

    def _swap(self, name: str, width: str, address: int, value: int) -> int:
        size = self._size(width)
        old = self._load(name, address, size)
        self._store(address, size, value)
        return old

    def _cas(self, name: str, width: str, address: int, expected: int, new: int) -> int:
        size = self._size(width)
        old = self._load(name, address, size)
        if old == expected & ((1 << (8 * size)) - 1):
            self._store(address, size, new)
        return old

    @kernel_function("void membar_acquire(void)")
    @kernel_function("void membar_consumer(void)")
    @kernel_function("void membar_enter(void)")
    def membar_acquire(self) -> None:
        """Order accesses only: a store is visible at once in any case."""
        self.kernel.order.acquires(self.kernel.current)

    @kernel_function("void membar_release(void)")
    @kernel_function("void membar_producer(void)")
    @kernel_function("void membar_exit(void)")
    def membar_release(self) -> None:
        self.kernel.order.releases(self.kernel.current)

    @kernel_function("void membar_sync(void)")
    def membar_sync(self) -> None:
        self.membar_acquire()
        self.membar_release()
