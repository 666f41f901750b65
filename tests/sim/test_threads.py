"""A driver with a thread: its creation, its end, and errors in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import Halted, KernelPanic, Stalled

from .modkit import MACHINES, Machine, built

if TYPE_CHECKING:
    from vmtsim.kernel.lwp import Lwp

SECOND = 1_000_000_000


def _worker(machine: str = "amd64", bug: int = 0, seed: int = 1) -> Machine:
    flags = (f"-DBUG={bug}",) if bug else ()
    made = Machine(built("worker", machine, flags), machine, seed=seed)
    assert made.do("load") == 0
    made.kernel.run_for(SECOND)
    return made


def _threads(machine: Machine) -> list[Lwp]:
    return [lwp for lwp in machine.kernel.scheduler.lwps if lwp.name == "worker0"]


def _panics(bug: int, *, seeds: int) -> set[str]:
    """Return the rules by which unloading brings the kernel down, over some seeds."""

    def rule(seed: int) -> str:
        machine = _worker(bug=bug, seed=seed)
        try:
            machine.do("unload", "worker")
            machine.kernel.run_for(SECOND)
        except KernelPanic as panic:
            return panic.rule
        return ""

    return {rule(seed) for seed in range(1, seeds + 1)} - {""}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("seed", range(1, 9))
def test_thread_is_created_and_ended_with_device(machine: str, seed: int) -> None:
    made = _worker(machine, seed=seed)
    assert len(_threads(made)) == 1
    for _ in range(3):
        assert made.do("detach", "worker0") == 0
        assert _threads(made) == []
        assert made.do("rescan", "cpu0") == 0
    assert made.do("unload", "worker") == 0
    assert made.broken() == []


def test_thread_event_reaches_daemon() -> None:
    machine = _worker()
    machine.guest.set_powerd(on=True)
    machine.call("press")
    machine.kernel.run_for(SECOND)
    (event,) = [event for event in machine.trace.events if event.kind == "powerd"]
    assert (event["script"], event["name"]) == ("power_button", "pressed")


def test_without_daemon_hooks_run_in_raising_thread() -> None:
    machine = _worker()
    machine.start("press")
    with pytest.raises(Halted, match="power off"):
        machine.kernel.run_for(SECOND)
    (event,) = [event for event in machine.trace.events if event.kind == "kernel.reboot"]
    assert event["thread"] == "worker0"


def test_shutdown_by_process_stops_thread_first() -> None:
    machine = _worker()
    with pytest.raises(Halted):
        machine.do("shutdown")
    assert _threads(machine) == []


def test_hook_waiting_for_its_own_thread_never_powers_off() -> None:
    machine = _worker(bug=1)
    machine.call("press")
    with pytest.raises(Stalled):
        machine.kernel.run(lambda: False)
    (thread,) = _threads(machine)
    assert thread.state == "asleep"
    assert thread.what == "worker"


@pytest.mark.parametrize("bug", [2, 4], ids=["lost wake-up", "join with the lock"])
def test_detach_that_waits_forever_violates_liveness(bug: int) -> None:
    machine = _worker(bug=bug)
    with pytest.raises(Stalled):
        machine.do("detach", "worker0")


def test_hanging_command_with_other_activity_is_abandoned() -> None:
    machine = _worker(bug=2)

    def tick() -> None:
        machine.kernel.clock.at(machine.kernel.clock.now + SECOND, tick)

    tick()
    with pytest.raises(Stalled, match="detach has not ended after 600 s: it sleeps on 'kthrwait'"):
        machine.do("detach", "worker0")


def test_destroying_object_in_use_by_sleeping_thread_panics() -> None:
    # The schedule decides which thread detects it.
    rules = _panics(3, seeds=12)
    assert rules
    assert rules <= {"condvar-destroy-waited-on", "condvar-uninitialised"}


def test_unjoined_thread_is_detected() -> None:
    rules = _panics(5, seeds=8)
    assert rules
    assert rules <= {
        "kthread-left", "condvar-destroy-waited-on", "mutex-destroy-held", "free-with-mutex",
        "condvar-uninitialised", "mutex-destroy-waited-on", "mutex-uninitialised", "use-after-free",
    }  # fmt: skip
