"""The server decodes registers of machines that QEMU does not run here, and rare stops."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.build.compile import build_module
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.gdb import sites
from vmtsim.gdb.clock import WallClock
from vmtsim.gdb.rsp import Client, Stop, StubRefusedError
from vmtsim.gdb.server import Server
from vmtsim.gdb.sites import Program, Site
from vmtsim.gdb.target import AARCH64, AMD64, I386, Machine, Register, Target
from vmtsim.host import Host, HostOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC, TCLO = 0x564D5868, 0x4F4C4354
PC = 0x8000


class FakeClient:
    """The part of a client that the server uses: registers by name, memory, resumes."""

    def __init__(self, machine: Machine, memory: dict[int, bytes]) -> None:
        size = 4 if machine is I386 else 8
        names = [*machine.arguments, machine.pc, *filter(None, [machine.operation]), "cr0"]
        places = {name: Register(n, n * size, size) for n, name in enumerate(names)}
        self.target = Target(machine, places)
        self.values = dict.fromkeys(names, 0)
        self.memory = memory
        self.running = False
        self.timeout = 1.0
        self.log: list[str] = []
        self.able = True

    @contextlib.contextmanager
    def physical(self) -> Iterator[bool]:
        yield self.able

    def registers(self) -> bytes:
        return b"".join(
            self.values[name].to_bytes(place.size, "little")
            for name, place in self.target.registers.items()
        )

    def resume(self, thread: str | None = None, *, first: tuple[bytes, ...] = ()) -> None:
        names = {place.number: name for name, place in self.target.registers.items()}
        for command in first:
            number, _, value = command[1:].partition(b"=")
            self.values[names[int(number, 16)]] = int.from_bytes(
                bytes.fromhex(value.decode()), "little"
            )
        self.log.append("go" if thread is None else f"step {thread}")
        self.running = thread is None

    def wait(self, _timeout: float) -> Stop:
        return Stop(5, "01")

    def read(self, address: int, size: int) -> bytes:
        data = self.memory.get(address, b"")
        if len(data) < size:
            raise StubRefusedError("not mapped", 0x14)
        return data[:size]

    def write(self, address: int, data: bytes) -> None:
        if address not in self.memory:
            raise StubRefusedError("not mapped", 0x14)
        self.memory[address] = data

    def insert_breakpoint(self, address: int, _size: int) -> None:
        self.log.append(f"set {address:#x}")

    def remove_breakpoint(self, address: int, _size: int) -> bool:
        self.log.append(f"take {address:#x}")
        return True


class Bench:
    """A server with one site at PC, and calls through it."""

    def __init__(self, machine: Machine, kind: str) -> None:
        self.printed: list[str] = []
        self.memory: dict[int, bytes] = {}
        clock = WallClock()
        self.trace = Trace(clock, keep=True)
        self.host = Host(now=clock, rng=Rng(1), options=HostOptions(), trace=self.trace)
        self.fake = FakeClient(machine, self.memory)
        client: Any = self.fake
        site = Site(PC, 0, kind)
        program = Program("test", machine.name, (site,))
        self.server = Server(client, program, self.host, print_line=self.printed.append)
        self.server.target = self.fake.target
        self.server.armed = {PC: site}
        self.machine = machine

    def call(self, *arguments: int, operation: int = 0) -> list[int]:
        """Stop at the site with these registers; return them as they are afterwards."""
        values = self.fake.values
        padded = (*arguments, *[0] * (7 - len(arguments)))
        for name, value in zip(self.machine.arguments, padded, strict=True):
            values[name] = value
        if self.machine.operation:
            values[self.machine.operation] = operation
        values[self.machine.pc] = PC
        self.server._stopped(Stop(5, "01"))
        return [values[name] for name in self.machine.arguments]

    @property
    def pc(self) -> int:
        return self.fake.values[self.machine.pc]


def test_aarch64_operation_word_gives_kind_of_call() -> None:
    bench = Bench(AARCH64, sites.ARM)
    low, into, out = (0x86 << 32 | word for word in (0x0E, 0x1C, 0x18))
    # OPEN for RPCI, then a log line by high bandwidth, and its reply.
    _, _, status, dx, high, cookie, _ = bench.call(
        MAGIC, 0x49435052 | 0x80000000, 30, 0x5658, operation=low
    )
    assert status == 0x10000
    assert bench.pc == PC + 4
    channel = dx & 0xFFFF0000
    size = 1 << 16 | 30
    assert bench.call(MAGIC, 6, size, channel | 0x5658, high, cookie, operation=low)[2] == 0x810000
    address = 0xFFFFC000_00112233
    bench.memory[address] = b"log hi"
    after = bench.call(MAGIC, 0x10000, 6, channel | 0x5659, address, cookie, high, operation=out)
    assert after[1] == 0x10000
    # Not a string instruction: the pointer and the count stay.
    assert after[2] == 6
    assert after[4] == address
    ready = bench.call(MAGIC, 0, 3 << 16 | 30, channel | 0x5658, high, cookie, operation=low)
    assert ready[2] & 0x20000
    assert ready[1] == 2
    bench.call(MAGIC, 0x10000, 2, channel | 0x5659, high, address, cookie, operation=into)
    assert bench.memory[address] == b"1 "


def test_other_read_of_aarch64_register_is_executed() -> None:
    bench = Bench(AARCH64, sites.ARM)
    bench.call(MAGIC, operation=0x1234)
    assert bench.fake.log == ["take 0x8000", "step 01", "set 0x8000", "go"]
    assert bench.pc == PC


@pytest.mark.parametrize("machine", [AMD64, I386])
def test_x86_call_returns_after_its_instruction(machine: Machine) -> None:
    bench = Bench(machine, sites.LOW)
    ax, bx, cx, *_ = bench.call(MAGIC, 0xFFFFFFFF, 0xFFFF000A, 0x5658)
    assert (ax, bx, cx) == (6, MAGIC, 2)
    assert bench.pc == PC + 1
    assert bench.fake.log == ["go"]


@pytest.mark.parametrize("machine", [AMD64, I386])
def test_string_instruction_sets_registers_like_processor(machine: Machine) -> None:
    bench = Bench(machine, sites.OUT)
    bench.memory[0x5000] = b"x" * 8
    after = bench.call(MAGIC, 0x10000, 8, 0x5659, 0x5000)
    assert (after[2], after[4]) == (0, 0x5008)
    assert bench.pc == PC + 2


def test_string_instruction_with_count_0_reaches_no_host() -> None:
    bench = Bench(AMD64, sites.IN)
    assert bench.call(MAGIC, 0x10000, 0, 0x5659)[1] == 0x10000
    assert bench.host.backdoor.calls == 0
    assert bench.pc == PC + 2


def test_unspecified_kind_is_read_from_memory() -> None:
    bench = Bench(AMD64, "")
    bench.memory[PC] = b"\xed\x90\x90\x90"
    assert bench.call(MAGIC, 0xFFFFFFFF, 0xFFFF000A, 0x5658)[1] == MAGIC
    assert bench.server.armed[PC].kind == sites.LOW


def test_unmapped_buffer_fails_call_and_is_reported() -> None:
    bench = Bench(AMD64, sites.LOW)
    _, _, _, dx, high, cookie, _ = bench.call(MAGIC, 0xC9435052, 30, 0x5658)
    channel = dx & 0xFFFF0000
    bench.call(MAGIC, 4, 1 << 16 | 30, channel | 0x5658, high, cookie)
    bench.server.armed = {PC: Site(PC, 2, sites.OUT)}
    after = bench.call(MAGIC, 0x10000, 4, channel | 0x5659, 0xDEAD000, cookie, high)
    assert after[1] >> 16 == 0
    assert "cannot read 4 bytes" in bench.printed[0]
    assert bench.pc == PC + 2


def test_stop_at_unknown_breakpoint_removes_it_and_continues() -> None:
    bench = Bench(AMD64, sites.LOW)
    bench.fake.values["rip"] = 0x1234
    bench.server._stopped(Stop(5, "01"))
    assert "another debugger" in bench.printed[0]
    assert bench.fake.log == ["take 0x1234", "go"]


def test_fake_client_matches_real_client() -> None:
    # The names above are those of the real class.
    names = ("registers", "resume", "wait", "read", "write", "insert_breakpoint")
    assert all(hasattr(Client, name) for name in (*names, "remove_breakpoint"))


@pytest.mark.parametrize("machine", [AMD64, I386])
def test_port_of_balloon_is_served(machine: Machine) -> None:
    """START, GUEST_ID, GET_TARGET, then two pages in a batch at a physical address."""
    bench = Bench(machine, sites.LOW)
    bench.host.balloon.target = 9
    magic, port = 0x456C6D6F, 0x5670
    ax, _, capabilities, *_ = bench.call(magic, 6, 0, port)
    assert (ax, capabilities) == (0x03000000, 6)
    assert bench.pc == PC + 1
    assert bench.call(magic, 2, 4, port)[0] == 0
    assert bench.call(magic, 65536, 1, port)[:2] == [0, 9]
    bench.memory[0x77000] = struct.pack("<2Q", 0x1000 << 12, 0x1001 << 12)
    assert bench.call(magic, 0x77, 6, port, 2)[:2] == [0, 9]
    assert bench.host.balloon.locked == {0x1000, 0x1001}
    bench.fake.able = False
    assert bench.call(magic, 0x77, 7, port, 2)[0] == 2
    assert [e["rule"] for e in bench.trace.events if e.kind == "violation"] == ["balloon-batch"]


def test_module_of_balloon_has_its_trap(root: Path, tmp_path: Path) -> None:
    built = build_module(root / "kmod" / "vmmemctl", out=tmp_path)
    program = sites.of_module(built.path)
    assert [(site.kind, site.name) for site in program.sites] == [(sites.LOW, "vmmemctl_trap")]
