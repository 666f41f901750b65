"""amd64: System V calls in the kernel (no SSE, no red zone), high addresses, GS = cpu_info."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmtsim.cpu.engine import open_engine
from vmtsim.cpu.interface import EXIT_SLOT, STUB_SIZE, Layout
from vmtsim.cpu.library import uc
from vmtsim.cpu.registers import Batch
from vmtsim.cpu.x86 import X86, x86

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtsim.cpu.interface import Backdoor

_CALL = (
    x86.UC_X86_REG_RIP,
    x86.UC_X86_REG_RSP,
    x86.UC_X86_REG_RDI,
    x86.UC_X86_REG_RSI,
    x86.UC_X86_REG_RDX,
    x86.UC_X86_REG_RCX,
    x86.UC_X86_REG_R8,
    x86.UC_X86_REG_R9,
    x86.UC_X86_REG_RAX,
)
_ARGUMENTS = _CALL[2:8]
# Register numbers in instructions: the argument registers, and two more.
_ENCODED = (7, 6, 2, 1, 8, 9)
_RAX, _RSP, _R11 = 0, 4, 11
_MASK32 = 0xFFFFFFFF
_STUB = struct.Struct(f"<3sIBiBi{STUB_SIZE - 17}x")
_PRESERVED = (
    x86.UC_X86_REG_RBX,
    x86.UC_X86_REG_RBP,
    x86.UC_X86_REG_R12,
    x86.UC_X86_REG_R13,
    x86.UC_X86_REG_R14,
    x86.UC_X86_REG_R15,
)
_TRAP = (
    x86.UC_X86_REG_RAX,
    x86.UC_X86_REG_RBX,
    x86.UC_X86_REG_RCX,
    x86.UC_X86_REG_RDX,
    x86.UC_X86_REG_RSI,
    x86.UC_X86_REG_RDI,
    x86.UC_X86_REG_RBP,
    x86.UC_X86_REG_RIP,
)


class Amd64(X86):
    """An amd64 processor; calls follow the System V ABI, as NetBSD/amd64's kernel does."""

    machine = "amd64"
    pointer_size = 8
    preserved_names: tuple[str, ...] = ("rbx", "rbp", "r12", "r13", "r14", "r15")
    _stop = 12
    _behind = 2
    _words, _results = slice(2, 8), slice(8, 9)
    layout = Layout(
        stubs=0xFFFFFFFF80200000,
        missing=0xFFFFFFFFA0000000,
        data=0xFFFFFFFF81000000,
        modules=0xFFFFFFFF82000000,
        modules_end=0xFFFFFFFF9F000000,
        heap=0xFFFFC50012340000,
        heap_end=0xFFFFC5F000000000,
        stacks=0xFFFFC48000000000,
        stacks_end=0xFFFFC48040000000,
        user=0x00007F7FFF000000,
    )

    def __init__(self, backdoor: Backdoor) -> None:
        engine = open_engine(uc.UC_ARCH_X86, uc.UC_MODE_64)
        super().__init__(
            backdoor,
            engine,
            call_registers=_CALL,
            preserved_registers=_PRESERVED,
            trap_registers=_TRAP,
        )
        # The first instructions of a call, by the number of arguments in registers.
        first = (x86.UC_X86_REG_RSP, x86.UC_X86_REG_RAX)
        self._begins = [Batch(self._handle, (*first, *_ARGUMENTS[:count])) for count in range(7)]

    @staticmethod
    def _stub(address: int, gate: int, halted: int) -> bytes:
        """Use R11, which a function need not preserve."""
        # mov r11, pc; jmp gate; and at pc: jmp halted
        return _STUB.pack(
            b"\x49\xc7\xc3", address + 12 & _MASK32, 0xE9, gate - 12, 0xE9, halted - 17
        )

    @staticmethod
    def _gates(mailbox: int) -> tuple[bytes, bytes]:
        """Use addresses of 32 bits, which the processor extends by their sign."""

        def at(index: int) -> bytes:
            return (mailbox + 8 * index & _MASK32).to_bytes(4, "little")

        def store(register: int, index: int) -> bytes:
            code = register << 3 | 4
            return bytes((0x4C if register > 7 else 0x48, 0x89, code & 0x3F, 0x25)) + at(index)

        enter = (
            store(_RAX, 8),
            b"\x48\x8b\x04\x24",  # mov rax, [rsp]
            store(_RAX, 9),
            store(_RSP, 1),
            *(store(register, index) for index, register in enumerate(_ENCODED, 2)),
            store(_R11, 0),
            b"\x41\xc1\xeb\x07",  # shr r11d, 7
            b"\x41\x81\xe3\xff\x03\0\0",  # and r11d, 1023
            store(_R11, 10),
            b"\xf4",  # hlt
        )
        return b"".join(enter), b"\x48\x8b\x04\x25" + at(8) + b"\xc3"  # mov rax, [8]; ret

    def argument(self, index: int) -> int:
        """Six words in registers, the rest after the return address."""
        if index < 6:
            return self._registers[2 + index]
        return self.read_word(self._registers[1] + 8 * (index - 5))

    def finish_call(self, result: int) -> None:
        """RAX, and EDX is not used: a word holds 64 bits."""
        self._registers[8] = result

    @property
    def result(self) -> int:
        """RAX."""
        return self._registers[8]

    def begin_call(self, function: int, arguments: Sequence[int]) -> None:
        """RSP + 8 is a multiple of 16 at the first instruction, as after a call."""
        stack = (self._registers[1] - 128) & ~0xF
        extra = arguments[6:]
        if extra:
            stack -= (8 * len(extra) + 15) & ~0xF
        words = [self.layout.stubs + EXIT_SLOT * STUB_SIZE, *extra]
        stack -= 8
        self.write(stack, b"".join(word.to_bytes(8, "little") for word in words))
        given = arguments[:6]
        self._begins[len(given)].store(stack, 0, *given)
        self._registers[0], self._registers[1] = function, stack

    def start_on_stack(self, top: int) -> None:
        """Start with an empty chain of frames."""
        write = self._uc.reg_write
        write(x86.UC_X86_REG_RSP, top - 16)
        write(x86.UC_X86_REG_RBP, 0)
        write(x86.UC_X86_REG_EFLAGS, 0x202)
        self._registers[1] = top - 16

    def set_thread(self, _lwp: int, cpu_info: int) -> None:
        """GS points at the cpu_info; curlwp is a member of it."""
        self._uc.reg_write(x86.UC_X86_REG_GS_BASE, cpu_info)

    def return_addresses(self, limit: int) -> list[int]:
        """Follow RBP."""
        return self._chain(self._uc.reg_read(x86.UC_X86_REG_RBP), limit)
