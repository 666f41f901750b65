"""The common part of amd64 and i386: port traps, CPUID, VMCALL.

Sources of the trap conventions: open-vm-tools lib/backdoor/backdoorGcc64.c and backdoorGcc32.c,
lib/include/backdoor_def.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtsim.core.frame import Frame
from vmtsim.cpu.engine import Engine, HostView
from vmtsim.cpu.library import CPUID, IN, INVALID_INSTRUCTION, OUT, constants, uc
from vmtsim.cpu.registers import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmtsim.cpu.interface import Backdoor
    from vmtsim.cpu.library import Processor

x86 = constants("x86_const")

LOW_BANDWIDTH_PORT = 0x5658
HIGH_BANDWIDTH_PORT = 0x5659
BALLOON_PORT = 0x5670
_MASK32 = 0xFFFFFFFF
_VMCALL = b"\x0f\x01\xc1"
_VMMCALL = b"\x0f\x01\xd9"


class X86(Engine):
    """The traps of both x86 machines; ``_trap`` is EAX EBX ECX EDX ESI EDI EBP EIP."""

    _halt = b"\xf4"  # hlt
    _nothing = b"\x90"

    def __init__(
        self,
        backdoor: Backdoor,
        engine: Processor,
        *,
        call_registers: Sequence[int],
        preserved_registers: Sequence[int],
        trap_registers: Sequence[int],
    ) -> None:
        super().__init__(
            backdoor,
            engine,
            call_registers=call_registers,
            preserved_registers=preserved_registers,
        )
        self._trap = Batch(self._handle, trap_registers)
        self._view = HostView(self)
        (self._ax, self._bx, self._cx, self._dx, self._si, self._di, self._bp, self._ip) = (
            trap_registers
        )
        # The registers that a trap may change: EBX to EDI and EAX (LB), and EBP too (HB); then the
        # one that moves the processor on.
        low = (self._bx, self._cx, self._dx, self._si, self._di)
        self._low = Batch(self._handle, low)
        self._low_out = Batch(self._handle, (*low, self._ax))
        self._string = Batch(self._handle, (*low, self._ax, self._bp))
        self._instruction = Batch(self._handle, (*low, self._ax, self._bp, self._ip))
        self._in_string = False
        self._leaves = dict(_LEAVES)
        cpuid = CPUID(self.guarded(self._cpuid))
        engine.hook(uc.UC_HOOK_INSN, IN(self._in), instruction=x86.UC_X86_INS_IN)
        engine.hook(uc.UC_HOOK_INSN, OUT(self._out), instruction=x86.UC_X86_INS_OUT)
        engine.hook(uc.UC_HOOK_INSN, cpuid, instruction=x86.UC_X86_INS_CPUID)
        engine.hook(uc.UC_HOOK_INSN_INVALID, INVALID_INSTRUCTION(self.guarded(self._invalid)))

    def set_cpuid(self, leaves: Mapping[int, tuple[int, int, int, int]]) -> None:
        """Give the processor other leaves."""
        self._leaves = {**_LEAVES, **leaves}

    def register(self, name: str) -> int:
        """Return a register by its name, as capstone writes it."""
        return int(self._uc.reg_read(_register(name)))

    def put_register(self, name: str, value: int) -> None:
        """Store into a register; one of 32 bits clears the upper half of its 64."""
        whole, bits = name, 64
        if self.pointer_size == 8:
            if name.startswith("e") and name != "eflags":
                whole, bits = f"r{name[1:]}", 32
            elif name.startswith("r") and name.endswith("d"):
                whole, bits = name[:-1], 32
        if (len(name) == 2 and not name.startswith("r")) or name.endswith("w"):
            bits = 16
        self._uc.reg_write(_register(whole), value & ((1 << bits) - 1))

    def _in(self, _uc: Any, port: int, size: int, _data: Any) -> int:
        """Serve ``in`` and ``rep insb``; the result goes into EAX or AL."""
        try:
            ax, bx, cx, dx, si, di, bp, pc = self._trap.load()
            low = port == LOW_BANDWIDTH_PORT or (port == BALLOON_PORT and size == 4)
            if not low and port == HIGH_BANDWIDTH_PORT and size == 1:
                frame = Frame(ax & _MASK32, bx & _MASK32, cx & _MASK32, dx & _MASK32, si, di, bp)
                return self._string_in(frame, pc)
            self.on_trap(pc)
            if not low:
                return self.backdoor.other_port(port, size, None)
            frame = Frame(
                ax & _MASK32, bx & _MASK32, cx & _MASK32, dx & _MASK32,
                si & _MASK32, di & _MASK32, bp & _MASK32,
            )  # fmt: skip
            self.backdoor.low_bandwidth(frame)
            self._low.store(frame.arg1, frame.arg2, frame.arg3, frame.arg4, frame.arg5)
            return frame.arg0 & _MASK32
        except BaseException as error:
            return self._failed(error)

    def _string_trap(self, pc: int) -> None:
        """Report a string trap, in which the processor cannot stop: see ``preempt``."""
        self._in_string = True
        try:
            self.on_trap(pc)
        finally:
            self._in_string = False

    def preempt(self) -> None:
        """Stop at the end of the block in which the trap is.

        Do not preempt inside ``rep``: the instruction would stop one byte early and be executed
        again, as a second call of the host.  The next trap checks again for a ready thread.
        """
        if not self._in_string:
            super().preempt()

    def _string_in(self, frame: Frame, pc: int) -> int:
        """``rep insb``: transfer all at the first byte, and leave the instruction one byte."""
        count, target = frame.arg2, frame.arg5
        self._string_trap(pc)
        self.backdoor.high_bandwidth(frame, self._view, to_host=False)
        self._after_string(frame, frame.arg4, target + count - 1)
        # The processor stores this byte, still to where EDI was.
        return self._view.peek(target, 1)[0]

    def _out(self, _uc: Any, port: int, size: int, value: int, _data: Any) -> None:
        """Serve ``out`` and ``rep outsb``."""
        try:
            self._output(port, size, value)
        except BaseException as error:
            self._failed(error)

    def _output(self, port: int, size: int, value: int) -> None:
        ax, bx, cx, dx, si, di, bp, pc = self._trap.load()
        frame = Frame(ax & _MASK32, bx & _MASK32, cx & _MASK32, dx & _MASK32, si, di, bp)
        if port == HIGH_BANDWIDTH_PORT and size == 1:
            count, source = frame.arg2, frame.arg4
            self._string_trap(pc)
            self.backdoor.high_bandwidth(frame, self._view, to_host=True)
            self._after_string(frame, source + count - 1, frame.arg5)
            return
        self.on_trap(pc)
        if port == LOW_BANDWIDTH_PORT and size == 4:
            frame.arg0 = value & _MASK32
            self.backdoor.low_bandwidth(frame)
            self._low_out.store(
                frame.arg1, frame.arg2, frame.arg3, frame.arg4, frame.arg5, frame.arg0,
            )  # fmt: skip
        else:
            self.backdoor.other_port(port, size, value)

    def _after_string(self, frame: Frame, source: int, target: int) -> None:
        """Leave one byte to transfer, with ``source`` in ESI and ``target`` in EDI."""
        self._string.store(frame.arg1, 1, frame.arg3, source, target, frame.arg0, frame.arg6)

    def _cpuid(self, _uc: Any, _data: Any) -> int:
        leaf = self._uc.reg_read(self._ax) & _MASK32
        values = self._cpuid_values(leaf)
        write = self._uc.reg_write
        for register, value in zip((self._ax, self._bx, self._cx, self._dx), values, strict=True):
            write(register, value)
        return 1

    def _cpuid_values(self, leaf: int) -> tuple[int, int, int, int]:
        """Return the host's leaf if it has one, else that of the simulated processor.

        Unicorn's leaf 1 reports another hypervisor, so it is not used.
        """
        given = self.backdoor.cpuid(leaf)
        if given is not None:
            if leaf == 1:
                base = self._leaves[1]
                return base[0], base[1], base[2] | (given[2] & 0x80000000), base[3]
            return given
        if leaf >= 0x40000000 and leaf < 0x80000000:
            leaf = 0xD  # as Intel processors do: the data of the highest basic leaf
        return self._leaves.get(leaf, (0, 0, 0, 0))

    def _invalid(self, _uc: Any, _data: Any) -> bool:
        """VMCALL and VMMCALL reach the hypervisor; anything else is an invalid instruction."""
        ax, bx, cx, dx, si, di, bp, pc = self._trap.load()
        frame = Frame(ax & _MASK32, bx & _MASK32, cx & _MASK32, dx & _MASK32, si, di, bp)
        if self.read(pc, 3) not in {_VMCALL, _VMMCALL}:
            return False
        self.on_trap(pc)
        self.backdoor.hypercall(frame, self._view)
        self._instruction.store(
            frame.arg1, frame.arg2, frame.arg3, frame.arg4, frame.arg5, frame.arg0, frame.arg6,
            pc + 3,
        )  # fmt: skip
        return True


def _register(name: str) -> int:
    return int(getattr(x86, f"UC_X86_REG_{name.upper()}"))


# A plain processor: leaf 0 (vendor GenuineIntel, highest leaf 13), leaf 1 (family 6, TSC, MSR,
# CX8, APIC, SSE2, x2APIC, RDRAND), leaf 7 (RDSEED), extended leaves 0x80000000 and 1 (long mode).
_LEAVES: dict[int, tuple[int, int, int, int]] = {
    0: (0xD, 0x756E6547, 0x6C65746E, 0x49656E69),
    1: (0x000306C3, 0x00010800, 0x40200001, 0x078BFBFF),
    7: (0, 1 << 18, 0, 0),
    0x80000000: (0x80000008, 0, 0, 0),
    0x80000001: (0, 0, 1, 0x2C100800),
}
