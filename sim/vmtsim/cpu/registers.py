"""Batches of registers, each with one call of the library."""

from __future__ import annotations

import ctypes
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from vmtsim.cpu.library import FAST, pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MASK64 = 0xFFFFFFFFFFFFFFFF


class Batch:
    """Some registers, read or written with one call.

    The arguments are converted once: a conversion for each call would cost more than the call.
    """

    def __init__(
        self,
        handle: Any,
        registers: Sequence[int],
        values: ctypes.Array[ctypes.c_uint64] | None = None,
    ) -> None:
        count = len(registers)
        self.values = values if values is not None else (ctypes.c_uint64 * count)()
        self._words = memoryview(self.values).cast("B").cast("Q")
        self._packed = struct.Struct(f"={count}Q")
        size = ctypes.sizeof(ctypes.c_uint64)
        base = ctypes.addressof(self.values)
        self._arrays = (
            (ctypes.c_int * count)(*registers),
            (ctypes.c_void_p * count)(*(base + i * size for i in range(count))),
        )
        arguments = (
            pointer(handle.value),
            *(pointer(ctypes.addressof(array)) for array in self._arrays),
            ctypes.c_int.from_param(count),
        )
        self.read: Callable[[], object] = partial(FAST.uc_reg_read_batch, *arguments)
        self.write: Callable[[], object] = partial(FAST.uc_reg_write_batch, *arguments)

    def load(self) -> list[int]:
        """Return the registers as the processor has them."""
        self.read()
        return self._words.tolist()

    def store(self, *values: int) -> None:
        """Load ``values``, one for each register, into the processor."""
        try:
            self._packed.pack_into(self._words, 0, *values)
        except struct.error:  # a register keeps the lower 64 bits
            self._packed.pack_into(self._words, 0, *(value & _MASK64 for value in values))
        self.write()
