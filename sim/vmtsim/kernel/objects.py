"""struct cpu_info, struct lwp and struct proc as objects in guest memory.

Modules read a few of their members directly.  Offsets were measured with the headers of each
release (sys/arch/*/include/cpu.h, sys/lwp.h; all machines and NetBSD 10 and 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import DataSymbol, Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

LP_BOUND = 0x80000000  # l_pflag: the thread stays on its CPU
_CPUF_BSP, _CPUF_PRESENT, _CPUF_RUNNING, _CPUF_PRIMARY = 1, 0x1000, 0x2000, 8


@dataclass(frozen=True)
class Offsets:
    """Where members are, in bytes; -1: the machine has none."""

    ci_self: int
    ci_curlwp: int
    ci_flags: int
    ci_vm: int
    ci_size: int
    l_pflag: int
    l_proc: int
    l_cred: int
    l_size: int
    l_name: int
    p_pid: int


# (machine, 11 or later) -> offsets
_OFFSETS = {
    ("amd64", False): Offsets(904, 2752, 2688, 2368, 3392, 800, 448, 752, 1040, 472, 168),
    ("amd64", True): Offsets(904, 2752, 2688, 2368, 3392, 776, 424, 728, 1016, 448, 168),
    ("i386", False): Offsets(772, 2240, 2176, 1960, 2688, 536, 304, 504, 676, 316, 96),
    ("i386", True): Offsets(772, 2240, 2176, 1960, 2688, 512, 280, 480, 652, 292, 96),
    ("aarch64", False): Offsets(-1, 1152, -1, -1, 2432, 920, 568, 872, 1160, 592, 168),
    ("aarch64", True): Offsets(-1, 1152, -1, -1, 2432, 896, 544, 848, 1136, 568, 168),
}
_L_CPU = 0
_SIGNATURE = {"amd64": 1992, "i386": 1608}  # ci_signature: EAX of CPUID leaf 1
CI_DEVICE = {"amd64": 896, "i386": 768, "aarch64": 960}  # ci_dev
_PROC_SIZE = 1024
_CRED_SIZE = 256
_FIRST_PID = 1000  # of a process that a test starts by itself
# 10.99.12 is the first version seen with the members of 11.
_NEW_LAYOUT = 1_099_001_200


class Objects(Subject):
    """cpu0, and an lwp for each thread."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/arch/amd64/amd64/cpufunc.S 1.68": "*",
        "sys/kern/kern_cpu.c 1.97": "cpu_lookup",
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        machine = kernel.options.machine
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
        name = "cpu_info_primary" if self.kernel.cpu.machine != "aarch64" else "cpu_info_store"
        yield DataSymbol(name, bytes(self.offsets.ci_size), align=64)
        yield DataSymbol("proc0", bytes(_PROC_SIZE), align=64)
        yield DataSymbol("lwp0", bytes(self.offsets.l_size), align=64)
        self.cpu0 = self.kernel.symbols[name]
        self.proc0 = self.kernel.symbols["proc0"]
        self.lwp0 = self.kernel.symbols["lwp0"]
        yield DataSymbol("ncpu", (1).to_bytes(4, "little"))

    def boot(self) -> None:
        """Fill in what modules look at."""
        memory = self.kernel.memory
        offsets = self.offsets
        self.cred0 = self.credentials_of(0)
        if offsets.ci_self >= 0:
            memory.put_pointer(self.cpu0 + offsets.ci_self, self.cpu0)
        if offsets.ci_flags >= 0:
            flags = _CPUF_BSP | _CPUF_PRIMARY | _CPUF_PRESENT | _CPUF_RUNNING
            memory.put_u32(self.cpu0 + offsets.ci_flags, flags)
        leaf = self.kernel.options.cpuid.get(1)
        if leaf is not None and self.kernel.cpu.machine in _SIGNATURE:
            memory.put_u32(self.cpu0 + _SIGNATURE[self.kernel.cpu.machine], leaf[0])
        self._fill(self.lwp0, self.proc0)
        memory.put_pointer(self.cpu0 + offsets.ci_curlwp, self.lwp0)
        self.kernel.scheduler.on_thread = self._switched

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
        """Return the address of a fresh struct lwp of a process (default: the kernel's).

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
        """Take back a struct lwp; its content becomes rubbish."""
        self.kernel.memory.write(address, b"\xde" * self.offsets.l_size)
        self._free.insert(0, address)

    def is_bound(self, lwp: Lwp) -> bool:
        """Whether the thread is bound to its CPU (l_pflag, which modules write themselves)."""
        return bool(self.kernel.memory.u32(lwp.address + self.offsets.l_pflag) & LP_BOUND)

    def bind(self, lwp: Lwp) -> None:
        """Bind the thread to its CPU for good."""
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
        self.kernel.memory.put_pointer(self.cpu0 + self.offsets.ci_curlwp, lwp.address)
        self.kernel.cpu.set_thread(lwp.address, self.cpu0)

    def lwp_at(self, address: int) -> Lwp | None:
        """Return the living thread whose struct lwp this is."""
        for lwp in self.kernel.scheduler.lwps:
            if lwp.address == address:
                return lwp
        return None

    @kernel_function("struct lwp *x86_curlwp(void)", machines=("amd64", "i386"))
    def x86_curlwp(self) -> int:
        return self.kernel.current.address

    @kernel_function("struct cpu_info *x86_curcpu(void)", machines=("amd64", "i386"))
    def x86_curcpu(self) -> int:
        return self.cpu0

    @kernel_function("struct cpu_info *cpu_lookup(u_int index)")
    def cpu_lookup(self, index: int) -> int:
        return self.cpu0 if index == 0 else 0
