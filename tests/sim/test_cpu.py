"""The processor room: calls, traps, faults and threads, on bare code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.cpu import EXIT_SLOT, MACHINES, PREEMPTED, STUB_SIZE, Access, Cpu, CpuFault, make_cpu

if TYPE_CHECKING:
    from vmtsim.core.frame import Frame, GuestMemory

RW, RX = 3, 5


class Backdoor:
    """Records the calls that reach it."""

    def __init__(self) -> None:
        self.low: list[tuple[int, ...]] = []
        self.sent = b""
        self.give = b""
        self.others: list[tuple[int, int, int | None]] = []

    def low_bandwidth(self, frame: Frame) -> None:
        self.low.append(frame.values())
        frame.arg0, frame.arg1, frame.arg2 = 6, 0x564D5868, 2
        frame.arg3, frame.arg4, frame.arg5 = 0xD, 0x51, 0xD1

    def high_bandwidth(self, frame: Frame, memory: GuestMemory, *, to_host: bool) -> None:
        if to_host:
            self.sent = memory.read(frame.arg4, frame.arg2)
        else:
            memory.write(frame.arg5, self.give[: frame.arg2])
        frame.arg1 = 0x10000

    def hypercall(self, frame: Frame, memory: GuestMemory) -> None:  # noqa: ARG002
        self.low_bandwidth(frame)

    def other_port(self, port: int, size: int, value: int | None) -> int:
        self.others.append((port, size, value))
        return (1 << (8 * size)) - 1

    def cpuid(self, leaf: int) -> tuple[int, int, int, int] | None:
        if leaf == 1:
            return 0, 0, 0x80000000, 0
        return (0x40000010, 1, 2, 3) if leaf == 0x40000000 else None


def _cpu(code: bytes, machine: str = "amd64") -> tuple[Cpu, Backdoor]:
    backdoor = Backdoor()
    cpu = make_cpu(machine, backdoor)
    layout = cpu.layout
    cpu.map(layout.modules, 4096, RX)
    cpu.map(layout.stacks, 8192, RW)
    cpu.map(layout.data, 8192, RW)
    cpu.write(layout.modules, code)
    cpu.start_on_stack(layout.stacks + 8192)
    return cpu, backdoor


def _relative(machine: str, place: int, target: int) -> bytes:
    """Return a call instruction of five or four bytes."""
    if machine == "aarch64":
        return (0x94000000 | ((target - place) >> 2) & 0x3FFFFFF).to_bytes(4, "little")
    return b"\xe8" + ((target - place - 5) & 0xFFFFFFFF).to_bytes(4, "little")


@pytest.mark.parametrize("machine", MACHINES)
def test_memory_is_zero_when_it_is_mapped_again(machine: str) -> None:
    cpu, _ = _cpu(b"", machine)
    first, second = cpu.layout.heap, cpu.layout.heap + 0x10000
    cpu.map(first, 8192, RW)
    cpu.write(first, b"\xee" * 8192)
    cpu.unmap(first, 8192)
    with pytest.raises(CpuFault):
        cpu.read(first, 1)
    cpu.map(second, 8192, RW)
    assert cpu.read(second, 8192) == bytes(8192)
    cpu.write(second, b"new")
    with pytest.raises(CpuFault):
        cpu.read(first, 1)
    cpu.map(first, 8192, RW)
    assert cpu.read(first, 8192) == bytes(8192)
    assert cpu.read(second, 3) == b"new"


@pytest.mark.parametrize("machine", MACHINES)
def test_range_may_lie_in_several_pages(machine: str) -> None:
    cpu, _ = _cpu(b"", machine)
    start = cpu.layout.heap
    for number, protection in enumerate((RW, RW, 1)):
        cpu.map(start + number * 4096, 4096, protection)
    data = bytes(range(1, 251)) * 20
    cpu.checked_write(start + 4000, data[:4192])
    assert cpu.read(start + 3999, 4194) == b"\0" + data[:4192] + b"\0"
    cpu.write(start + 8190, b"abcd")
    assert cpu.read(start + 4095, 4100) == data[95:4190] + b"abcd\0"
    with pytest.raises(CpuFault) as caught:
        cpu.checked_write(start + 8000, data[:300])
    assert (caught.value.access, caught.value.address) == (Access.WRITE, start + 8192)
    assert cpu.read(start + 8000, 194) == data[4000:4190] + b"abcd"
    for access in (lambda: cpu.read(start + 4000, 9000), lambda: cpu.write(start + 4000, data * 2)):
        with pytest.raises(CpuFault) as caught:
            access()
        assert caught.value.address == start + 12288
    assert cpu.read(start + 4000, 100) == data[:100]


@pytest.mark.parametrize("machine", MACHINES)
def test_stub_call_stops_with_slot_and_continues_with_result(machine: str) -> None:
    cpu, _ = _cpu(b"", machine)
    stub = cpu.layout.stubs + 3 * STUB_SIZE
    if machine == "aarch64":
        start = bytes.fromhex("fd7bbfa9")  # stp x29, x30, [sp, #-16]!
        end = bytes.fromhex("fd7bc1a8c0035fd6")  # ldp; ret
    else:
        start, end = b"\x90", b"\xc3"
    place = cpu.layout.modules + len(start)
    cpu.write(cpu.layout.modules, start + _relative(machine, place, stub) + end)
    cpu.begin_call(cpu.layout.modules, [])
    assert cpu.resume() == 3
    assert cpu.caller_of(cpu.position()) == place + len(_relative(machine, place, stub))
    cpu.finish_call(0x1234)
    assert cpu.resume() == EXIT_SLOT
    assert cpu.result == 0x1234


@pytest.mark.parametrize("machine", MACHINES)
def test_instruction_count_excludes_those_of_stubs(machine: str) -> None:
    nothing = b"\x1f\x20\x03\xd5" if machine == "aarch64" else b"\x90"
    for count in range(1, 30):
        cpu, _ = _cpu(b"", machine)
        if machine == "aarch64":
            start, end = bytes.fromhex("fd7bbfa9"), bytes.fromhex("fd7bc1a8c0035fd6")
        else:
            start, end = nothing, b"\xc3"
        code, modules = start, cpu.layout.modules
        for slot in (3, 4):
            stub = cpu.layout.stubs + slot * STUB_SIZE
            code += _relative(machine, modules + len(code), stub) + 3 * nothing
        cpu.write(modules, code + end)
        cpu.begin_call(modules, [])
        assert cpu.resume(1) == PREEMPTED  # after the first instruction
        found = cpu.resume(count)
        # The call, and then the instruction of the stub that stops the processor.
        assert found == (PREEMPTED if count == 1 else 3), count
        if found == PREEMPTED:
            assert cpu.resume() == 3
        cpu.finish_call(0x77)
        # The return, three instructions, the call, and the stop in the stub.
        found = cpu.resume(count)
        assert found == (PREEMPTED if count <= 5 else 4), count
        if found == PREEMPTED:
            assert cpu.resume() == 4
        assert cpu.caller() == modules + len(code) - 3 * len(nothing)
        cpu.finish_call(0x1234)
        assert cpu.resume() == EXIT_SLOT
        assert cpu.result == 0x1234


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_come_from_registers_and_stack(machine: str) -> None:
    cpu, _ = _cpu(b"", machine)
    # The stub itself is called: it sees the arguments of begin_call.
    cpu.begin_call(cpu.layout.stubs + 5 * STUB_SIZE, list(range(100, 112)))
    assert cpu.resume() == 5
    assert [cpu.argument(index) for index in range(12)] == list(range(100, 112))


def test_i386_result_is_64_bits_wide() -> None:
    cpu, _ = _cpu(bytes.fromhex("b844332211bad0c0b0a0c3"), "i386")  # mov eax; mov edx; ret
    cpu.begin_call(cpu.layout.modules, [])
    assert cpu.resume() == EXIT_SLOT
    assert cpu.result == 0xA0B0C0D0_11223344


@pytest.mark.parametrize(
    ("code", "access", "mapped"),
    [
        ("8a042500100000", Access.READ, False),  # mov al, [0x1000]
        ("88042500100000", Access.WRITE, False),
        ("88042500000082", Access.WRITE, True),  # mov [0xffffffff82000000], al: its own text
    ],
)
def test_fault_has_address_access_and_instruction(code: str, access: Access, mapped: bool) -> None:
    cpu, _ = _cpu(b"\x90\x90" + bytes.fromhex(code))
    cpu.begin_call(cpu.layout.modules, [])
    with pytest.raises(CpuFault) as caught:
        cpu.resume()
    fault = caught.value
    assert fault.pc == cpu.layout.modules + 2
    assert (fault.access, fault.mapped) == (access, mapped)
    assert fault.address == (cpu.layout.modules if mapped else 0x1000)


def test_jump_into_data_is_fetch_fault() -> None:
    cpu, _ = _cpu(b"")
    cpu.begin_call(cpu.layout.data, [])
    with pytest.raises(CpuFault) as caught:
        cpu.resume()
    assert caught.value.access is Access.FETCH


def test_invalid_instruction_is_no_hypercall() -> None:
    cpu, backdoor = _cpu(b"\x0f\x0b")  # ud2
    cpu.begin_call(cpu.layout.modules, [])
    with pytest.raises(CpuFault, match=r"exception|invalid"):
        cpu.resume()
    assert backdoor.low == []


@pytest.mark.parametrize("machine", ["amd64", "i386"])
@pytest.mark.parametrize("trap", ["ed", "0f01c1", "0f01d9"], ids=["in", "vmcall", "vmmcall"])
def test_trap_passes_registers_both_ways(machine: str, trap: str) -> None:
    # mov eax, 1; mov ebx, 2; mov ecx, 10; mov edx, 0x5658; mov esi, 5; mov edi, 7; TRAP
    code = "b801000000bb02000000b90a000000ba58560000be05000000bf07000000"
    # then add them: add eax, ebx ... edi; ret
    after = "01d801c801d001f001f8c3"
    cpu, backdoor = _cpu(bytes.fromhex(code + trap + after), machine)
    cpu.begin_call(cpu.layout.modules, [])
    assert cpu.resume() == EXIT_SLOT
    (seen,) = backdoor.low
    assert seen[:6] == (1, 2, 10, 0x5658, 5, 7)
    expected = 6 + 0x564D5868 + 2 + 0xD + 0x51 + 0xD1
    assert cpu.result & 0xFFFFFFFF == expected


def test_aarch64_trap_passes_registers_both_ways() -> None:
    words = [
        0xD2800020,  # mov x0, #1
        0xD2800041,  # mov x1, #2
        0xD2800142,  # mov x2, #10
        0xD28ACB03,  # mov x3, #0x5658
        0xD28001C7,  # mov x7, #14
        0xF2C010C7,  # movk x7, #0x86, lsl #32
        0xD533011F,  # mrs xzr, mdccsr_el0
        0x8B010000,  # add x0, x0, x1
        0xD65F03C0,  # ret
    ]
    code = b"".join(word.to_bytes(4, "little") for word in words)
    cpu, backdoor = _cpu(code, "aarch64")
    cpu.begin_call(cpu.layout.modules, [])
    assert cpu.resume() == EXIT_SLOT
    assert backdoor.low[0][:4] == (1, 2, 10, 0x5658)
    assert cpu.result == 6 + 0x564D5868


def test_aarch64_read_without_magic_is_no_trap() -> None:
    code = bytes.fromhex("e7031faa") + (0xD533011F).to_bytes(4, "little")  # mov x7, xzr
    cpu, backdoor = _cpu(code + (0xD65F03C0).to_bytes(4, "little"), "aarch64")
    cpu.begin_call(cpu.layout.modules, [])
    assert cpu.resume() == EXIT_SLOT
    assert backdoor.low == []


@pytest.mark.parametrize("machine", ["amd64", "i386"])
@pytest.mark.parametrize("size", [1, 2, 4097])
def test_string_transfer_moves_all_bytes_at_once(machine: str, size: int) -> None:
    # mov ecx, size; mov edx, 0x5659; cld; rep insb/outsb; lea eax, [edi or esi]; ret
    traps: list[int] = []
    for insn, after in (("f36c", "89f8"), ("f36e", "89f0")):
        code = b"\xb9" + size.to_bytes(4, "little") + bytes.fromhex(f"ba59560000fc{insn}{after}c3")
        cpu, backdoor = _cpu(code, machine)
        data = cpu.layout.data
        backdoor.give = bytes(range(1, 256)) * 20
        prefix = b"\x48\xc7" if machine == "amd64" else b"\xc7"
        target = (data & 0xFFFFFFFF).to_bytes(4, "little")
        setup = prefix + b"\xc7" + target + prefix + b"\xc6" + target  # mov edi; mov esi
        cpu.write(cpu.layout.modules, setup + code)
        cpu.write(data, b"\xee" * 8192)
        if insn == "f36e":
            cpu.write(data, backdoor.give[:size])
        cpu.on_trap = traps.append
        cpu.begin_call(cpu.layout.modules, [])
        assert cpu.resume() == EXIT_SLOT
        assert cpu.result & 0xFFFFFFFF == (data + size) & 0xFFFFFFFF
        if insn == "f36c":
            assert cpu.read(data, size + 1) == backdoor.give[:size] + b"\xee"
        else:
            assert backdoor.sent == backdoor.give[:size]
    assert len(traps) == 2


def _string_in(target: int, cpu: Cpu) -> CpuFault:
    low = (target & 0xFFFFFFFF).to_bytes(4, "little")
    code = b"\x48\xc7\xc7" + low + bytes.fromhex("b904000000ba59560000fcf36cc3")
    cpu.write(cpu.layout.modules, code)
    cpu.begin_call(cpu.layout.modules, [])
    with pytest.raises(CpuFault) as caught:
        cpu.resume()
    return caught.value


def test_string_transfer_into_read_only_memory_faults_before_host_call() -> None:
    cpu, backdoor = _cpu(b"")
    backdoor.give = b"xxxx"
    fault = _string_in(cpu.layout.modules, cpu)
    assert (fault.access, fault.mapped, fault.address) == (Access.WRITE, True, cpu.layout.modules)


def test_string_transfer_past_memory_faults_at_first_missing_byte() -> None:
    cpu, backdoor = _cpu(b"")
    backdoor.give = b"xxxx"
    fault = _string_in(cpu.layout.data + 8190, cpu)
    assert "hypervisor" in fault.reason
    assert (fault.access, fault.address) == (Access.WRITE, cpu.layout.data + 8192)


def test_unanswered_port_reads_all_ones() -> None:
    cpu, backdoor = _cpu(bytes.fromhex("ba60000000edc3"))
    cpu.begin_call(cpu.layout.modules, [])
    cpu.resume()
    assert cpu.result == 0xFFFFFFFF
    assert backdoor.low == []
    assert backdoor.others == [(0x60, 4, None)]


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("66ba6056b878563412efc3", (0x5660, 4, 0x12345678)),  # out dx, eax
        ("66ba5856b041eec3", (0x5658, 1, 0x41)),  # the backdoor's port, but one byte alone
        ("66ba595666edc3", (0x5659, 2, None)),  # in ax, dx
    ],
)
def test_every_other_port_access_reaches_host(code: str, seen: tuple[int, int, int | None]) -> None:
    cpu, backdoor = _cpu(bytes.fromhex(code))
    cpu.begin_call(cpu.layout.modules, [])
    cpu.resume()
    assert backdoor.others == [seen]
    assert backdoor.low == []


def test_cpuid_leaves_of_hypervisor_come_from_host() -> None:
    # mov eax, leaf; push rbx; cpuid; lea rax, [rcx]; pop rbx; ret
    for leaf, expected in ((1, 0x80000000 | 0x40200001), (0x40000000, 2), (0, 0x6C65746E)):
        code = b"\xb8" + leaf.to_bytes(4, "little") + bytes.fromhex("530fa289c85bc3")
        cpu, _ = _cpu(code)
        cpu.begin_call(cpu.layout.modules, [])
        cpu.resume()
        assert cpu.result == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_have_separate_registers(machine: str) -> None:
    cpu, _ = _cpu(b"", machine)
    stub = cpu.layout.stubs + 2 * STUB_SIZE
    cpu.begin_call(stub, [11])
    assert cpu.resume() == 2
    first = cpu.save(None)
    cpu.start_on_stack(cpu.layout.stacks + 4096)
    cpu.begin_call(stub, [22])
    assert cpu.resume() == 2
    second = cpu.save(None)
    cpu.restore(first)
    cpu.finish_call(1)
    assert cpu.resume() == EXIT_SLOT
    assert cpu.result == 1
    cpu.restore(second)
    cpu.finish_call(2)
    assert cpu.resume() == EXIT_SLOT
    assert cpu.result == 2


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_preempted_trap_is_not_repeated(machine: str) -> None:
    cpu, backdoor = _cpu(bytes.fromhex("ba58560000edc3"), machine)
    cpu.on_trap = lambda _pc: cpu.preempt()
    cpu.begin_call(cpu.layout.modules, [])
    stop = cpu.resume()
    assert stop in {PREEMPTED, EXIT_SLOT}
    if stop == PREEMPTED:
        assert cpu.resume() == EXIT_SLOT
    assert len(backdoor.low) == 1
    assert cpu.result & 0xFFFFFFFF == 6


@pytest.mark.parametrize("machine", MACHINES)
def test_code_that_ran_before_is_watched_as_well(machine: str) -> None:
    cpu, _ = _cpu(b"", machine)
    modules, heap = cpu.layout.modules, cpu.layout.heap
    stub = cpu.layout.stubs + 3 * STUB_SIZE
    cpu.map(heap, 4096, RW)
    cpu.map(modules + 4096, 8192, RX)
    # Two loads from the heap, a call of the kernel, and a return; in two regions of code.  The
    # second load finds the page's translation, so only translated code can call the hook.
    places = (modules, modules + 8192)
    for place in places:
        if machine == "aarch64":  # ldr x1, [x0], twice; stp x29, x30, [sp, #-16]!
            start = bytes.fromhex("010040f9010040f9fd7bbfa9")
            end = bytes.fromhex("fd7bc1a8c0035fd6")
        elif machine == "amd64":  # mov rax, [rdi], twice
            start, end = bytes.fromhex("488b07488b07"), b"\xc3"
        else:  # mov ecx, [esp + 4]; mov eax, [ecx], twice
            start, end = bytes.fromhex("8b4c24048b018b01"), b"\xc3"
        cpu.write(place, start + _relative(machine, place + len(start), stub) + end)
    found: list[tuple[bool, int, int, bool]] = []

    def run() -> None:
        for place in places:
            cpu.begin_call(place, [heap + 8])
            assert cpu.resume() == 3
            cpu.finish_call(place & 0xFFFF)
            assert cpu.resume() == EXIT_SLOT
            assert cpu.result == place & 0xFFFF

    run()
    cpu.watch_accesses(lambda *access: found.append(access), heap, heap + 4096)
    run()
    assert found == [(False, heap + 8, cpu.pointer_size, False)] * 4


def test_unknown_machine_is_refused_with_known_ones() -> None:
    with pytest.raises(ValueError, match="amd64, i386, aarch64"):
        make_cpu("vax", Backdoor())
