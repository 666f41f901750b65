"""A bare Unicorn loop that stops as often as a guest: the cost of a simulator without a model.

It stops at each kernel call, reads the registers of the call in one batch and writes the result,
and its hook of ``in`` reads the registers of the trap. No function is served, no time passes, no
thread is chosen, and the guest's code between two stops is one instruction.  It calls the binding
as a plain program does, without the simulator's shortcuts, so that the reference does not change
when the simulator becomes faster.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import unicorn
from unicorn import unicorn_const as uc
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

_CODE, _STUB, _STACK = 0xFFFFFFFF82000000, 0xFFFFFFFF80200000, 0xFFFFC48000000000
_NEVER = 0xFFFFFFFFFFFFF000
_PAGE = 4096
_CALL = ("RIP", "RSP", "RDI", "RSI", "RDX", "RCX", "R8", "R9", "RAX")
_TRAP = ("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RIP")


def _registers(names: tuple[str, ...]) -> list[int]:
    return [getattr(x86, f"UC_X86_REG_{name}") for name in names]


class Batch:
    """Some registers, read or written with one call of the binding."""

    def __init__(self, handle: Any, registers: list[int]) -> None:
        count = len(registers)
        self.values = (ctypes.c_uint64 * count)()
        base, size = ctypes.addressof(self.values), ctypes.sizeof(ctypes.c_uint64)
        pointers = (ctypes.c_void_p * count)(*(base + i * size for i in range(count)))
        self._arguments = (handle, (ctypes.c_int * count)(*registers), pointers, count)

    def read(self) -> None:
        """Fill ``values`` from the processor."""
        uclib.uc_reg_read_batch(*self._arguments)

    def write(self) -> None:
        """Load ``values`` into the processor."""
        uclib.uc_reg_write_batch(*self._arguments)


def _code(calls: int, traps: int) -> bytes:
    """Return a loop with ``calls`` calls of the stub for each trap, as in a guest."""
    code = b""
    for _ in range(max(1, round(calls / max(traps, 1)))):
        code += b"\xe8" + (_STUB - (_CODE + len(code) + 5)).to_bytes(4, "little", signed=True)
    code += b"\xed"  # in eax, dx
    return code + b"\xe9" + (-len(code) - 5).to_bytes(4, "little", signed=True)


def loop(calls: int, traps: int) -> float:
    """Return the CPU seconds of a loop on amd64 with this number of calls and of traps.

    Raises RuntimeError for an error of Unicorn.
    """
    engine: Any = unicorn.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64)
    engine.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)  # whole addresses
    for address in (_CODE, _STUB, _STACK):
        engine.mem_map(address, _PAGE)
    engine.mem_write(_CODE, _code(calls, traps))
    engine.mem_write(_STUB, b"\xf4\xc3")  # hlt; ret
    engine.reg_write(x86.UC_X86_REG_RSP, _STACK + _PAGE)
    handle = engine._uch  # noqa: SLF001 - the binding's inner entry points
    call, trap = Batch(handle, _registers(_CALL)), Batch(handle, _registers(_TRAP))
    result = Batch(handle, _registers(("RAX",)))

    def serve(_uc: Any, _port: int, _size: int, _data: Any) -> int:
        trap.read()
        return 1

    engine.hook_add(uc.UC_HOOK_INSN, serve, None, 1, 0, x86.UC_X86_INS_IN)
    begin, values, word = uclib.uc_emu_start, call.values, result.values
    values[0] = _CODE
    start = time.process_time()
    for _ in range(calls):
        error = begin(handle, values[0], _NEVER, 0, 0)
        if error:
            raise RuntimeError(f"the bare loop ends with error {error} of Unicorn")
        call.read()
        word[0] = 1
        result.write()
    return time.process_time() - start
