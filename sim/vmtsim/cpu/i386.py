"""i386: cdecl, everything on the stack, 64-bit results in EDX:EAX."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmtsim.cpu.engine import open_engine
from vmtsim.cpu.interface import EXIT_SLOT, STUB_SIZE, Layout
from vmtsim.cpu.library import uc
from vmtsim.cpu.x86 import X86, x86

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtsim.cpu.interface import Backdoor

_MASK32 = 0xFFFFFFFF
_STUB = struct.Struct(f"<BIBiBi{STUB_SIZE - 15}x")
_CALL = (x86.UC_X86_REG_EIP, x86.UC_X86_REG_ESP, x86.UC_X86_REG_EAX, x86.UC_X86_REG_EDX)
_PRESERVED = (x86.UC_X86_REG_EBX, x86.UC_X86_REG_ESI, x86.UC_X86_REG_EDI, x86.UC_X86_REG_EBP)
_TRAP = (
    x86.UC_X86_REG_EAX,
    x86.UC_X86_REG_EBX,
    x86.UC_X86_REG_ECX,
    x86.UC_X86_REG_EDX,
    x86.UC_X86_REG_ESI,
    x86.UC_X86_REG_EDI,
    x86.UC_X86_REG_EBP,
    x86.UC_X86_REG_EIP,
)


class I386(X86):
    """An i386 processor.

    Unicorn cannot set the base of FS there; modules do not need it, they call x86_curlwp().
    """

    machine = "i386"
    pointer_size = 4
    preserved_names: tuple[str, ...] = ("ebx", "esi", "edi", "ebp")
    _stop = 10
    _behind = 3
    _words, _results = slice(0), slice(2, 4)
    layout = Layout(
        stubs=0xC0100000,
        missing=0xF4000000,
        data=0xC0C00000,
        modules=0xC1000000,
        modules_end=0xC4000000,
        heap=0xC8000000,
        heap_end=0xF0000000,
        stacks=0xC5000000,
        stacks_end=0xC7000000,
        user=0xBF000000,
    )

    def __init__(self, backdoor: Backdoor) -> None:
        super().__init__(
            backdoor,
            open_engine(uc.UC_ARCH_X86, uc.UC_MODE_32),
            call_registers=_CALL,
            preserved_registers=_PRESERVED,
            trap_registers=_TRAP,
        )

    @staticmethod
    def _stub(address: int, gate: int, halted: int) -> bytes:
        """Use ECX, which a function need not preserve."""
        # mov ecx, pc; jmp gate; and at pc: jmp halted
        return _STUB.pack(0xB9, address + 10, 0xE9, gate - 10, 0xE9, halted - 15)

    @staticmethod
    def _gates(mailbox: int) -> tuple[bytes, bytes]:
        """Arguments stay on the stack."""

        def at(index: int) -> bytes:
            return (mailbox + 8 * index).to_bytes(4, "little")

        enter = (
            b"\xa3" + at(2),  # mov [2], eax
            b"\x8b\x04\x24",  # mov eax, [esp]
            b"\xa3" + at(4),
            b"\x89\x25" + at(1),  # mov [1], esp
            b"\x89\x15" + at(3),  # mov [3], edx
            b"\x89\x0d" + at(0),  # mov [0], ecx
            b"\xc1\xe9\x07",  # shr ecx, 7
            b"\x81\xe1\xff\x03\0\0",  # and ecx, 1023
            b"\x89\x0d" + at(5),
            b"\xf4",  # hlt
        )
        leave = b"\xa1" + at(2) + b"\x8b\x15" + at(3) + b"\xc3"  # mov eax; mov edx; ret
        return b"".join(enter), leave

    def argument(self, index: int) -> int:
        """All words are after the return address."""
        return self.read_word(self._registers[1] + 4 * (index + 1))

    def finish_call(self, result: int) -> None:
        """EAX, and the upper half in EDX."""
        self._registers[2] = result & _MASK32
        self._registers[3] = (result >> 32) & _MASK32

    @property
    def result(self) -> int:
        """EDX:EAX."""
        return (self._registers[2] & _MASK32) | ((self._registers[3] & _MASK32) << 32)

    def begin_call(self, function: int, arguments: Sequence[int]) -> None:
        """ESP + 4 is a multiple of 16 at the first instruction, as after a call."""
        stack = (self._registers[1] - 64) & ~0xF
        stack -= (4 * len(arguments) + 15) & ~0xF
        words = [self.layout.stubs + EXIT_SLOT * STUB_SIZE, *arguments]
        stack -= 4
        self.write(stack, b"".join((word & _MASK32).to_bytes(4, "little") for word in words))
        self._uc.reg_write(x86.UC_X86_REG_ESP, stack)
        self._registers[0], self._registers[1] = function, stack

    def start_on_stack(self, top: int) -> None:
        """Start with an empty chain of frames."""
        write = self._uc.reg_write
        write(x86.UC_X86_REG_ESP, top - 16)
        write(x86.UC_X86_REG_EBP, 0)
        write(x86.UC_X86_REG_EFLAGS, 0x202)
        self._registers[1] = top - 16

    def set_thread(self, _lwp: int, _cpu_info: int) -> None:
        """Do nothing: FS cannot be set, and modules do not use it."""

    def return_addresses(self, limit: int) -> list[int]:
        """Follow EBP."""
        return self._chain(self._uc.reg_read(x86.UC_X86_REG_EBP), limit)
