"""The kernel: one running machine, its subjects, its threads and its symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from vmtgen.common.dataclass import dataclass, field, replace

from vmtsim.core.garbage import collector_paused
from vmtsim.cpu import CpuFault, CpuStuck, make_cpu
from vmtsim.kernel.clock import NEVER, Clock
from vmtsim.kernel.dispatch import Dispatch
from vmtsim.kernel.errors import KernelPanic, Spinning, Unmodelled
from vmtsim.kernel.facts import Kind, Owner, Place, Side
from vmtsim.kernel.memory import Memory
from vmtsim.kernel.ordering import NoOrder, Ordering
from vmtsim.kernel.processors import Processor
from vmtsim.kernel.rule_table import OPTIONS, Consequence, Enforced, by_id
from vmtsim.kernel.rules import Rules
from vmtsim.kernel.scheduler import Scheduler
from vmtsim.kernel.subjects import ON_DEMAND, boot_order, load_subjects, subject_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.core.rng import Rng
    from vmtsim.core.trace import Trace
    from vmtsim.cpu import Backdoor
    from vmtsim.kernel.api import Model, Subject
    from vmtsim.kernel.busspace import WindowOptions
    from vmtsim.kernel.loaded import Loaded
    from vmtsim.kernel.lwp import Lwp

S = TypeVar("S", bound="Subject")


@dataclass(frozen=True)
class Violation:
    """A broken rule that did not stop the kernel; ``at`` is virtual ns.

    ``place`` is the guest's code that broke it, if known.
    """

    rule: str
    message: str
    at: int
    place: Place | None = None


@dataclass(frozen=True)
class KernelOptions:
    """The options of the simulated machine.

    ``release`` is the kernel's version as uname -r prints it, ``version`` its __NetBSD_Version__.
    ``net_mpsafe`` is a kernel with options NET_MPSAFE, which GENERIC lacks; ``detachall`` is sysctl
    kern.detachall: x86 detaches every device at shutdown.  ``checks`` are the options
    DIAGNOSTIC, DEBUG and LOCKDEBUG with which it was built: all of them, unless given.  ``memory``
    limits the kernel's memory, in bytes; every object takes whole pages and one more.
    ``msrs`` are additional registers of the processor, by number (x86, "0x19c") or name (aarch64,
    "midr_el1"); ``cpuid`` are leaves of CPUID: EAX, EBX, ECX, EDX.  ``without`` are drivers that
    GENERIC has built in and this kernel lacks, so that a module can provide them.  ``cpus`` is the
    number of processors: with 1, concurrent threads have no processor number. ``races`` detects
    data races, ``store_buffers`` delays a processor's stores (vmtsim.kernel.storebuffers); both
    need at least two.
    """

    machine: str = "amd64"
    release: str = "11.0"
    version: int = 1_100_000_000
    builtin_vmt: bool = False
    hostname: str = "guest.example"
    net_mpsafe: bool = False
    detachall: bool = False
    checks: frozenset[Enforced] = frozenset(OPTIONS.values())
    memory: int = 64 << 20
    msrs: Mapping[str, int] = field(default_factory=dict)
    cpuid: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    i2c: Mapping[int, Mapping[int, bytes]] = field(default_factory=dict)
    windows: tuple[WindowOptions, ...] = ()
    without: frozenset[str] = frozenset()
    cpus: int = 1
    races: bool = False
    store_buffers: bool = False


# machine -> (MACHINE, MACHINE_ARCH) of the port that runs it
_PORTS = {
    "amd64": ("amd64", "x86_64"),
    "i386": ("i386", "i386"),
    "aarch64": ("evbarm", "aarch64"),
}


class Kernel:
    """A NetBSD kernel model.  ``boot`` boots it; then processes are spawned and run."""

    def __init__(
        self,
        options: KernelOptions,
        *,
        backdoor: Backdoor,
        rng: Rng,
        trace: Trace,
        clock: Clock | None = None,
    ) -> None:
        self.options = options
        self.builtin_vmt = options.builtin_vmt
        self.port, self.port_arch = _PORTS[options.machine]
        self.rng = rng
        self.trace = trace
        self.clock = clock or Clock()
        self.cpu = make_cpu(options.machine, backdoor)
        self.memory = Memory(self.cpu)
        self._stubs = self.cpu.layout.stubs
        self.rules = Rules(self)
        self.violations: list[Violation] = []
        self.faulted_at = 0  # the instruction of the module that ended the run; 0: none
        self.dispatch = Dispatch(self)
        self.processors = [Processor(index) for index in range(options.cpus)]
        self.order: NoOrder = Ordering() if options.races else NoOrder()
        self.scheduler = Scheduler(
            self.cpu, self.clock, rng.fork("scheduler"), self.dispatch, self.processors, self.order
        )
        self.cpu.on_trap = self.scheduler.trap
        self.scheduler.on_exit = self._thread_gone
        self._subjects: dict[type[Subject], Any] = {}
        # Looks up the loaded module that owns an address: set by the module loader.
        self.locate: Callable[..., Place | None] = lambda _address, **_how: None
        # Whether an address is in the memory of a module, loaded or gone: set by the loader.
        self.module_memory: Callable[[str], Callable[[int], bool]] = lambda _name: lambda _at: False
        # The loaded module in whose memory an address is: set by the loader.
        self.loaded_at: Callable[[int], Loaded | None] = lambda _address: None
        # The device tree, for subjects that autoconf itself needs: set by autoconf.
        self.devices: Callable[[], list[int]] = list
        self.device_name: Callable[[int, str], str] = lambda _address, _caller: ""
        for cls in load_subjects(on_demand=False):
            subject = cls(self)
            self._subjects[cls] = subject
        for subject in self._subjects.values():
            self.dispatch.add_subject(subject)

    def boot(self) -> None:
        """Boot the kernel up to where init(8) would start."""
        for subject in self._subjects.values():
            subject.boot()

    # -- functions for models ----------------------------------------------------------------

    @property
    def current(self) -> Lwp:
        """The running thread.  Raises RuntimeError where none runs."""
        lwp = self.scheduler.current
        if lwp is None:
            raise RuntimeError("no thread is running")
        return lwp

    @property
    def here(self) -> Processor:
        """The processor of the running thread."""
        return self.current.processor

    def processor_at(self, address: int) -> Processor | None:
        """Return the processor whose struct cpu_info this is."""
        return next((each for each in self.processors if each.address == address), None)

    def subject(self, cls: type[S]) -> S:
        """Return the one object of a subject class; makes one of ON_DEMAND at the first request."""
        found: S | None = self._subjects.get(cls)
        return self._make(cls) if found is None else found

    def _make(self, cls: type[S]) -> S:
        if subject_name(cls) not in ON_DEMAND:
            raise KeyError(f"{cls.__name__} is requested before its turn in the boot order")
        made = cls(self)
        known: dict[type[Subject], Any] = {**self._subjects, cls: made}
        self._subjects = {each: known[each] for each in sorted(known, key=boot_order)}
        self.dispatch.add_subject(made)
        return made

    @property
    def symbols(self) -> dict[str, int]:
        """Addresses of the kernel's symbols that already have one."""
        return self.dispatch.addresses

    def panic(self, rule: str, message: str, place: Place | None = None) -> NoReturn:
        """Stop: the kernel panics, or its state is damaged.

        ``rule`` is an id of vmtsim.kernel.rule_table, which names the kernels that detect it;
        ``place`` is the responsible code: the caller of the kernel, unless given.
        """
        raise self._broken(rule, message, place or self._caller())

    def violation(self, rule: str, message: str, place: Place | None = None) -> None:
        """Record a broken rule after which the model can continue; stop if this kernel panics.

        ``rule`` and ``place`` as in ``panic``.  A rule that damages no kernel is a warning in the
        end.
        """
        place = place or self._caller()
        broken = self._broken(rule, message, place)
        if broken.consequence is Consequence.PANIC:
            raise broken
        self.violations.append(Violation(rule, message, self.clock.now, place))
        self.trace.emit("violation", rule=rule, text=message, side="guest")

    def _broken(self, rule: str, message: str, place: Place | None) -> KernelPanic:
        """Return the exception that stops the run if ``rule`` is broken."""
        consequence = by_id(rule).consequence(self.options.checks)
        return KernelPanic(rule, message, consequence, place)

    # -- code locations ------------------------------------------------------------------------

    @property
    def call_site(self) -> int:
        """The address in the guest to which the model that runs will return; 0 if none.

        A negative one is a jump's, as in ``site_of``.
        """
        lwp = self.scheduler.current
        if lwp is None:
            return 0
        frames = lwp.frames
        if frames and frames[-1].in_guest:  # most often
            site = self.cpu.caller()
            if site != self._stubs:
                return site
        return self.site_of(lwp)

    def site_of(self, lwp: Lwp) -> int:
        """Return the address in the guest to which the model that a thread is in will return.

        If a function ended with a jump to the model, no return address is left: the address,
        negated, is that of the function that the kernel had called.
        """
        if not lwp.frames:
            return 0
        frame = lwp.frames[-1]
        if frame.in_guest:
            site = self.cpu.caller()
        elif frame.entry is not None:
            site = self.cpu.caller_of(frame.position)
        else:
            return 0
        if site != self.cpu.layout.stubs:
            return site
        return next((-each.callee for each in reversed(lwp.frames) if each.in_guest), 0)

    def where(self) -> Place:
        """Return the guest code that called the model that runs."""
        return self._caller() or Place(f"the kernel ({self.current.name})")

    def _caller(self) -> Place | None:
        site = self.call_site
        return self.location(site) if site else None

    def location(self, address: int, *, call: bool = True) -> Place:
        """Return the code at an address, with file and line if known.

        ``call``: the address is that after a call (or the start of a function), not that of an
        instruction which did something.  A negative one is a jump's, as in ``call_site``.
        """
        if not address:
            return Place("the kernel")
        if address < 0:
            found = self.location(-address)
            return replace(found, text=f"{found} or code that it jumps to")
        entry = self.dispatch.function_at(address)
        if entry is not None:
            return Place(entry.name)
        return self.locate(address, call=call) or Place(f"{address:#x}")

    def describe(self, address: int) -> str:
        """Describe the object at an address in guest memory."""
        return self.memory.owner(address).text

    def check_unload(self, module: str) -> None:
        """Make every subject check for objects that a module left."""
        for subject in self._subjects.values():
            subject.check_unload(module)

    # -- running -----------------------------------------------------------------------------

    def spawn(self, name: str, kind: str, main: Model, processor: Processor | None = None) -> Lwp:
        """Start a thread: 'kthread', 'user' or 'softint'; ``processor``: it starts there."""
        return self.scheduler.spawn(name, kind, main, processor)

    def run(self, done: Callable[[], bool], until: int | None = None) -> bool:
        """Run until ``done()`` is true (True) or virtual time ``until`` has come (False).

        Raises KernelPanic, also for faults of guest code; Unmodelled; Stalled; Halted.
        """
        try:
            with collector_paused():
                return self.scheduler.run(done, NEVER if until is None else until)
        except CpuFault as fault:
            raise self._fault(fault) from fault
        except CpuStuck as stuck:
            raise Spinning(
                f"{self.location(stuck.pc, call=False)} loops forever without a kernel call"
            ) from stuck

    def run_for(self, nanoseconds: int) -> None:
        """Advance virtual time."""
        self.run(lambda: False, self.clock.now + nanoseconds)

    def run_process(self, name: str, main: Model) -> Any:
        """Run ``main`` as a user process until it has exited; returns its result."""
        lwp = self.spawn(name, "user", main)
        self.run(lambda: lwp.state == "gone")
        return lwp.result

    def _thread_gone(self, lwp: Lwp) -> None:
        self.dispatch.take_stack(lwp)

    def _fault(self, fault: CpuFault) -> Exception:
        """Turn a processor exception into its meaning."""
        missing = self.dispatch.missing_at(fault.address) if fault.access else None
        in_model = fault.pc == 0
        self.faulted_at = fault.pc
        where = self.where() if in_model else self.location(fault.pc, call=False)
        if missing is not None:
            use = "calls" if fault.access and fault.access.value == "fetch" else "uses"
            if use == "calls":
                where = self.where()
            return Unmodelled(
                f"{where} {use} {missing}, a kernel symbol that vmtsim does not model"
            )
        if fault.access is None:
            return self._broken("trap", f"{fault.reason} in {where}", where)
        owner = self.memory.owner(fault.address)
        size = f"{fault.size} bytes" if fault.size > 1 else "1 byte"
        access = {
            "read": f"read of {size} at",
            "write": f"write of {size} to",
            "fetch": "jump to",
        }[fault.access.value]
        reason = "which does not allow it" if fault.mapped else "which is not mapped"
        who, what = ("a kernel function's ", "a call from ") if in_model else ("", "")
        return self._broken(
            _rule(fault, owner),
            f"page fault: {who}{access} {fault.address:#x} ({owner}), {reason}, in {what}{where}",
            where,
        )


def _rule(fault: CpuFault, owner: Owner) -> str:
    """Return the rule that a page fault breaks, by the owner of the memory."""
    if fault.mapped and fault.access is not None and fault.access.value == "write":
        return "read-only-memory"
    if owner.gone:
        return "use-after-free"
    if owner.side is not Side.INSIDE:
        return "out-of-bounds"
    return {
        Kind.GUARD: "stack-overflow",
        Kind.NULL: "null-pointer",
        Kind.USER: "user-pointer",
    }.get(owner.kind, "page-fault")
