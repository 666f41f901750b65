"""Heap, stacks and data in frames: the guest's code sees the same memory as with regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.cpu import EXIT_SLOT, MACHINES, Access, Cpu, CpuFault, make_cpu

from tests.sim.test_cpu import RW, RX, Backdoor

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
# (first argument: address): load or store of one word there, then return
CODE = {
    "amd64": {
        "load": "488b07c3",  # mov rax, [rdi]; ret
        "byte": "8a07c3",
        "store": "c707efbeadde31c0c3",  # mov dword [rdi], 0xdeadbeef; xor eax, eax; ret
        "jump": "ffe7",
        "both": "c70711000000488b07c3",
    },
    "i386": {
        "load": "8b4424048b00c3",  # mov eax, [esp + 4]; mov eax, [eax]; ret
        "byte": "8b4424048a00c3",
        "store": "8b442404c700efbeadde31c0c3",
        "jump": "8b442404ffe0",
        "both": "8b442404c700110000008b00c3",
    },
    "aarch64": {
        "load": "000040f9c0035fd6",  # ldr x0, [x0]; ret
        "byte": "00004039c0035fd6",
        "store": "1f0000f9c0035fd6",  # str xzr, [x0]; ret
        "jump": "00001fd6",
        "both": "1f0000f9000040f9c0035fd6",
    },
}


@pytest.fixture(params=MACHINES)
def cpu(request: pytest.FixtureRequest) -> Cpu:
    """A processor with a stack, and memory for code."""
    cpu = make_cpu(request.param, Backdoor())
    cpu.map(cpu.layout.modules, PAGE, RX)
    cpu.map(cpu.layout.stacks, 2 * PAGE, RW)
    cpu.start_on_stack(cpu.layout.stacks + 2 * PAGE)
    return cpu


def _run(cpu: Cpu, what: str, address: int) -> int:
    """Let the guest's code access ``address``; returns its result."""
    places = list(CODE[cpu.machine])
    place = cpu.layout.modules + 64 * places.index(what)
    if cpu.read(place, 1) == b"\0":
        cpu.write(place, bytes.fromhex(CODE[cpu.machine][what]))
    cpu.start_on_stack(cpu.layout.stacks + 2 * PAGE)
    cpu.begin_call(place, [address])
    assert cpu.resume() == EXIT_SLOT
    return cpu.result


def _fault(cpu: Cpu, what: str, address: int) -> tuple[Access | None, int, bool]:
    with pytest.raises(CpuFault) as caught:
        _run(cpu, what, address)
    return caught.value.access, caught.value.address, caught.value.mapped


@pytest.mark.parametrize("first", ["load", "store", "both"])
@pytest.mark.parametrize("then", ["load", "store"])
def test_code_cannot_access_memory_after_unmap(cpu: Cpu, first: str, then: str) -> None:
    access = Access.READ if then == "load" else Access.WRITE
    for address in (cpu.layout.heap, cpu.layout.heap_middle, cpu.layout.stacks + 16 * PAGE):
        cpu.map(address, 2 * PAGE, RW)
        for offset in (0, 1024, PAGE + 3072):
            _run(cpu, first, address + offset)
        cpu.unmap(address, 2 * PAGE)
        for offset in (3072, PAGE, 1024):
            assert _fault(cpu, then, address + offset) == (access, address + offset, False)


def test_page_shows_new_frame_after_it_is_mapped_again(cpu: Cpu) -> None:
    first, second = cpu.layout.heap, cpu.layout.heap + 4 * PAGE
    for turn in range(1, 5):
        cpu.map(first, PAGE, RW)
        assert _run(cpu, "load", first) == 0
        cpu.write(first, bytes([turn]))
        assert _run(cpu, "load", first) == turn
        cpu.unmap(first, PAGE)
        cpu.map(second, PAGE, RW)
        assert _run(cpu, "load", second) == 0
        cpu.write(second, b"\xee" * PAGE)
        assert _fault(cpu, "load", first)[1] == first
        cpu.unmap(second, PAGE)


def test_access_across_end_of_memory_faults_at_next_page(cpu: Cpu) -> None:
    if cpu.machine == "aarch64":
        pytest.skip("the access would not be aligned")
    heap = cpu.layout.heap
    cpu.map(heap, PAGE, RW)
    assert _run(cpu, "load", heap + PAGE - cpu.pointer_size) == 0
    assert _fault(cpu, "load", heap + PAGE - 2)[:2] == (Access.READ, heap + PAGE)
    # Unicorn stores byte by byte, the last one first.
    assert _fault(cpu, "store", heap + PAGE - 2)[:2] == (Access.WRITE, heap + PAGE + 1)


def test_jump_into_mapped_memory_is_no_jump_to_missing_memory(cpu: Cpu) -> None:
    heap = cpu.layout.heap
    cpu.map(heap, PAGE, RW)
    _run(cpu, "both", heap + 16)
    assert _fault(cpu, "jump", heap + 16) == (Access.FETCH, heap + 16, True)
    assert _run(cpu, "both", heap + 16) & 0xFF in {0, 0x11}
    cpu.unmap(heap, PAGE)
    assert _fault(cpu, "jump", heap + 16) == (Access.FETCH, heap + 16, False)


def test_page_that_becomes_read_only_cannot_be_stored_to(cpu: Cpu) -> None:
    place = cpu.layout.modules + 16 * PAGE
    cpu.map(place, PAGE, RW)
    _run(cpu, "both", place)
    cpu.protect(place, PAGE, 1)
    assert _fault(cpu, "store", place) == (Access.WRITE, place, True)
    _run(cpu, "load", place)
    assert _fault(cpu, "store", place + 8) == (Access.WRITE, place + 8, True)


def test_physical_address_of_frame_is_no_address_of_guest(cpu: Cpu) -> None:
    if cpu.pointer_size == 4:
        pytest.skip("its physical addresses have more than 32 bits")
    heap = cpu.layout.heap
    cpu.map(heap, PAGE, RW)
    engine: Any = cpu
    ((place, _start, _end),) = engine._frames.places(heap + 8, 1)
    assert place != heap + 8
    assert _fault(cpu, "load", place) == (Access.READ, place, False)
    accesses: list[Callable[[], object]] = [
        lambda: cpu.read(place, 4),
        lambda: cpu.read_word(place),
        lambda: cpu.write(place, b"new"),
        lambda: cpu.checked_write(place, b"new"),
    ]
    for access in accesses:
        with pytest.raises(CpuFault) as caught:
            access()
        assert caught.value.address == place
    assert cpu.read(heap, PAGE) == bytes(PAGE)


def test_watcher_sees_addresses_of_its_range_only(cpu: Cpu) -> None:
    seen: list[tuple[bool, int, bool]] = []
    heap, middle = cpu.layout.heap, cpu.layout.heap_middle
    for address in (heap, middle, middle + PAGE):
        cpu.map(address, PAGE, RW)
    _run(cpu, "load", middle + 8)
    cpu.watch_accesses(lambda w, at, _size, host: seen.append((w, at, host)), middle, middle + PAGE)
    for address in (heap, middle, middle + PAGE):
        _run(cpu, "load", address + 16)
        _run(cpu, "store", address + 24)
    assert seen == [(False, middle + 16, False), (True, middle + 24, False)]


def test_objects_that_come_and_go_need_no_regions(cpu: Cpu) -> None:
    engine: Any = cpu
    address = cpu.layout.heap
    cpu.map(address, PAGE, RW)
    regions = len(list(engine._uc.mem_regions()))
    for number in range(1, 200):
        cpu.map(address + 2 * PAGE * number, PAGE, RW)
        _run(cpu, "store", address + 2 * PAGE * number)
        cpu.unmap(address + 2 * PAGE * number, PAGE)
    assert len(list(engine._uc.mem_regions())) == regions
