"""The code that the three machines share to run on Unicorn.

A kernel call is one call into Unicorn.  A stub puts its address into a scratch register and jumps
to the gate, code that all stubs share.  The gate stores the registers of the call into a page that
this process shares with the guest, the mailbox, and stops.  The guest continues in the stub, which
jumps to the gate's second part: it loads the result from the mailbox and returns.  No register is
read or written through the library.  If the guest stops elsewhere, registers are read in one batch
into preallocated arrays.

Unicorn calls a slow function for each access of code that it translated while a hook watched
memory.  The gate makes most of a kernel call's accesses, and none that is watched.  So it keeps the
translation of its first use.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import TYPE_CHECKING, Any

from vmtsim.core.frame import GuestFault
from vmtsim.cpu.interface import (
    PAGE,
    PREEMPTED,
    READ,
    STUB_SIZE,
    WRITE,
    Access,
    Backdoor,
    CpuFault,
    CpuStuck,
    Layout,
)
from vmtsim.cpu.library import (
    EDGE,
    INVALID_MEMORY,
    LIBRARY,
    MEMORY,
    PATH,
    TRANSLATION,
    Processor,
    pointer,
    reason,
    uc,
)
from vmtsim.cpu.pages import Pages
from vmtsim.cpu.registers import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ACCESS = {
    uc.UC_MEM_READ_UNMAPPED: (Access.READ, False),
    uc.UC_MEM_WRITE_UNMAPPED: (Access.WRITE, False),
    uc.UC_MEM_FETCH_UNMAPPED: (Access.FETCH, False),
    uc.UC_MEM_READ_PROT: (Access.READ, True),
    uc.UC_MEM_WRITE_PROT: (Access.WRITE, True),
    uc.UC_MEM_FETCH_PROT: (Access.FETCH, True),
}
_INVALID_MEMORY = (
    uc.UC_HOOK_MEM_READ_UNMAPPED
    | uc.UC_HOOK_MEM_WRITE_UNMAPPED
    | uc.UC_HOOK_MEM_FETCH_UNMAPPED
    | uc.UC_HOOK_MEM_READ_PROT
    | uc.UC_HOOK_MEM_WRITE_PROT
    | uc.UC_HOOK_MEM_FETCH_PROT
)


_STUBS = 1023  # the gate has the place of one more
_NO_SLOT = 0xFFFFFFFF  # in the mailbox: the guest has not called a stub


def open_engine(architecture: int, mode: int) -> Processor:
    """Return a Unicorn engine without a page table, which would cut addresses to 52 bits."""
    engine = Processor(architecture, mode)
    engine.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
    return engine


class Engine(Pages):
    """A Unicorn processor with stubs in place of the kernel's functions.

    A machine's subclass names its registers and defines how calls and traps look.
    """

    machine: str
    layout: Layout
    preserved_names: tuple[str, ...]
    _halt: bytes  # the instruction that stops the processor
    _stop: int  # the offset in a stub where the guest continues after the call
    _behind: int  # instructions from there to the gate's return, without the return
    # The places in the mailbox of the arguments in registers, and of the result.
    _words: slice
    _results: slice
    _nothing: bytes  # an instruction that does nothing

    def __init__(
        self,
        backdoor: Backdoor,
        engine: Processor,
        *,
        call_registers: Sequence[int],
        preserved_registers: Sequence[int],
    ) -> None:
        super().__init__(engine, self.layout.framed())
        self.backdoor = backdoor
        self.on_trap: Callable[[int], None] = lambda _pc: None
        # The mailbox: pc, sp, arguments ..., the return address and the number of the stub.
        self._mailbox = self.layout.modules - PAGE
        self.map(self._mailbox, PAGE, READ | WRITE)
        self._page = self._frames.content(self._mailbox)
        count = len(call_registers)
        words = (ctypes.c_uint64 * count).from_buffer(self._page)
        self._call = Batch(self._handle, call_registers, words)
        self._registers = self._page.cast("Q")
        self._back, self._slot = count, count + 1
        self.words = self._registers[self._words]
        self.results = self._registers[self._results if self.pointer_size == 8 else slice(0)]
        self._saved = 8 * (count + 1)  # bytes of it that belong to a thread
        self._stack = Batch(self._handle, call_registers[1:2])
        self._counter = Batch(self._handle, call_registers[:1])
        self._preserved = Batch(self._handle, preserved_registers)
        self._emu_start = LIBRARY.uc_emu_start
        # The same with converted arguments; it continues at the mailbox's pc.
        self._start = partial(
            ctypes.CDLL(PATH).uc_emu_start,
            pointer(self._handle.value),
            ctypes.c_uint64.from_buffer(self._page),
            *(ctypes.c_uint64.from_param(0) for _ in range(3)),
        )
        self._stops: dict[int, int] = {}  # address of a stop -> bytes to skip there
        self.on_instruction: Callable[[int], None] = lambda _address: None
        self._preempted = False
        self.counted = False
        self._interrupted = False
        self._error: BaseException | None = None
        self._fault: tuple[int, int, int] | None = None
        self._observers: list[tuple[int, int, Callable[[bool, int, int, bool], None]]] = []
        for place in self._frames.elsewhere():
            engine.hook(
                _INVALID_MEMORY,
                INVALID_MEMORY(self._invalid_memory),
                place.start,
                place.stop - 1,
            )
        # No address ends a run: Unicorn would look up its page after each stop.
        engine.control(uc.UC_CTL_UC_USE_EXITS, ctypes.c_int(1))
        self._word_mask = (1 << (8 * self.pointer_size)) - 1
        self._map_stubs()
        translate = self._frames.translating(self._writable)
        engine.hook(uc.UC_HOOK_TLB_FILL, TRANSLATION(translate))

    def _map_stubs(self) -> None:
        start = self.layout.stubs
        self._gate = gate = start + _STUBS * STUB_SIZE
        enter, leave = self._gates(self._mailbox)
        self._halted = halted = gate + len(enter)
        stubs = b"".join(
            [self._stub(at, gate - at, halted - at) for at in range(start, gate, STUB_SIZE)]
        )
        code = stubs + enter + leave
        self._uc.mem_map(start, -(-len(code) // PAGE) * PAGE, uc.UC_PROT_READ | uc.UC_PROT_EXEC)
        self._uc.mem_write(start, code)

    @staticmethod
    def _stub(address: int, gate: int, halted: int) -> bytes:
        """Return the STUB_SIZE bytes of the stub at ``address``.

        It begins with the jump to the gate, with the address where the guest continues in a
        scratch register.  There, at ``_stop``, is the jump to the gate's second part.  ``gate``
        and ``halted`` are the distances of both parts from the stub.
        """
        raise NotImplementedError

    @staticmethod
    def _gates(mailbox: int) -> tuple[bytes, bytes]:
        """Return the two parts of the gate, at most STUB_SIZE bytes together.

        The first stores pc, sp, arguments, return address and the number of the stub into the
        mailbox, in the order of ``call_registers``, the number last, and stops.  The pc is the
        address in the scratch register, and its bits from 7 to 16 are the number.  The second part
        loads the result and returns.
        """
        raise NotImplementedError

    # -- running -----------------------------------------------------------------------------

    def _invalid_memory(
        self, _uc: Any, access: int, address: int, size: int, _value: int, _data: Any
    ) -> bool:
        address = self._frames.virtual(address) & self._word_mask
        if access == uc.UC_MEM_FETCH_UNMAPPED and self._frames.has(address):
            access = uc.UC_MEM_FETCH_PROT
        self._fault = (access, address, size)
        return False

    def resume(self, instructions: int = 0) -> int:
        """Run until a stub is called; see ``Cpu.resume``."""
        registers, slot_at = self._registers, self._slot
        registers[slot_at] = _NO_SLOT
        if instructions:
            return self._resume_counted(instructions)
        error = self._start()
        slot = registers[slot_at]
        # A hook that raised, or preempts, stops the processor before the block of the next stub.
        if slot != _NO_SLOT and not error:
            return slot
        return self._stopped(error)

    def _resume_counted(self, instructions: int) -> int:
        """Stop after this many instructions of the guest; the stubs' instructions do not count."""
        self._uc.ctl_flush_tb()  # translated code does not count
        registers, start, halted = self._registers, self.layout.stubs, self._halted
        if start <= registers[0] < self._gate and registers[0] % STUB_SIZE == self._stop:
            instructions += self._behind
        error = self._emu_start(self._handle, registers[0], 0, 0, instructions)
        stopped_at = self._counter.load()[0]
        if not error and self._error is None and start <= stopped_at <= halted:
            if self._gate <= stopped_at < halted or 0 < stopped_at % STUB_SIZE < self._stop:
                # In the middle of a stub or of the gate: the call is made.
                registers[0] = stopped_at
                error = self._start()
                registers[0] = start + registers[self._slot] * STUB_SIZE + self._stop
                stopped_at = halted
            if stopped_at == halted and not error:
                return registers[self._slot]
        return self._stopped(error, instructions)

    def _stopped(self, error: int, instructions: int = 0) -> int:
        """Handle a stop that is not at a stub: serve an instruction and continue, or raise."""
        registers, slot_at = self._registers, self._slot
        preempted, self._preempted = self._preempted, False
        while True:
            self._call.read()
            registers[self._back] = self._link()
            if self._error is not None:
                failed, self._error = self._error, None
                raise self._from_hook(failed)
            if error:
                raise self._from_error(error)
            stopped_at = registers[0] - len(self._halt)
            size = self._stops.get(stopped_at)
            if size is None:
                break
            self.on_instruction(stopped_at)
            registers[0] = stopped_at + size
            if preempted or self._preempted or instructions:
                self._preempted = self.counted = False
                return PREEMPTED
            error = self._start()
            if registers[slot_at] != _NO_SLOT and not error:
                return registers[slot_at]
            preempted, self._preempted = self._preempted, False
        if self._interrupted:
            self._interrupted = False
            raise CpuStuck(registers[0])
        if preempted or instructions:
            self.counted = not preempted
            return PREEMPTED
        raise CpuFault("the processor was halted", registers[0])

    def stop_at(self, address: int, size: int) -> None:
        """Serve the instruction at ``address`` by ``on_instruction``; see ``Cpu.stop_at``."""
        stop = self._halt
        self.write(address, stop + self._nothing * ((size - len(stop)) // len(self._nothing)))
        self._stops[address] = size
        self.forget_code(address, address + size)

    def _failed(self, error: BaseException) -> int:
        """Let ``resume`` raise a hook's exception; return 0 to the engine."""
        if self._error is None:
            self._error = error
        self._uc.emu_stop()
        return 0

    def guarded(self, hook: Callable[..., int]) -> Callable[..., int]:
        """Wrap a hook: ``resume`` raises its exceptions, and the engine gets 0."""

        def wrapper(*arguments: Any) -> int:
            try:
                return hook(*arguments)
            except BaseException as error:
                return self._failed(error)

        return wrapper

    def _from_hook(self, error: BaseException) -> BaseException:
        if isinstance(error, GuestFault):
            access = Access.WRITE if error.write else Access.READ
            return CpuFault(
                "page fault of the hypervisor's copy",
                self._registers[0],
                access=access,
                address=error.address,
                size=error.size,
            )
        return error

    def _from_error(self, error: int) -> CpuFault:
        pc = int(self._registers[0])
        fault, self._fault = self._fault, None
        if fault is not None and error in {
            uc.UC_ERR_READ_UNMAPPED,
            uc.UC_ERR_WRITE_UNMAPPED,
            uc.UC_ERR_FETCH_UNMAPPED,
            uc.UC_ERR_READ_PROT,
            uc.UC_ERR_WRITE_PROT,
            uc.UC_ERR_FETCH_PROT,
        }:
            access, mapped = _ACCESS[fault[0]]
            return CpuFault(
                "page fault", pc, access=access, address=fault[1], size=fault[2], mapped=mapped
            )
        if error == uc.UC_ERR_INSN_INVALID:
            return CpuFault("invalid instruction", pc)
        return CpuFault(f"exception ({reason(error)})", pc)

    def preempt(self) -> None:
        """Stop at the end of the block in which the trap is."""
        self._preempted = True
        self._uc.emu_stop()

    def interrupt(self) -> None:
        """Stop from another thread of the simulator."""
        self._interrupted = True
        self._uc.emu_stop()

    # -- calls -------------------------------------------------------------------------------

    def position(self) -> tuple[int, ...]:
        """Return pc, sp, the return address (0: not known) and result at the last stop."""
        registers = self._registers
        return registers[0], registers[1], registers[self._back], *registers[self._results]

    def set_position(self, position: tuple[int, ...]) -> None:
        """Go back to a position returned before."""
        registers = self._registers
        moved = registers[1] != position[1]
        registers[0], registers[1], registers[self._back], *result = position
        for index, word in enumerate(result, self._results.start):
            registers[index] = word
        if moved:
            self._stack.store(position[1])

    def _link(self) -> int:
        """Return the return address of a function that has just begun, where a register has it."""
        return 0

    def caller(self) -> int:
        """Return the address to which the stub will return that the guest has called."""
        return self._registers[self._back] or self.read_word(self._registers[1])

    def caller_of(self, position: tuple[int, ...]) -> int:
        """Return the address to which the stub will return that stopped at ``position``."""
        return position[2] or self.read_word(position[1])

    def preserved(self) -> tuple[int, ...]:
        """Return the registers that a C function must preserve."""
        return tuple(self._preserved.load())

    def _chain(self, frame: int, limit: int) -> list[int]:
        """Follow the frame pointers from ``frame``: each points to (previous, return address)."""
        stacks = range(self.layout.stacks, self.layout.stacks_end)
        if frame not in stacks:
            frame = self._lost_frame()
        found: list[int] = []
        while len(found) < limit and frame and frame % self.pointer_size == 0:
            try:
                previous = self.read_word(frame)
                found.append(self.read_word(frame + self.pointer_size))
            except CpuFault:
                break
            if previous <= frame:
                break
            frame = previous
        return found

    def _lost_frame(self) -> int:
        """Return the innermost frame while the frame pointer is used for something else.

        A trap may use EBP for a cookie.  The frame is the first pair on the stack that consists of
        a pointer up the stack and a return address into a module.
        """
        size, layout = self.pointer_size, self.layout
        stack = self._stack.load()[0]
        for place in range(stack, stack + 64 * size, size):
            try:
                previous, back = self.read_word(place), self.read_word(place + size)
            except CpuFault:
                break
            if place < previous < place + 0x4000 and layout.modules <= back < layout.modules_end:
                return place
        return 0

    # -- threads -----------------------------------------------------------------------------

    def save(self, context: object | None) -> object:
        """Return the state of all registers; ``context`` is an old one to reuse."""
        state: Any = context
        if state is None:
            state = [self._uc.context_save(), b""]
        else:
            self._uc.context_update(state[0])
        state[1] = bytes(self._page[: self._saved])
        return state

    def restore(self, context: object) -> None:
        """Load the state that ``save`` returned."""
        state: Any = context
        self._uc.context_restore(state[0])
        self._page[: self._saved] = state[1]

    # -- watching ----------------------------------------------------------------------------

    def watch_accesses(
        self, seen: Callable[[bool, int, int, bool], None], start: int, end: int
    ) -> None:
        """Call ``seen`` for each access to a range; see ``Cpu.watch_accesses``."""
        self._observers.append((start, end, seen))
        mask, write, failed = self._word_mask, uc.UC_MEM_WRITE, self._failed
        pages = self._frames.virtual_pages

        def accessed(_uc: Any, access: int, address: int, size: int, _v: int, _d: Any) -> None:
            try:
                seen(access == write, address & mask, size, False)
            except BaseException as error:
                failed(error)

        def framed(_uc: Any, access: int, address: int, size: int, _v: int, _d: Any) -> None:
            try:
                address = pages[address & -PAGE] | address & PAGE - 1
                if start <= address < end:
                    seen(access == write, address, size, False)
            except BaseException as error:
                failed(error)

        both = uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE
        self._uc.hook(both, MEMORY(accessed), start, end - 1)
        for place in self._frames.watched(start, end):
            self._uc.hook(both, MEMORY(framed), place.start, place.stop - 1)
        # Code that was translated before does not call the hook: all but the stubs and the gate.
        for begin, last, protection in self._uc.mem_regions():
            if protection & uc.UC_PROT_EXEC and begin != self.layout.stubs:
                self._uc.ctl_remove_cache(begin, last + 1)

    def by_host(self, write: bool, address: int, size: int) -> None:
        """Report an access of the hypervisor to the watchers."""
        for start, end, seen in self._observers:
            if start <= address < end:
                seen(write, address, size, True)

    def instruction(self) -> int:
        """Return the program counter as a callback sees it."""
        return self._counter.load()[0]

    def watch_blocks(self, seen: Callable[[int, int], None], start: int, end: int) -> None:
        """Call ``seen(address, size)`` when a block of code is first translated."""

        def edge(_uc: Any, current: Any, previous: Any, _data: Any) -> int:
            for block in (current.contents, previous.contents):
                if start <= block.pc < end:
                    seen(block.pc, block.size)
            return 0

        self._uc.hook(uc.UC_HOOK_EDGE_GENERATED, EDGE(self.guarded(edge)))


class HostView:
    """The guest's memory as the hypervisor accesses it: through the guest's page table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, address: int, size: int, /) -> bytes:
        """Return guest memory; GuestFault where none is mapped."""
        content = self.peek(address, size)
        self._engine.by_host(False, address, size)
        return content

    def peek(self, address: int, size: int) -> bytes:
        """Return guest memory that the hypervisor does not use."""
        try:
            return self._engine.read(address, size)
        except CpuFault as fault:
            raise GuestFault(fault.address, size, write=False) from None

    def write(self, address: int, data: bytes, /) -> None:
        """Change guest memory; GuestFault where the guest itself could not."""
        try:
            self._engine.checked_write(address, data)
        except CpuFault as fault:
            raise GuestFault(fault.address, len(data), write=True) from None
        self._engine.by_host(True, address, len(data))
