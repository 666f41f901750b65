"""Converts between C's calling conventions and Python: arguments and results.

Source: System V ABI for AMD64 and i386, AAPCS64 as NetBSD/aarch64 uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.twos import signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.cpu import Cpu
    from vmtsim.kernel.api import Prototype
    from vmtsim.kernel.memory import Memory

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF


_CONVERT: dict[str, Callable[[int], Any]] = {
    "s8": lambda value: signed(value, 8),
    "u8": lambda value: value & 0xFF,
    "s16": lambda value: signed(value, 16),
    "u16": lambda value: value & 0xFFFF,
    "s32": lambda value: signed(value, 32),
    "u32": lambda value: value & _M32,
    "bool": lambda value: bool(value & 0xFF),
}


class Arguments:
    """The unnamed arguments of a call, read in order.

    ``word_size`` is the size of a long in bytes.
    """

    word_size = 8

    def integer(self) -> int:
        """Return the next argument as an int (32 bits, signed)."""
        raise NotImplementedError

    def unsigned(self) -> int:
        """Return the next argument as an unsigned int."""
        return self.integer() & _M32

    def word(self) -> int:
        """Return the next argument as an unsigned long or pointer."""
        raise NotImplementedError

    def quad(self) -> int:
        """Return the next argument as an unsigned 64-bit number."""
        raise NotImplementedError


class CallArguments(Arguments):
    """The arguments after the named ones of the call that the processor is stopped in."""

    def __init__(self, cpu: Cpu, index: int) -> None:
        self._cpu = cpu
        self._index = index
        self.word_size = cpu.pointer_size
        self._wide = cpu.pointer_size == 8

    def integer(self) -> int:
        """Return the next argument as an int."""
        self._index += 1
        return signed(self._cpu.argument(self._index - 1), 32)

    def word(self) -> int:
        """Return the next argument as an unsigned long or pointer."""
        self._index += 1
        return self._cpu.argument(self._index - 1)

    def quad(self) -> int:
        """Return the next argument as an unsigned 64-bit number."""
        if self._wide:
            return self.word()
        low = self.word()
        return low | (self.word() << 32)


class ListArguments(Arguments):
    """The arguments in a ``va_list`` at ``address`` (a pointer itself on i386)."""

    def __init__(self, memory: Memory, address: int, machine: str) -> None:
        self._memory = memory
        self._machine = machine
        if machine == "i386":
            self.word_size = 4
            self._area = address
            return
        if machine == "amd64":  # gp_offset, fp_offset, overflow_arg_area, reg_save_area
            self._offset = memory.u32(address)
            self._area = memory.u64(address + 8)
            self._saved = memory.u64(address + 16)
            self._saved_end = 48
        else:  # stack, gr_top, vr_top, gr_offs, vr_offs
            self._area = memory.u64(address)
            self._saved = memory.u64(address + 8)
            self._offset = memory.s32(address + 24)
            self._saved_end = 0

    def _next(self) -> int:
        if self._machine == "i386":
            self._area += 4
            return self._memory.u32(self._area - 4)
        if self._offset < self._saved_end:
            value = self._memory.u64(self._saved + self._offset)
            self._offset += 8
            return value
        self._area += 8
        return self._memory.u64(self._area - 8)

    def integer(self) -> int:
        """Return the next argument as an int."""
        return signed(self._next(), 32)

    def word(self) -> int:
        """Return the next argument as an unsigned long or pointer."""
        return self._next()

    def quad(self) -> int:
        """Return the next argument as an unsigned 64-bit number."""
        if self._machine == "i386":
            low = self._next()
            return low | (self._next() << 32)
        return self._next()


# Kinds that are a part of a word in a register, by the format of that part (struct).
_FORMATS: dict[str, Any] = {
    "s8": "b", "u8": "B", "s16": "h", "u16": "H", "s32": "i", "u32": "I",
    "s64": "q", "u64": "Q", "long": "q", "ulong": "Q", "ptr": "Q",
}  # fmt: skip


class Reader:
    """Reads the arguments of a call to a function."""

    def __init__(self, prototype: Prototype, cpu: Cpu, memory: Memory) -> None:
        wide = cpu.pointer_size == 8
        self._takers: list[Callable[[], Any]] = []
        # Of each argument, if all are in registers: the registers as numbers of its type, and
        # its place there.
        self._places: list[tuple[memoryview, int]] = []
        index = 0
        for parameter in prototype.parameters:
            kind = parameter.kind
            if index < len(cpu.words) and kind in _FORMATS:
                view = cpu.words.cast("B").cast(_FORMATS[kind])
                place = view, index * (8 // view.itemsize)
                self._places.append(place)
                self._takers.append(_in_register(*place))
            else:
                self._takers.append(_taker(kind, index, cpu, memory))
            index += 2 if not wide and kind in {"s64", "u64"} else 1
        if prototype.varargs:
            self._takers.append(lambda: CallArguments(cpu, index))

    def read(self) -> tuple[Any, ...]:
        """Return the arguments of the call in which the processor is stopped, as Python values."""
        return tuple([take() for take in self._takers])

    def serving(self, method: Callable[..., Any]) -> Callable[[], Any]:
        """Return a function that calls ``method`` with the arguments, without a tuple for a few."""
        takers = self._takers
        count = len(takers)
        if not count:
            return method
        if count <= 3 and count == len(self._places):
            return self._serving_registers(method)
        if count > 3:
            return lambda: method(*[take() for take in takers])
        first = takers[0]
        if count == 1:
            return lambda: method(first())
        second = takers[1]
        if count == 2:
            return lambda: method(first(), second())
        third = takers[2]
        return lambda: method(first(), second(), third())

    def _serving_registers(self, method: Callable[..., Any]) -> Callable[[], Any]:
        """Return such a function for up to three arguments in registers."""
        first, at = self._places[0]
        if len(self._places) == 1:
            return lambda: method(first[at])
        second, second_at = self._places[1]
        if len(self._places) == 2:
            return lambda: method(first[at], second[second_at])
        third, third_at = self._places[2]
        return lambda: method(first[at], second[second_at], third[third_at])


def _in_register(view: memoryview, place: int) -> Callable[[], Any]:
    return lambda: view[place]


def _taker(kind: str, index: int, cpu: Cpu, memory: Memory) -> Callable[[], Any]:
    argument = cpu.argument
    wide = cpu.pointer_size == 8
    if kind in {"s64", "u64"} and not wide:
        if kind == "u64":
            return lambda: argument(index) | (argument(index + 1) << 32)
        return lambda: signed(argument(index) | (argument(index + 1) << 32), 64)
    if kind == "s64":
        return lambda: signed(argument(index), 64)
    if kind == "long":
        bits = 8 * cpu.pointer_size
        return lambda: signed(argument(index), bits)
    if kind == "str":

        def string() -> str | None:
            address = argument(index)
            return memory.string(address) if address else None

        return string
    if kind == "valist":
        return lambda: ListArguments(memory, argument(index), cpu.machine)
    if kind in {"ptr", "ulong", "u64"}:
        return lambda: argument(index)
    convert = _CONVERT[kind]
    return lambda: convert(argument(index))


def make_writer(prototype: Prototype, cpu: Cpu) -> Callable[[Any], None] | None:
    """Return a function that passes a model's result back to the guest; None for void."""
    kind = prototype.returns
    if kind == "void":
        return None
    finish, results = cpu.finish_call, cpu.results
    if kind == "bool":
        return lambda result: finish(1 if result else 0)
    mask = _M64 if kind in {"s64", "u64"} else (1 << (8 * cpu.pointer_size)) - 1
    if kind in {"s32", "u32", "s16", "u16", "s8", "u8"}:
        mask = _M32
    if len(results):

        def write(result: int) -> None:
            results[0] = result & mask

        return write
    return lambda result: finish(result & mask)
