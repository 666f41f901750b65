"""The host's side of the memory balloon, called with registers."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from vmtsim.core.frame import Frame, GuestFault
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.host import Host, HostOptions

PORT, MAGIC = 0x5670, 0x456C6D6F
START, GET_TARGET, LOCK, UNLOCK, GUEST_ID, LOCK_BATCH, UNLOCK_BATCH = 0, 1, 2, 3, 4, 6, 7
BASIC, BATCHED = 2, 4


class Physical:
    """One page of a guest's memory, the frame 0x77."""

    def __init__(self) -> None:
        self.page = bytearray(4096)

    def read(self, address: int, size: int) -> bytes:
        if address >> 12 != 0x77:
            raise GuestFault(address, size, write=False)
        return bytes(self.page[:size])

    def write(self, address: int, data: bytes) -> None:
        assert address >> 12 == 0x77
        self.page[: len(data)] = data


class Guest:
    """A balloon that speaks registers; ``call`` returns EAX, EBX, ECX."""

    def __init__(self, **options: Any) -> None:
        self.trace = Trace(keep=True)
        self.host = Host(
            now=lambda: 0, rng=Rng(1), options=HostOptions(**options), trace=self.trace
        )
        self.balloon = self.host.balloon
        self.balloon.physical = self.memory = Physical()

    def call(self, command: int, first: int = 0, second: int = 0, magic: int = MAGIC) -> list[int]:
        frame = Frame(magic, first, command, PORT, second)
        self.host.low_bandwidth(frame)
        return [frame.arg0, frame.arg1, frame.arg2]

    def started(self, capabilities: int = BASIC | BATCHED, target: int = 3) -> Guest:
        self.call(START, capabilities)
        self.call(GUEST_ID, 2)
        self.balloon.target = target
        return self

    @property
    def broken(self) -> list[str]:
        return [event.fields["rule"] for event in self.trace.events if event.kind == "violation"]


@pytest.mark.parametrize(
    ("offer", "asked", "status", "agreed"),
    [
        ("batched", BASIC | BATCHED, 0x03000000, BASIC | BATCHED),
        ("batched", BASIC, 0x03000000, BASIC),
        ("basic", BASIC | BATCHED, 0x03000000, BASIC),
        ("old", BASIC | BATCHED, 0, START),
    ],
)
def test_start_negotiates_capabilities(offer: str, asked: int, status: int, agreed: int) -> None:
    answer = Guest(balloon=offer).call(START, asked)
    assert (answer[0], answer[2]) == (status, agreed)


@pytest.mark.parametrize("options", [{"balloon": "none"}, {"kind": "qemu"}, {"kind": "hardware"}])
def test_host_without_balloon_does_not_answer(options: dict[str, Any]) -> None:
    guest = Guest(**options)
    assert guest.call(START, BASIC)[0] == 0xFFFFFFFF
    assert guest.broken == []


@pytest.mark.parametrize("command", [LOCK, UNLOCK, LOCK_BATCH, UNLOCK_BATCH])
def test_start_without_capabilities_ends_page_commands(command: int) -> None:
    guest = Guest().started(target=2)
    assert guest.call(LOCK, 0x1000)[0] == 0
    assert guest.call(START, 0)[0] == 0x03000000
    assert guest.balloon.size == 0
    assert guest.call(command, 0x1000, 1)[0] == 1
    assert guest.call(GET_TARGET, 65536)[:2] == [0, 2]
    assert guest.broken == ["balloon-command"]


def test_single_page_calls_return_target() -> None:
    guest = Guest().started(target=2)
    assert guest.call(GET_TARGET, 65536)[:2] == [0, 2]
    assert guest.balloon.limit == 65536
    assert guest.balloon.guest == 2
    assert guest.call(LOCK, 0x1000)[:2] == [0, 2]
    assert guest.call(LOCK, 0x1001)[:2] == [0, 2]
    assert guest.call(LOCK, 0x1002)[0] == 6  # not needed
    guest.balloon.target = 1
    assert guest.call(UNLOCK, 0x1001)[:2] == [0, 1]
    assert guest.balloon.locked == {0x1000}
    assert guest.broken == []


def test_batch_has_status_per_page() -> None:
    guest = Guest().started(target=9)
    guest.balloon.refuse = 1
    guest.memory.page[:24] = struct.pack("<3Q", *(page << 12 for page in (0x1000, 0x1001, 0x1002)))
    assert guest.call(LOCK_BATCH, 0x77, 3)[:2] == [0, 9]
    entries = struct.unpack("<3Q", guest.memory.page[:24])
    assert [entry & 31 for entry in entries] == [5, 0, 0]
    assert [entry >> 12 for entry in entries] == [0x1000, 0x1001, 0x1002]
    assert guest.balloon.locked == {0x1001, 0x1002}
    guest.memory.page[:8] = struct.pack("<Q", 0x1002 << 12)
    assert guest.call(UNLOCK_BATCH, 0x77, 1)[0] == 0
    assert guest.balloon.size == 1
    assert guest.broken == []


def test_reset_releases_all_pages_and_requests_start() -> None:
    guest = Guest().started()
    guest.call(LOCK, 0x1000)
    guest.balloon.reset()
    assert guest.balloon.size == 0
    assert guest.call(UNLOCK, 0x1000)[0] == 7
    assert guest.call(START, BASIC)[0] == 0x03000000
    assert guest.call(LOCK, 0x1000)[0] == 0
    assert guest.broken == []


def test_busy_host_does_nothing() -> None:
    guest = Guest().started()
    guest.balloon.busy = 1
    assert guest.call(LOCK, 0x1000)[0] == 8
    assert guest.call(LOCK, 0x1000)[0] == 0


def lock_twice(guest: Guest) -> None:
    guest.call(LOCK, 0x1000)
    assert guest.call(LOCK, 0x1000)[0] == 3


def not_aware_of_a_reset(guest: Guest) -> None:
    guest.balloon.reset()
    for _ in range(2):
        guest.call(GET_TARGET, 1)


def frees_what_the_host_has(guest: Guest) -> None:
    guest.call(LOCK, 0x1000)
    guest.balloon.page_freed(0x1001)
    assert guest.broken == []
    guest.balloon.page_freed(0x1000)


@pytest.mark.parametrize(
    ("do", "rule"),
    [
        (lambda guest: guest.call(GET_TARGET, 1, magic=0x564D5868), "balloon-magic"),
        (lambda guest: guest.call(5), "balloon-command"),
        (not_aware_of_a_reset, "balloon-start"),
        (lambda guest: guest.call(GUEST_ID, 3), "balloon-guest"),
        (lock_twice, "balloon-page"),
        (lambda guest: guest.call(UNLOCK, 0x1000), "balloon-page"),
        (lambda guest: guest.call(LOCK_BATCH, 0x77, 513), "balloon-batch"),
        (lambda guest: guest.call(LOCK_BATCH, 0x78, 1), "balloon-batch"),
        (frees_what_the_host_has, "balloon-freed"),
    ],
)
def test_violation_by_guest_is_reported(do: Any, rule: str) -> None:
    guest = Guest().started()
    do(guest)
    assert guest.broken == [rule]


def test_unnegotiated_batch_is_unknown() -> None:
    guest = Guest(balloon="basic").started()
    assert guest.call(LOCK_BATCH, 0x77, 1)[0] == 1
    assert guest.broken == ["balloon-command"]


def test_missing_start_is_reported() -> None:
    guest = Guest()
    assert guest.call(GET_TARGET, 1)[0] == 7
    assert guest.broken == ["balloon-start"]
