"""The interface of a processor, independent of the emulator."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmtsim.core.frame import Frame, GuestMemory

# Distance between two import stubs, in bytes.
STUB_SIZE = 128
# The stub to which a function called from a model returns.
EXIT_SLOT = 0
# The result of ``resume`` when ``preempt`` stopped the guest between two stubs.
PREEMPTED = -1

READ, WRITE, EXECUTE = 1, 2, 4  # page protections, to be added up
PAGE = 4096


class Access(enum.Enum):
    """The kind of memory access that the guest tried."""

    READ = "read"
    WRITE = "write"
    FETCH = "fetch"


class CpuFault(Exception):  # noqa: N818 - the term of processors
    """The guest's code raised an exception: a page fault, an invalid instruction, a trap.

    ``pc`` is the address of the instruction.  For memory, ``access`` and ``address`` describe the
    access, and ``mapped`` is whether the page is mapped but forbids it.
    """

    def __init__(
        self,
        reason: str,
        pc: int,
        *,
        access: Access | None = None,
        address: int = 0,
        size: int = 0,
        mapped: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pc = pc
        self.access = access
        self.address = address
        self.size = size
        self.mapped = mapped


class CpuStuck(Exception):  # noqa: N818 - a state, like the fault above
    """``interrupt`` stopped code that made no kernel call for too long; ``pc`` is where."""

    def __init__(self, pc: int) -> None:
        super().__init__(f"stopped at {pc:#x}")
        self.pc = pc


class Backdoor(Protocol):
    """The hypervisor that the processor's traps call."""

    def low_bandwidth(self, frame: Frame) -> None:
        """Serve one call on the low-bandwidth port; changes ``frame`` in place."""

    def high_bandwidth(self, frame: Frame, memory: GuestMemory, *, to_host: bool) -> None:
        """Serve one string transfer on the high-bandwidth port."""

    def hypercall(self, frame: Frame, memory: GuestMemory) -> None:
        """Serve VMCALL or VMMCALL: flags in place of the port."""

    def other_port(self, port: int, size: int, value: int | None) -> int:
        """Serve I/O on any other port (``value`` None: a read); returns the value that is read."""

    def cpuid(self, leaf: int) -> tuple[int, int, int, int] | None:
        """Return EAX, EBX, ECX, EDX of a leaf that the hypervisor defines, or None."""


@dataclass(frozen=True)
class Layout:
    """The layout of the kernel's address space of a machine (all page-aligned).

    The addresses are like those of a NetBSD kernel of that machine in what a module sees: modules
    are within the reach of 32-bit relocations (amd64) or of a branch (aarch64) from the kernel.
    """

    stubs: int  # import stubs, the kernel's text: 128 KiB, a multiple of that
    missing: int  # never mapped: symbols that are known but not modelled
    data: int  # the kernel's data, up to the modules
    modules: int  # module_map
    modules_end: int
    heap: int  # kmem
    heap_end: int
    stacks: int
    stacks_end: int
    user: int  # user addresses; never mapped, so that a module cannot touch them directly

    @property
    def heap_middle(self) -> int:
        """The address from which the heap has the objects that the allocator does not clear."""
        return (self.heap + self.heap_end) // 2 & -PAGE

    def framed(self) -> tuple[range, ...]:
        """Return the addresses of data, all of which is read and written, and never run."""
        middle = self.heap_middle
        return (
            range(self.heap, middle),
            range(middle, self.heap_end),
            range(self.stacks, self.stacks_end),
            range(self.data, self.modules),
        )


class Cpu(Protocol):
    """One processor.  Addresses are integers below 2**(8*pointer_size)."""

    machine: str
    pointer_size: int
    layout: Layout
    # Called with the address of the instruction before each hypervisor trap is served.
    on_trap: Callable[[int], None]

    # -- memory ------------------------------------------------------------------------------
    def map(self, address: int, size: int, protection: int) -> None:
        """Map pages (``size`` is a multiple of 4096), filled with zeroes."""

    def unmap(self, address: int, size: int) -> None:
        """Unmap pages."""

    def protect(self, address: int, size: int, protection: int) -> None:
        """Change the protection of pages."""

    def read(self, address: int, size: int) -> bytes:
        """Return memory, independent of its protection; CpuFault if it is not mapped."""

    def read_word(self, address: int) -> int:
        """Return the pointer-sized word at ``address``; CpuFault if not mapped."""

    def write(self, address: int, data: bytes) -> None:
        """Change memory, independent of its protection; CpuFault if it is not mapped."""

    def checked_write(self, address: int, data: bytes) -> None:
        """Change memory as the guest's own code could: CpuFault on read-only pages too."""

    def forget_code(self, start: int, end: int) -> None:
        """Notify the processor that code in this range has changed."""

    # -- instructions that a model serves ----------------------------------------------------
    # Called instead of an instruction that ``stop_at`` named, with its address.
    on_instruction: Callable[[int], None]

    def stop_at(self, address: int, size: int) -> None:
        """Call ``on_instruction`` instead of the instruction of ``size`` bytes at ``address``."""

    def set_cpuid(self, leaves: Mapping[int, tuple[int, int, int, int]]) -> None:
        """Let CPUID return EAX to EDX for these leaves, unless the hypervisor defines them."""

    def register(self, name: str) -> int:
        """Return a register by its name ("eax", "x0", "eflags", "pstate")."""

    def put_register(self, name: str, value: int) -> None:
        """Store into a register, as an instruction with that operand does."""

    # -- running -----------------------------------------------------------------------------
    def resume(self, instructions: int = 0) -> int:
        """Run until a stub is called: returns its slot; PREEMPTED; or raises CpuFault.

        ``instructions``, unless 0, is the number of guest instructions after which it stops
        (PREEMPTED).  It raises the exceptions of the backdoor and of ``on_trap``.
        """

    counted: bool
    """Whether the last PREEMPTED came from the count, not from ``preempt`` or an instruction that
    ``on_instruction`` served."""

    def preempt(self) -> None:
        """Stop soon after the trap that is being served; ``resume`` then returns PREEMPTED."""

    def interrupt(self) -> None:
        """Stop from another thread of the simulator: for guests that spin forever."""

    def begin_call(self, function: int, arguments: Sequence[int]) -> None:
        """Prepare a call of guest code, on the current stack, that returns to EXIT_SLOT.

        ``arguments`` are words; a 64-bit argument of a 32-bit machine is given as two.
        """

    def start_on_stack(self, top: int) -> None:
        """Use an empty stack that ends at ``top``."""

    # -- the call that stopped ``resume`` ------------------------------------------------------
    # The words of the call that are in registers, in the order of ``argument``, and the first
    # word of its result on machines where a result is one word; otherwise none.
    words: memoryview
    results: memoryview

    def argument(self, index: int) -> int:
        """Return the word in place ``index`` of the call, as the C calling convention counts."""

    def caller(self) -> int:
        """Return the address to which the stub will return that the guest has called."""

    def caller_of(self, position: tuple[int, ...]) -> int:
        """Return the address to which the stub will return that stopped at ``position``."""

    def finish_call(self, result: int) -> None:
        """Set the result of the call; at the next ``resume`` the guest continues after the call."""

    @property
    def result(self) -> int:
        """The 64-bit result of the function that just returned to EXIT_SLOT."""

    def position(self) -> tuple[int, ...]:
        """Return the context of the stop: program counter, stack pointer, needed registers."""

    def set_position(self, position: tuple[int, ...]) -> None:
        """Go back to a position returned before."""

    def preserved(self) -> tuple[int, ...]:
        """Return the registers that a C function must preserve."""

    preserved_names: tuple[str, ...]

    def return_addresses(self, limit: int) -> list[int]:
        """Return callers' addresses by the chain of frame pointers, as far as it is valid."""

    # -- threads -----------------------------------------------------------------------------
    def save(self, context: object | None) -> object:
        """Return the state of all registers; ``context`` is an old one to reuse."""

    def restore(self, context: object) -> None:
        """Load the state that ``save`` returned."""

    def set_thread(self, lwp: int, cpu_info: int) -> None:
        """Set the running lwp, which ``curlwp`` reads from registers."""

    # -- watching ----------------------------------------------------------------------------
    def watch_accesses(
        self, seen: Callable[[bool, int, int, bool], None], start: int, end: int
    ) -> None:
        """Call ``seen(write, address, size, host)`` for each access to a range.

        ``host``: the hypervisor made it, not the guest's code.  ``read`` and ``write`` of this
        interface are not watched, and no range contains a stack: a stub loads its return address
        there, which may or may not be seen.  Ranges may overlap.
        """

    def instruction(self) -> int:
        """Return the address of the instruction that runs, inside of a callback."""

    def watch_blocks(self, seen: Callable[[int, int], None], start: int, end: int) -> None:
        """Call ``seen(address, size)`` when a block of code first runs."""
