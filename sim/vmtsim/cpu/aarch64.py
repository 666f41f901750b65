"""aarch64: AAPCS64 calls, TPIDR_EL1 = curlwp, the hypervisor called by ``mrs xzr, mdccsr_el0``.

Source of the trap: open-vm-tools lib/backdoor/backdoorGcc64_arm64.c, lib/include/backdoor_def.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtsim.core.frame import Frame
from vmtsim.cpu.engine import Engine, HostView, open_engine
from vmtsim.cpu.interface import EXIT_SLOT, STUB_SIZE, Layout
from vmtsim.cpu.library import SYSTEM, constants, uc
from vmtsim.cpu.registers import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmtsim.cpu.interface import Backdoor

arm = constants("arm64_const")

_MASK32 = 0xFFFFFFFF
_BRANCH = 0x14000000
_X = tuple(getattr(arm, f"UC_ARM64_REG_X{n}") for n in range(31))
_CALL = (arm.UC_ARM64_REG_PC, arm.UC_ARM64_REG_SP, *_X[:8])
_PRESERVED = (*_X[19:30],)
_TRAP = (*_X[:8], arm.UC_ARM64_REG_PC)
_EL1 = 0x5  # PSTATE: EL1 with its own stack pointer, nothing masked
_MAGIC = 0x86  # in the upper half of X7
_IN, _STRING_IN, _STRING_OUT = 0x0E, 0x1C, 0x18  # the operation, in W7


def _code(*instructions: int) -> bytes:
    return b"".join(each.to_bytes(4, "little") for each in instructions)


class Aarch64(Engine):
    """An aarch64 processor at EL1."""

    machine = "aarch64"
    pointer_size = 8
    preserved_names: tuple[str, ...] = tuple(f"x{n}" for n in range(19, 30))
    _halt = b"\x7f\x20\x03\xd5"  # wfi
    _stop = 8
    _behind = 3
    _words, _results = slice(2, 10), slice(2, 3)
    _nothing = b"\x1f\x20\x03\xd5"
    layout = Layout(
        stubs=0xFFFFC00000000000,
        missing=0xFFFFC00005000000,
        data=0xFFFFC00001000000,
        modules=0xFFFFC00002000000,
        modules_end=0xFFFFC00004000000,
        heap=0xFFFF000012340000,
        heap_end=0xFFFF00F000000000,
        stacks=0xFFFF800000000000,
        stacks_end=0xFFFF800040000000,
        user=0x0000FFFFF0000000,
    )

    def __init__(self, backdoor: Backdoor) -> None:
        engine = open_engine(uc.UC_ARCH_ARM64, uc.UC_MODE_ARM)
        super().__init__(backdoor, engine, call_registers=_CALL, preserved_registers=_PRESERVED)
        self._view = HostView(self)
        self._trap = Batch(self._handle, _TRAP)
        self._low = Batch(self._handle, _X[:7])
        mrs = SYSTEM(self.guarded(self._mrs))
        engine.hook(uc.UC_HOOK_INSN, mrs, instruction=arm.UC_ARM64_INS_MRS)

    @staticmethod
    def _stub(_address: int, gate: int, halted: int) -> bytes:
        """Use x17, which a linker's veneer between a call and its function may use, too."""
        code = _code(
            0x10000051,  # adr x17, 8
            _BRANCH | gate - 4 >> 2,  # b gate
            _BRANCH | halted - 8 >> 2,
        )
        return code.ljust(STUB_SIZE, b"\0")

    @staticmethod
    def _gates(mailbox: int) -> tuple[bytes, bytes]:
        """Use x16, too, and x0 once it is in the mailbox."""
        enter = _code(
            0x58000210,  # ldr x16, the literal
            0xA9010600,  # stp x0, x1, [x16, 16]
            0xA9020E02,
            0xA9031604,
            0xA9041E06,
            0xF9002A1E,  # str x30, [x16, 80]
            0x910003E0,  # mov x0, sp
            0xF9000600,  # str x0, [x16, 8]
            0xF9000211,  # str x17, [x16]
            0xD3474231,  # ubfx x17, x17, 7, 10
            0xF9002E11,  # str x17, [x16, 88]
            0xD503207F,  # wfi
        )
        leave = _code(
            0x58000090,  # ldr x16, the literal
            0xF9400A00,  # ldr x0, [x16, 16]
            0xD65F03C0,  # ret
        )
        return enter, leave.ljust(16, b"\0") + mailbox.to_bytes(8, "little")

    def set_cpuid(self, leaves: Mapping[int, tuple[int, int, int, int]]) -> None:
        """There is no CPUID on aarch64."""

    def register(self, name: str) -> int:
        """Return a register by its name, as capstone writes it."""
        return int(self._uc.reg_read(getattr(arm, f"UC_ARM64_REG_{name.upper()}")))

    def put_register(self, name: str, value: int) -> None:
        """Store into a register; xzr ignores the value."""
        if name in {"xzr", "wzr"}:
            return
        if name.startswith("w"):
            name, value = f"x{name[1:]}", value & _MASK32
        self._uc.reg_write(getattr(arm, f"UC_ARM64_REG_{name.upper()}"), value)

    def _mrs(self, _uc: Any, _register: int, place: Any, _data: Any) -> int:
        system = place.contents
        if (system.op0, system.op1, system.crn, system.crm, system.op2) != (2, 3, 0, 1, 0):
            return 0
        values = self._trap.load()
        x7, pc = values[7], values[8]
        if x7 >> 32 == _MAGIC:
            self._hypercall(values, pc)
        self._uc.reg_write(arm.UC_ARM64_REG_PC, pc + 4)
        return 1

    def _hypercall(self, values: list[int], pc: int) -> None:
        frame = Frame(*values[:7])
        operation = values[7] & _MASK32
        for name in ("arg0", "arg1", "arg2", "arg3"):
            setattr(frame, name, getattr(frame, name) & _MASK32)
        if operation == _IN:
            frame.arg4 &= _MASK32
            frame.arg5 &= _MASK32
            frame.arg6 &= _MASK32
            self.on_trap(pc)
            self.backdoor.low_bandwidth(frame)
        elif operation in {_STRING_IN, _STRING_OUT}:
            count, source, target = frame.arg2, frame.arg4, frame.arg5
            to_host = operation == _STRING_OUT
            self.on_trap(pc)
            if count:
                self.backdoor.high_bandwidth(frame, self._view, to_host=to_host)
            frame.arg2 = 0
            if to_host:
                frame.arg4 = source + count
            else:
                frame.arg5 = target + count
        else:
            return
        self._low.store(*frame.values())

    def argument(self, index: int) -> int:
        """Eight words in registers, the rest on the stack."""
        if index < 8:
            return self._registers[2 + index]
        return self.read_word(self._registers[1] + 8 * (index - 8))

    def _link(self) -> int:
        return int(self._uc.reg_read(_X[30]))

    def finish_call(self, result: int) -> None:
        """X0."""
        self._registers[2] = result

    @property
    def result(self) -> int:
        """X0."""
        return self._registers[2]

    def begin_call(self, function: int, arguments: Sequence[int]) -> None:
        """Keep the stack pointer a multiple of 16."""
        stack = (self._registers[1] - 128) & ~0xF
        extra = arguments[8:]
        if extra:
            stack -= (8 * len(extra) + 15) & ~0xF
            self.write(stack, b"".join(word.to_bytes(8, "little") for word in extra))
        write = self._uc.reg_write
        for register, value in zip(_X[:8], arguments, strict=False):
            write(register, value)
        write(_X[30], self.layout.stubs + EXIT_SLOT * STUB_SIZE)
        write(arm.UC_ARM64_REG_SP, stack)
        self._registers[0], self._registers[1] = function, stack

    def set_position(self, position: tuple[int, ...]) -> None:
        """Return to a position; the stub's ``ret`` needs the link register."""
        super().set_position(position)
        self._uc.reg_write(_X[30], position[2])

    def start_on_stack(self, top: int) -> None:
        """Start with an empty chain of frames."""
        write = self._uc.reg_write
        write(arm.UC_ARM64_REG_SP, top - 16)
        write(_X[29], 0)
        write(arm.UC_ARM64_REG_PSTATE, _EL1)
        self._registers[1] = top - 16

    def set_thread(self, lwp: int, _cpu_info: int) -> None:
        """TPIDR_EL1 is curlwp."""
        self._uc.reg_write(arm.UC_ARM64_REG_TPIDR_EL1, lwp)

    def return_addresses(self, limit: int) -> list[int]:
        """Follow X29."""
        return self._chain(self._uc.reg_read(_X[29]), limit)
