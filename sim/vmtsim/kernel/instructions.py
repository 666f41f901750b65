"""Instructions that are like kernel calls: emulated by a table here, or rejected by name.

They are found when a module is loaded (vmtgen.kobj.instructions), and replaced by one that stops
the processor.  Their results come from the virtual clock, from the seed or from a table, never from
the machine that the simulator runs on: the same seed gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.kobj.instructions import SystemInstruction, system_instructions

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.clock import TICK
from vmtsim.kernel.errors import Errno, Spinning, Unmodelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.loaded import Loaded
    from vmtsim.kernel.lwp import Lwp

_COST = 25  # virtual ns of one of them: a loop that reads a counter takes time
_SECOND = 1_000_000_000
TSC_HZ = 2_400_000_000  # of the virtual processor, also reported by the simulated host
CNTFRQ = 25_000_000  # of the generic timer of aarch64
_RDSEED_FAILS = 8  # one in this many has no entropy: the carry flag is clear
_CARRY, _STATUS = 1, 0x8D5  # of EFLAGS: CF; CF PF AF ZF SF OF
_IF, _DF = 0x200, 0x400
_I = 0x80  # of PSTATE: interrupts are masked

# Model-specific registers of x86 that the virtual processor has.  A scenario's guest: msrs adds
# others.  Numbers: Intel SDM volume 4; values as NetBSD leaves them on a machine with one CPU.
_TSC, _EFER, _GS_BASE, _TSC_AUX = 0x10, 0xC0000080, 0xC0000101, 0xC0000103
MSRS: Mapping[int, int] = {
    0x1B: 0xFEE00900,  # APIC_BASE: enabled, the boot processor
    0x3A: 0x1,  # FEATURE_CONTROL: locked
    0x8B: 0,  # microcode revision
    0xFE: 0x508,  # MTRRcap
    0x174: 0,
    0x175: 0,
    0x176: 0,
    0x277: 0x0007040600070406,  # PAT
    0x2FF: 0xC06,  # MTRR default type
    _EFER: 0xD01,
    0xC0000081: 0x0033000800000000,  # STAR
    0xC0000082: 0,
    0xC0000084: 0x47700,
    0xC0000100: 0,
    0xC0000102: 0,
    _TSC_AUX: 0,  # the number of the CPU
}
# Registers that a driver may write without changing the machine.
_WRITABLE = frozenset({0x8B, _TSC_AUX})
# Control registers: paging, protection, write protection on; SMEP, SMAP, PGE, PAE.
_CONTROL = {"cr0": 0x80050033, "cr2": 0, "cr3": 0x1000, "cr4": 0x3506F0, "cr8": 0}
# Registers of aarch64 that the virtual processor has: a Cortex-A72, CPU 0, at EL1.
SYSTEM_REGISTERS: Mapping[str, int] = {
    "cntfrq_el0": CNTFRQ,
    "midr_el1": 0x410FD083,
    "mpidr_el1": 0x80000000,
    "revidr_el1": 0,
    "ctr_el0": 0x8444C004,
    "dczid_el0": 0x4,
    "id_aa64pfr0_el1": 0x2222,
    "id_aa64pfr1_el1": 0,
    "id_aa64isar0_el1": 0x11120,
    "id_aa64isar1_el1": 0,
    "id_aa64mmfr0_el1": 0x1124,
    "id_aa64mmfr1_el1": 0,
    "id_aa64dfr0_el1": 0x10305106,
}
_COUNTERS = frozenset({"cntvct_el0", "cntpct_el0", "cntvctss_el0", "cntpctss_el0"})
# Instructions that the processor itself executes: they change its flags, which are checked when the
# thread sleeps or its function returns; or their effects (caches, translations) are not observable.
_FLAGS = frozenset({"cli", "sti", "std", "popf", "popfd", "popfq"})
_ARM_FLAGS = frozenset({"msr daifset", "msr daifclr", "msr daif", "mrs daif"})
_NATIVE = _FLAGS | _ARM_FLAGS | {"wbinvd", "wbnoinvd", "invlpg", "verw", "brk"}


class Instructions(Subject):
    """Emulates system instructions.  ``serves`` returns which have a model."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/arch/amd64/amd64/cpufunc.S 1.68": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "rdmsr_safe"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._at: dict[int, SystemInstruction] = {}
        self._address = 0  # of the one that is served
        self._rng = kernel.rng.fork("instructions")
        self.msrs = dict(MSRS)
        self.registers = dict(SYSTEM_REGISTERS)
        for name, value in kernel.options.msrs.items():
            if kernel.cpu.machine == "aarch64":
                self.registers[name] = value
            else:
                self.msrs[int(name, 0)] = value
        self._settable = frozenset(
            int(name, 0) for name in kernel.options.msrs if name[0].isdigit()
        )
        self._models: dict[str, Callable[[SystemInstruction], None]] = {
            "rdtsc": self._rdtsc,
            "rdtscp": self._rdtsc,
            "rdrand": self._rdrand,
            "rdseed": self._rdrand,
            "rdmsr": self._rdmsr,
            "wrmsr": self._wrmsr,
            "hlt": self._wait,
            "wfi": self._wait,
            **{f"mov from {name}": self._control for name in _CONTROL},
            **{f"mrs {name}": self._counter for name in _COUNTERS},
            **{f"mrs {name}": self._register for name in self.registers},
        }

    def boot(self) -> None:
        """Emulate the instruction at which the processor stopped."""
        cpu = self.kernel.cpu
        cpu.on_instruction = self._serve
        cpu.set_cpuid(self.kernel.options.cpuid)

    def serves(self, name: str) -> bool:
        """Whether a system instruction has a model."""
        return name in self._models or name in _NATIVE

    def names(self) -> Iterator[str]:
        """Yield the instructions that have a model on this machine, sorted."""
        arm = self.kernel.cpu.machine == "aarch64"
        for name in sorted({*self._models, *_NATIVE}):
            if arm == (name.startswith(("mrs", "msr")) or name in {"wfi", "brk"}):
                yield name

    def install(self, loaded: Loaded) -> None:
        """Make the processor stop at the system instructions of a module that is in memory."""
        cpu = self.kernel.cpu
        for instruction in system_instructions(loaded.module):
            address = loaded.linked.values[instruction.symbol] + instruction.distance
            if instruction.name in _FLAGS | _ARM_FLAGS:
                self.kernel.scheduler.on_leave = self._leave
            if instruction.name not in _NATIVE:
                self._at[address] = instruction
                cpu.stop_at(address, instruction.size)

    def _where(self, address: int) -> Place:
        return self.kernel.location(address, call=False)

    def _serve(self, address: int) -> None:
        instruction = self._at[address]
        model = self._models.get(instruction.name)
        if model is None:
            raise Unmodelled(
                f"{self._where(address)} executes {instruction.text}, an instruction that vmtsim "
                "does not model"
            )
        self.kernel.clock.now += _COST
        self._address = address
        model(instruction)

    def _protection_fault(self, what: str) -> None:
        where = self._where(self._address)
        self.kernel.panic("trap", f"general protection fault: {what} in {where}", where)

    # -- x86 ---------------------------------------------------------------------------------

    def _tsc(self) -> int:
        return self.kernel.clock.now * TSC_HZ // _SECOND

    def _pair(self, value: int) -> None:
        cpu = self.kernel.cpu
        cpu.put_register("eax", value & 0xFFFFFFFF)
        cpu.put_register("edx", value >> 32)

    def _rdtsc(self, instruction: SystemInstruction) -> None:
        self._pair(self._tsc() & 0xFFFFFFFFFFFFFFFF)
        if instruction.name == "rdtscp":
            self.kernel.cpu.put_register("ecx", self._read(_TSC_AUX) or 0)

    def _rdrand(self, instruction: SystemInstruction) -> None:
        cpu = self.kernel.cpu
        register = instruction.text.partition(" ")[2]
        fails = instruction.name == "rdseed" and not self._rng.below(_RDSEED_FAILS)
        cpu.put_register(register, 0 if fails else self._rng.bits64())
        flags = cpu.register("eflags") & ~_STATUS
        cpu.put_register("eflags", flags | (0 if fails else _CARRY))

    def _read(self, number: int) -> int | None:
        if number == _TSC:
            return self._tsc()
        if number == _GS_BASE:
            return self.kernel.here.address
        value = self.msrs.get(number)
        return self.kernel.here.index if number == _TSC_AUX and not value else value

    def _rdmsr(self, _instruction: SystemInstruction) -> None:
        number = self.kernel.cpu.register("ecx")
        value = self._read(number)
        if value is None:
            self._protection_fault(f"rdmsr of {number:#x}, which the processor lacks,")
        else:
            self._pair(value)

    def _wrmsr(self, _instruction: SystemInstruction) -> None:
        cpu = self.kernel.cpu
        number = cpu.register("ecx")
        if self._read(number) is None:
            self._protection_fault(f"wrmsr to {number:#x}, which the processor lacks,")
        if number not in _WRITABLE | self._settable:
            raise Unmodelled(
                f"{self._where(self._address)} executes wrmsr to {number:#x}, which changes the "
                "machine: vmtsim does not model that"
            )
        self.msrs[number] = cpu.register("edx") << 32 | cpu.register("eax")

    def _control(self, instruction: SystemInstruction) -> None:
        register = instruction.text.partition(" ")[2].partition(",")[0]
        self.kernel.cpu.put_register(register, _CONTROL[instruction.name.split()[-1]])

    # -- aarch64 -----------------------------------------------------------------------------

    def _counter(self, instruction: SystemInstruction) -> None:
        target = instruction.text.partition(" ")[2].partition(",")[0]
        self.kernel.cpu.put_register(target, self.kernel.clock.now * CNTFRQ // _SECOND)

    def _register(self, instruction: SystemInstruction) -> None:
        target = instruction.text.partition(" ")[2].partition(",")[0]
        self.kernel.cpu.put_register(target, self._arm_register(instruction.name.split()[-1]))

    def _arm_register(self, name: str) -> int:
        value = self.registers[name]
        return value | self.kernel.here.index if name == "mpidr_el1" else value

    # -- both --------------------------------------------------------------------------------

    def _wait(self, _instruction: SystemInstruction) -> None:
        """Wait for an interrupt: the next one is the clock's."""
        clock = self.kernel.clock
        if self._masked():
            raise Spinning(
                f"{self._where(self._address)} waits for an interrupt with interrupts off: it "
                "never continues"
            )
        clock.now = (clock.now // TICK + 1) * TICK

    def _masked(self) -> bool:
        cpu = self.kernel.cpu
        if cpu.machine == "aarch64":
            return bool(cpu.register("pstate") & _I)
        return not cpu.register("eflags") & _IF

    def _leave(self, lwp: Lwp, place: Place) -> None:
        """Check the flags of a thread that sleeps, or whose function returns."""
        cpu = self.kernel.cpu
        if cpu.machine == "aarch64":
            if self._masked():
                cpu.put_register("pstate", cpu.register("pstate") & ~_I)
                self._report("interrupts-off", lwp, place, "with interrupts off")
            return
        flags = cpu.register("eflags")
        if flags & _IF and not flags & _DF:
            return
        cpu.put_register("eflags", (flags | _IF) & ~_DF)
        if not flags & _IF:
            self._report("interrupts-off", lwp, place, "with interrupts off")
        if flags & _DF:
            self._report("direction-flag", lwp, place, "with the direction flag set")

    def _report(self, rule: str, lwp: Lwp, place: Place, words: str) -> None:
        what = f"sleeps in a call by {place}" if lwp.state != "running" else f"returns from {place}"
        self.kernel.violation(rule, f"thread {lwp.name} {what} {words}", place)

    @kernel_function("int rdmsr_safe(u_int msr, uint64_t *valp)", machines=("amd64", "i386"))
    def rdmsr_safe(self, number: int, where: int) -> int:
        """EFAULT for a register that the processor lacks."""
        value = self._read(number)
        if value is None:
            return Errno.EFAULT
        self.kernel.memory.put_u64(where, value)
        return 0
