"""One turn of the worker: its calls when idle, and its deadlines after a slow operation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from vmtsim.kernel.api import Block
from vmtsim.kernel.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmtsim.kernel.lwp import Lwp
    from vmtsim.kernel.mounts import Mount

    from .rig import Rig

    Make = Callable[..., Rig]

TICK = 0.01  # s
SLOW = 5.0  # s


def calls_while(machine: Rig, seconds: float) -> Counter[str]:
    """Count the worker's calls of kernel functions while virtual time passes."""
    found: Counter[str] = Counter()

    def called(lwp: Lwp, entry: Any) -> None:
        if lwp.name == "vmt0":
            found[entry.name] += 1

    scheduler = machine.kernel.scheduler
    usual, scheduler.on_call = scheduler.on_call, called
    machine.run(seconds)
    scheduler.on_call = usual
    return found


def test_a_turn_without_a_message_reads_the_uptime_once(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    # Nothing is due in these seconds but polls: neither reports nor the clock.
    start = machine.now
    for _ in range(8):
        since = machine.now
        found = calls_while(machine, 1)
        if found["cv_timedwait"] == 1 and not machine.requests(since=since):
            assert found["nanouptime"] == 1
            break
    else:
        raise AssertionError(f"no second from {start / SECOND:.0f} s on had only a poll")
    machine.leave()


def test_an_hour_reads_the_uptime_little_more_often_than_it_sleeps(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    found = calls_while(machine, 600)
    assert found["cv_timedwait"] <= found["nanouptime"] <= 1.2 * found["cv_timedwait"]
    machine.leave()


def test_a_poll_that_is_due_follows_a_slow_file_system_at_once(rig: Make) -> None:
    """The worker sleeps until the next deadline, counted from the time when it goes to sleep."""
    machine = rig()
    # A report after the check would read the time again.
    machine.write("info.memory_period", 0)
    machine.run(100)
    wait, call = machine.mounts.wait_for_server, machine.host.transport.call
    answers: list[int] = []
    polls: list[int] = []

    def slow(mount: Mount) -> Iterator[Any]:
        yield Block(deadline=machine.now + round(SLOW * SECOND), what="biowait")
        yield from wait(mount)
        answers.append(machine.now)

    def counted(frame: Any) -> None:
        polls.append(machine.now)
        call(frame)

    machine.mounts.wait_for_server = slow  # type: ignore[method-assign]
    machine.host.transport.call = counted  # type: ignore[method-assign]
    machine.run(200)
    assert len(answers) >= 2
    for answer in answers:
        after = [at for at in polls if at >= answer]
        assert (after[0] - answer) / SECOND <= 2 * TICK
    machine.leave()
