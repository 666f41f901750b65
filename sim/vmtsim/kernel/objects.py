"""struct cpu_info of each processor, struct lwp and struct proc as objects in guest memory.

Modules read a few of their members directly.  Offsets were measured with the headers of each
release (sys/arch/*/include/cpu.h, sys/lwp.h; all machines and NetBSD 10 and 11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.processors import SeveralProcessors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.processors import Processor

LP_BOUND = 0x80000000  # l_pflag: the thread stays on its CPU
_CPUF_BSP, _CPUF_PRESENT, _CPUF_RUNNING, _CPUF_PRIMARY = 1, 0x1000, 0x2000, 8


@dataclass(frozen=True)
class CpuInfo:
    """The offsets of members of struct cpu_info, in bytes; -1: the machine does not have it."""

    self: int
    curlwp: int
    flags: int
    vm: int
    next: int
    cpuid: int
    size: int


@dataclass(frozen=True)
class Offsets:
    """The offsets of members of struct lwp and struct proc, in bytes."""

    l_pflag: int
    l_proc: int
    l_cred: int
    l_size: int
    l_name: int
    p_pid: int


CPU_INFO = {
    "amd64": CpuInfo(904, 2752, 2688, 2368, 2712, 2704, 3392),
    "i386": CpuInfo(772, 2240, 2176, 1960, 2196, 2192, 2688),
    "aarch64": CpuInfo(-1, 1152, -1, -1, -1, 968, 2432),
}
# (machine, 11 or later) -> offsets
_OFFSETS = {
    ("amd64", False): Offsets(800, 448, 752, 1040, 472, 168),
    ("amd64", True): Offsets(776, 424, 728, 1016, 448, 168),
    ("i386", False): Offsets(536, 304, 504, 676, 316, 96),
    ("i386", True): Offsets(512, 280, 480, 652, 292, 96),
    ("aarch64", False): Offsets(920, 568, 872, 1160, 592, 168),
    ("aarch64", True): Offsets(896, 544, 848, 1136, 568, 168),
}
_L_CPU = 0
_SIGNATURE = {"amd64": 1992, "i386": 1608}  # ci_signature: EAX of CPUID leaf 1
CI_DEVICE = {"amd64": 896, "i386": 768, "aarch64": 960}  # ci_dev
_CI_INDEX = 0  # ci_data is the first member, and cpu_index of that
_MAXCPUS = 32
_PROC_SIZE = 1024
_CRED_SIZE = 256
_FIRST_PID = 1000  # of a process that a test starts by itself
# 10.99.12 is the first version seen with the members of 11.
_NEW_LAYOUT = 1_099_001_200


class Objects(Subject):
    """A cpu_info for each processor, and an lwp for each thread."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/arch/amd64/amd64/cpufunc.S 1.68": "*",
        "sys/kern/kern_cpu.c 1.97": "cpu_lookup",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        machine = kernel.options.machine
        self.ci = CPU_INFO[machine]
        self.offsets = _OFFSETS[machine, kernel.options.version >= _NEW_LAYOUT]
        self.cpu0 = 0
        self.proc0 = 0
        self.lwp0 = 0
        self.cred0 = 0
        self.credentials: dict[int, int] = {}  # address of a kauth_cred_t -> uid
        self._free: list[int] = []
        self._names: dict[str, int] = {}  # of threads, and where their text is

    def data(self) -> Iterator[DataSymbol]:
        """Yield the first CPU, process and thread."""
        x86 = self.kernel.cpu.machine != "aarch64"
        processors, size = self.kernel.processors, self.ci.size
        count = len(processors)
        # Those of x86 are allocated when the processor attaches; there is an array on aarch64.
        name = "cpu_info_primary" if x86 else "cpu_info_store"
        yield DataSymbol(name, bytes(size if x86 else size * count), align=64)
        yield DataSymbol("proc0", bytes(_PROC_SIZE), align=64)
        yield DataSymbol("lwp0", bytes(self.offsets.l_size), align=64)
        self.cpu0 = self.kernel.symbols[name]
        self.proc0 = self.kernel.symbols["proc0"]
        self.lwp0 = self.kernel.symbols["lwp0"]
        memory = self.kernel.memory
        for processor in processors:
            at = self.cpu0 + processor.index * size
            if x86 and processor.index:
                at = memory.place(bytes(size), align=64)
            processor.address = at
        yield DataSymbol("ncpu", count.to_bytes(4, "little"))
        words = b"".join(
            each.address.to_bytes(memory.pointer_size, "little") for each in processors
        )
        array = words.ljust((_MAXCPUS + 1) * memory.pointer_size, b"\0")
        if count > 1:
            if x86:
                yield DataSymbol("cpu_info_list", words[: memory.pointer_size])
                at = memory.place(array)
                yield DataSymbol("cpu_infos", at.to_bytes(memory.pointer_size, "little"))
            else:
                yield DataSymbol("cpu_info", array)

    def boot(self) -> None:
        """Fill in the members that modules read."""
        memory = self.kernel.memory
        self.cred0 = self.credentials_of(0)
        for processor in self.kernel.processors:
            self._fill_cpu(processor)
        self._fill(self.lwp0, self.proc0)
        memory.put_pointer(self.cpu0 + self.ci.curlwp, self.lwp0)
        self.kernel.scheduler.on_thread = self._switched
        choice = self.kernel.scheduler.choice
        if isinstance(choice, SeveralProcessors):
            choice.is_bound = lambda lwp: bool(lwp.address) and self.is_bound(lwp)

    def _fill_cpu(self, processor: Processor) -> None:
        memory, ci, at = self.kernel.memory, self.ci, processor.address
        if ci.self >= 0:
            memory.put_pointer(at + ci.self, at)
        if ci.flags >= 0:
            flags = _CPUF_PRESENT | _CPUF_RUNNING
            if not processor.index:
                flags |= _CPUF_BSP | _CPUF_PRIMARY
            memory.put_u32(at + ci.flags, flags)
        leaf = self.kernel.options.cpuid.get(1)
        if leaf is not None and self.kernel.cpu.machine in _SIGNATURE:
            memory.put_u32(at + _SIGNATURE[self.kernel.cpu.machine], leaf[0])
        memory.put_u32(at + _CI_INDEX, processor.index)
        memory.put_u32(at + ci.cpuid, processor.index)
        others = self.kernel.processors[processor.index + 1 :]
        if ci.next >= 0:
            memory.put_pointer(at + ci.next, others[0].address if others else 0)

    def credentials_of(self, uid: int) -> int:
        """Return the kauth_cred_t of a user."""
        for address, known in self.credentials.items():
            if known == uid:
                return address
        address = self.kernel.memory.place(bytes(_CRED_SIZE))
        self.credentials[address] = uid
        return address

    def _fill(self, address: int, process: int) -> None:
        memory = self.kernel.memory
        memory.put_pointer(address + _L_CPU, self.cpu0)
        memory.put_u32(address + self.offsets.l_pflag, 0)
        memory.put_pointer(address + self.offsets.l_proc, process)
        memory.put_pointer(address + self.offsets.l_cred, self.cred0)

    def new_lwp(self, name: str = "", process: int = 0) -> int:
        """Return the address of a new struct lwp of a process (default: the kernel's).

        A thread of the kernel has a name (kthread_create in sys/kern/kern_kthread.c); those of
        processes have none.
        """
        size = self.offsets.l_size
        address = (
            self._free.pop() if self._free else self.kernel.memory.place(bytes(size), align=64)
        )
        self.kernel.memory.write(address, bytes(size))
        self._fill(address, process or self.proc0)
        if name:
            if name not in self._names:
                text = name.encode("latin-1", "replace") + b"\0"
                self._names[name] = self.kernel.memory.place(text)
            self.kernel.memory.put_pointer(address + self.offsets.l_name, self._names[name])
        return address

    def _new_process(self, lwp: Lwp) -> int:
        """Return the address of a struct proc with the number of a user process."""
        memory = self.kernel.memory
        address = memory.place(bytes(_PROC_SIZE), align=64)
        number = lwp.process.pid if lwp.process is not None else _FIRST_PID + lwp.number
        memory.put_u32(address + self.offsets.p_pid, number)
        return address

    def free_lwp(self, address: int) -> None:
        """Free a struct lwp; its content is overwritten."""
        self.kernel.memory.write(address, b"\xde" * self.offsets.l_size)
        self._free.insert(0, address)

    def is_bound(self, lwp: Lwp) -> bool:
        """Whether the thread is bound to its CPU (l_pflag, which modules write themselves)."""
        return bool(self.kernel.memory.u32(lwp.address + self.offsets.l_pflag) & LP_BOUND)

    def bind(self, lwp: Lwp) -> None:
        """Bind the thread to its CPU permanently."""
        self.kernel.memory.put_u32(lwp.address + self.offsets.l_pflag, LP_BOUND)

    def _switched(self, lwp: Lwp) -> None:
        if not lwp.address:
            if lwp.kind == "user":
                lwp.address = self.new_lwp(process=self._new_process(lwp))
            else:
                lwp.address = self.new_lwp(lwp.name)
            if lwp.process is not None:
                self.kernel.memory.put_pointer(
                    lwp.address + self.offsets.l_cred, self.credentials_of(lwp.process.uid)
                )
        cpu = lwp.processor.address
        memory = self.kernel.memory
        memory.put_pointer(cpu + self.ci.curlwp, lwp.address)
        if len(self.kernel.processors) > 1:
            memory.put_pointer(lwp.address + _L_CPU, cpu)
        self.kernel.cpu.set_thread(lwp.address, cpu)

    def lwp_at(self, address: int) -> Lwp | None:
        """Return the living thread of this struct lwp."""
        for lwp in self.kernel.scheduler.lwps:
            if lwp.address == address:
                return lwp
        return None

    @kernel_function("struct lwp *x86_curlwp(void)", machines=("amd64", "i386"))
    def x86_curlwp(self) -> int:
        return self.kernel.current.address

    @kernel_function("struct cpu_info *x86_curcpu(void)", machines=("amd64", "i386"))
    def x86_curcpu(self) -> int:
        return self.kernel.here.address

    @kernel_function("struct cpu_info *cpu_lookup(u_int index)")
    def cpu_lookup(self, index: int) -> int:
        processors = self.kernel.processors
        return processors[index].address if index < len(processors) else 0
