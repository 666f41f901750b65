"""Cases beyond the scenarios: a failed start, an odd host, a detach and a shutdown anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.host.balloon import BUSY, GET_TARGET, NOT_NEEDED, RESET, START
from vmtsim.kernel.errors import Halted

from .machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.core.frame import Frame
    from vmtsim.kernel.dispatch import Entry
    from vmtsim.kernel.lwp import Lwp

    Make = Callable[..., Machine]


def answered(machine: Machine, answer: Callable[[int], int | None]) -> list[int]:
    """Let the host answer with the status that ``answer`` makes of a command; count the commands.

    None leaves the command to the host.
    """
    call = machine.balloon.call
    seen: list[int] = []

    def called(frame: Frame) -> None:
        command = frame.arg2 & 0xFFFF
        seen.append(command)
        status = answer(command)
        if status is None:
            call(frame)
        else:
            frame.arg0 = status

    machine.balloon.call = called  # type: ignore[method-assign]
    return seen


def console(machine: Machine) -> list[str]:
    """What the driver has logged, to the console or to syslogd."""
    return [
        str(event["text"])
        for event in machine.simulation.trace.events
        if event.kind in {"console", "log"} and "vmmemctl0: " in str(event["text"])
    ]


@pytest.mark.parametrize(
    ("function", "nth", "result"),
    [
        ("pmap_extract", 1, 0),
        ("pmf_device_register1", 1, 0),
        ("kthread_create", 1, 12),
        ("sysctl_createv", 1, 12),
        ("sysctl_createv", 4, 12),
        ("sysctl_createv", 9, 12),
    ],
)
def test_failed_start_leaks_nothing(machine: Make, function: str, nth: int, result: int) -> None:
    """The device exists and is idle; the next load works."""
    guest = machine(load=False)
    calls = [0]

    def stand_in(model: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            calls[0] += 1
            return result if calls[0] == nth else model(*arguments)

        return called

    guest.kernel.dispatch.wrap(function, stand_in)
    guest.balloon.target = 100
    assert guest.do("load") == 0
    guest.run(10)
    assert calls[0] >= nth
    assert guest.balloon.size == 0
    assert [line for line in console(guest) if "not started: cannot" in line]
    assert guest.do("detach", "vmmemctl0") == 0
    assert guest.do("rescan", "cpu0") == 0
    guest.run(10)
    assert guest.balloon.size == 100
    guest.leave()


def test_failed_allocation_counts_as_shortage(machine: Make) -> None:
    guest = machine()
    guest.balloon.target = 2000
    guest.do("fault", 1)
    guest.run(2)
    assert guest.read("stats.shortages") == 1
    guest.run(30)
    assert guest.balloon.size == 2000
    guest.leave()


@pytest.mark.parametrize("status", [NOT_NEEDED, 2, 5, 1, 0xFFFFFFFF, 77])
def test_refused_get_target_sets_no_target(machine: Make, status: int) -> None:
    """EBX then holds the driver's own value: all pages of the guest."""
    guest = machine()
    answered(guest, lambda command: status if command == GET_TARGET else None)
    guest.run(30)
    assert guest.read("target") == 0
    assert guest.balloon.size == 0
    assert guest.read("state") == "the host does not answer"
    guest.leave()


@pytest.mark.parametrize("status", [1, 77, 0xFFFFFFFF])
def test_host_releases_pages_before_guest_frees_them(machine: Make, status: int) -> None:
    guest = machine()
    guest.balloon.target = 1000
    guest.run(20)
    assert guest.balloon.size == 1000
    odd = [True]
    answered(guest, lambda command: status if odd[0] and command != START else None)
    guest.run(5)
    assert guest.balloon.size == 0
    odd[0] = False
    guest.run(30)
    assert guest.balloon.size == 1000
    guest.leave()


@pytest.mark.parametrize("status", [1, RESET, BUSY, 0xFFFFFFFF])
def test_persistent_host_errors_do_not_flood_log(machine: Make, status: int) -> None:
    guest = machine()
    guest.run(5)
    commands = answered(guest, lambda command: None if command == START else status)
    before = len(console(guest))
    guest.run(600)
    assert len(commands) > 50
    assert len(console(guest)) - before <= 2 * 10 + 2
    guest.leave()


def test_persistent_shortage_logs_one_line(machine: Make) -> None:
    guest = machine()
    guest.balloon.target = 1 << 20
    guest.run(600)
    assert guest.read("state") == "memory is short"
    assert guest.read("stats.shortages") > 10
    assert sum("memory is short" in line for line in console(guest)) == 1
    free = 65536 - guest.balloon.size
    assert 64 << 8 <= free < (64 << 8) + 128
    guest.leave()


def test_page_not_returned_by_host_is_kept(machine: Make) -> None:
    guest = machine(balloon="basic")
    guest.balloon.target = 200
    guest.run(20)
    assert guest.balloon.size == 200
    unlock = [5] * 3

    def answer(command: int) -> int | None:
        return unlock.pop() if command == 3 and unlock else None

    answered(guest, answer)
    guest.balloon.target = 0
    guest.run(20)
    assert guest.balloon.size == 0
    assert guest.read("size") == 0
    guest.leave()


@pytest.mark.parametrize("balloon", ["basic", "batched"])
def test_shutdown_returns_all_pages(machine: Make, balloon: str) -> None:
    guest = machine(balloon=balloon)
    guest.balloon.target = 3000
    guest.run(20)
    assert guest.balloon.size == 3000
    with pytest.raises(Halted):
        guest.do("shutdown")
    assert guest.balloon.size == 0
    assert guest.broken() == []


def test_reading_target_and_size_is_race_free(modules: dict[str, Path]) -> None:
    """On i386 a quad is two loads; the worker writes it meanwhile."""
    guest = Machine(modules["i386"], races=True)
    for target in (500, 100, 3000, 0):
        guest.balloon.target = target
        for _ in range(6):
            guest.run(0.4)
            assert guest.read("size") <= 3000
            assert guest.read("target") in {0, 100, 500, 3000}
    guest.leave()


def detached_at(module: Path, point: int | None, balloon: str) -> int:
    """Detach at the ``point``-th call or trap of the worker; return how many there were."""
    guest = Machine(module, balloon=balloon)
    scheduler = guest.kernel.scheduler
    trap: Callable[[int], None] = guest.kernel.cpu.on_trap
    count = 0
    process: list[Lwp] = []

    def passed() -> None:
        nonlocal count
        lwp = scheduler.current
        if lwp is None or not lwp.name.startswith("vmmemctl0"):
            return
        count += 1
        if count == point:
            process.append(guest.admin.start("detach", guest.admin.detach("vmmemctl0")))
            scheduler.choice.restlessness = 1

    def called(_lwp: Lwp, _entry: Entry) -> None:
        passed()

    def trapped(pc: int) -> None:
        passed()
        trap(pc)

    scheduler.on_call, guest.kernel.cpu.on_trap = called, trapped
    for order in ({"target": 400}, {"refuse": 3, "target": 900}, {"busy": 1}, {"target": 100}):
        for name, value in order.items():
            setattr(guest.balloon, name, value)
        guest.run(3)
    guest.balloon.reset()
    guest.run(4)
    scheduler.on_call = None
    if point is not None:
        guest.run(5)
        assert process, f"point {point} of {count}"
        assert process[0].state == "gone"
        assert guest.balloon.size == 0
        guest.balloon.target = 200
        assert guest.do("rescan", "cpu0") == 0
        guest.run(20)
        assert guest.balloon.size == 200
    guest.leave()
    return count


@pytest.mark.parametrize("balloon", ["basic", "batched"])
def test_detach_at_any_point_leaks_nothing(modules: dict[str, Path], balloon: str) -> None:
    """A sample of the points: the first ones, and some of the others."""
    points = detached_at(modules["amd64"], None, balloon)
    assert points > 100
    for point in sorted({*range(1, 16), *range(16, points, max(points // 20, 1))}):
        detached_at(modules["amd64"], point, balloon)
