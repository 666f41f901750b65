"""Cases beyond the scenarios: a failed start, an odd host, a detach and a shutdown anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.host.balloon import BUSY, GET_TARGET, NOT_NEEDED, RESET, START
from vmtsim.kernel.errors import Halted
from vmtsim.kernel.pages import Pages
from vmtsim.scenario.guest import Pressure

from . import anywhere
from .machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.core.frame import Frame

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
    """The driver's log, on the console and to syslogd."""
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

    def stub(model: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            calls[0] += 1
            return result if calls[0] == nth else model(*arguments)

        return called

    guest.kernel.dispatch.wrap(function, stub)
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
    assert not guest.do("sysctl", {"machdep.vmmemctl0.floor": 240})
    guest.balloon.target = 1 << 20
    guest.run(600)
    assert guest.read("state") == "memory is short"
    assert guest.read("stats.shortages") > 10
    assert sum("memory is short" in line for line in console(guest)) == 1
    free = 65536 - guest.balloon.size
    assert 240 << 8 <= free < (240 << 8) + 128
    guest.leave()


@pytest.mark.parametrize("balloon", ["basic", "batched"])
def test_refusal_pauses_inflation(machine: Make, balloon: str) -> None:
    """Five polls without a page, then few pages."""
    guest = machine(balloon=balloon)
    guest.balloon.target = 10_000
    guest.run(5)
    before = guest.balloon.size
    assert before > 1000
    guest.balloon.refuse = 1
    guest.run(1)
    after = guest.balloon.size
    guest.run(5)
    assert guest.balloon.size == after
    guest.run(1)
    assert guest.balloon.size == after + 128
    guest.leave()


MEGABYTE = 256  # pages
FLOOR = 64 * MEGABYTE


def left(guest: Machine) -> int:
    """The number of pages that the rest of the guest can have, as the driver counts them."""
    pages = guest.kernel.subject(Pages)
    return pages.available + pages.files // 2


@pytest.mark.parametrize("balloon", ["basic", "batched"])
def test_guest_that_needs_memory_gets_pages_back(machine: Make, balloon: str) -> None:
    """The balloon never takes memory below the floor; pages return when there is memory again."""
    guest = machine(balloon=balloon)
    guest.balloon.target = 5_000
    guest.run(30)
    assert guest.balloon.size == 5_000
    guest.admin.start("pressure", guest.admin.pressure(Pressure(free=54 << 20, seconds=40)))
    guest.run(2)
    assert guest.balloon.size == 5_000 - 10 * MEGABYTE
    assert left(guest) == FLOOR
    assert guest.read("state") == "memory is short"
    guest.run(30)
    assert guest.balloon.size == 5_000 - 10 * MEGABYTE
    assert sum("memory is short" in line for line in console(guest)) == 1
    guest.run(60)
    assert guest.balloon.size == 5_000
    guest.leave()


def test_guest_without_free_memory_gets_all_pages_back(machine: Make) -> None:
    guest = machine()
    guest.balloon.target = 3_000
    guest.run(30)
    guest.admin.start("pressure", guest.admin.pressure(Pressure(free=0, seconds=40)))
    guest.run(2)
    assert guest.balloon.size == 0
    guest.run(60)
    assert guest.balloon.size == 3_000
    guest.leave()


def test_higher_floor_takes_pages_back(machine: Make) -> None:
    guest = machine()
    guest.balloon.target = 5_000
    guest.run(60)
    assert guest.balloon.size == 5_000
    assert not guest.do("sysctl", {"machdep.vmmemctl0.floor": 240})
    guest.run(2)
    assert left(guest) == 240 * MEGABYTE
    guest.leave()


def test_half_of_file_pages_is_given_to_host(machine: Make) -> None:
    """The pagedaemon frees them where the allocation wakes it; half of them count."""
    guest = machine()
    memory = Pressure(free=2 << 20, files=200 << 20, seconds=1000)
    guest.admin.start("pressure", guest.admin.pressure(memory))
    guest.run(1)
    guest.balloon.target = 40_000
    guest.run(500)
    pages = guest.kernel.subject(Pages)
    assert 8_000 < guest.balloon.size < 40_000
    assert pages.files < 190 * MEGABYTE
    assert FLOOR <= left(guest) < FLOOR + 2 * MEGABYTE
    assert pages.available >= 128  # half of freemin
    guest.run(600)
    guest.leave()


def test_protected_pages_of_files_are_a_shortage(machine: Make) -> None:
    """The pagedaemon keeps the pages of vm.filemin: the driver reports that memory is short."""
    guest = machine()
    assert not guest.do("sysctl", {"machdep.vmmemctl0.floor": 1})
    memory = Pressure(free=1 << 18, files=20 << 20, seconds=300)
    guest.admin.start("pressure", guest.admin.pressure(memory))
    guest.balloon.target = 4000
    guest.run(200)
    assert guest.balloon.size == 0
    assert guest.read("state") == "memory is short"
    guest.run(200)
    assert guest.balloon.size == 4000
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


@pytest.mark.parametrize("cause", ["reset", "target"])
def test_other_threads_run_between_batches_of_freed_pages(machine: Make, cause: str) -> None:
    """A guest can have millions of pages to free, and its worker runs before any process."""
    guest = machine()
    guest.balloon.target = 5000
    guest.run(20)
    freed: list[int] = [0]
    pages = guest.kernel.subject(Pages)
    was_freed = pages.on_free

    def free(number: int) -> None:
        freed[-1] += 1
        was_freed(number)

    def stub(model: Callable[..., Any]) -> Callable[..., Any]:
        def called() -> Any:
            freed.append(0)
            return model()

        return called

    pages.on_free = free
    guest.kernel.dispatch.wrap("preempt_point", stub)
    guest.balloon.target = 0
    if cause == "reset":
        guest.balloon.reset()
    guest.run(2)
    assert sum(freed) == 5000
    assert max(freed) <= 512
    guest.leave()


@pytest.mark.parametrize("first", ["vmt", "vmmemctl"])
def test_load_of_other_driver_after_detach(modules: dict[str, Path], vmt: Path, first: str) -> None:
    """Autoconf frees a detached device late; to attach it again before that is a panic."""
    paths = {"vmt": vmt, "vmmemctl": modules["amd64"]}
    guest = Machine(paths.pop(first))
    guest.balloon.target = 300
    guest.run(5)
    assert guest.do("detach", f"{first}0") == 0
    (second,) = paths.values()
    assert guest.do("load", str(second)) == 0
    assert guest.do("rescan", "cpu0") == 0
    guest.run(20)
    assert guest.balloon.size == 300
    assert guest.do("unload", "vmt") == 0
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


@pytest.mark.parametrize("balloon", ["basic", "batched"])
def test_panic_returns_all_pages(machine: Make, balloon: str) -> None:
    guest = machine(balloon=balloon)
    guest.balloon.target = 3000
    guest.run(20)
    assert guest.balloon.size == 3000
    with pytest.raises(Halted):
        guest.do("panic")
    assert guest.balloon.size == 0
    assert guest.broken() == []


def test_reading_target_and_size_is_race_free(modules: dict[str, Path]) -> None:
    """On i386 a quad is two loads; the worker writes it between them."""
    guest = Machine(modules["i386"], races=True)
    for target in (500, 100, 3000, 0):
        guest.balloon.target = target
        for _ in range(6):
            guest.run(0.4)
            assert guest.read("size") <= 3000
            assert guest.read("target") in {0, 100, 500, 3000}
    guest.leave()


def test_reading_counters_is_race_free(machine: Make) -> None:
    guest = machine(races=True)
    guest.balloon.target = 2000
    for _ in range(6):
        guest.run(0.4)
        assert guest.read("stats.polls") >= 1
        assert guest.read("stats.inflated") <= 2000
    guest.leave()


@pytest.fixture(scope="module", params=["basic", "batched"])
def points(request: pytest.FixtureRequest, modules: dict[str, Path]) -> tuple[str, list[int]]:
    """A kind of host, and a sample of the points: the first ones, and some of the others."""
    count = anywhere.play(modules["amd64"], None, balloon=request.param)
    assert count > 100
    others = range(16, count, max(count // 20, 1))
    return request.param, [*range(1, 16), *others]


def test_detach_at_any_point_leaks_nothing(
    modules: dict[str, Path], points: tuple[str, list[int]]
) -> None:
    """``python -m tests.vmmemctl.anywhere`` tries every point."""
    balloon, chosen = points
    for point in chosen:
        anywhere.play(modules["amd64"], point, balloon=balloon)


def test_panic_at_any_point_leaves_the_host_no_page(
    modules: dict[str, Path], points: tuple[str, list[int]]
) -> None:
    """Also while the worker holds the lock."""
    balloon, chosen = points
    for point in chosen[::2]:
        anywhere.panic(modules["amd64"], point, balloon=balloon)
