"""Shutdown, reboot, suspend, resume: status, reply, event, in this order, and the log lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.compiler.spec.load import load
from vmtsim.kernel.entropy import Entropy
from vmtsim.kernel.errors import Halted
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.sysmon import RB_POWERDOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
# Message, state, (script, event) of powerd or None, the console line.
OPERATIONS = [
    ("OS_Halt", 1, ("power_button", "pressed"), "host requests shutdown"),
    ("OS_Reboot", 2, ("reset_button", "pressed"), "host requests reboot"),
    ("OS_PowerOn", 3, None, None),
    ("OS_Resume", 4, ("sleep_button", "released"), "host resumed the virtual machine"),
    ("OS_Suspend", 5, None, "host suspends the virtual machine"),
]


def _order(machine: Rig, message: str) -> list[str]:
    """The effects of a power request, in the order in which they happened."""
    found = []
    for event in machine.trace.events:
        if event.kind == "rpci" and event["request"].startswith(b"tools.os.statechange.status"):
            found.append("status")
        elif event.kind == "tclo.reply" and event["message"] == message.encode():
            found.append("answer")
        elif event.kind == "powerd":
            found.append("event")
        elif event.kind == "console" and "host " in event["text"]:
            found.append("console")
    return found


@pytest.mark.parametrize(("message", "state", "event", "line"), OPERATIONS)
def test_status_precedes_reply_and_reply_precedes_event(
    rig: Make, message: str, state: int, event: tuple[str, str] | None, line: str | None
) -> None:
    machine = rig()
    assert machine.ask(message) == b"OK "
    machine.run(1)
    assert machine.requests("tools.os.statechange") == [
        f"tools.os.statechange.status 1 {state}".encode()
    ]
    assert machine.host.power.statuses == {state: True}
    assert machine.powerd == ([] if event is None else [event])
    expected = ["console"] if line else []
    expected += ["status", "answer"]
    expected += ["event"] if event else []
    assert _order(machine, message) == expected
    entries = [text for text in machine.console if text.startswith("vmt0: host")]
    assert [text.removeprefix("vmt0: ").partition(" (")[0] for text in entries] == (
        [line] if line else []
    )
    # Important lines are also in the host's log.
    notes = [note for note in machine.host.rpci.guest_log if "host" in note]
    assert len(notes) == (1 if line else 0)
    machine.leave()


@pytest.mark.parametrize(
    ("message", "how", "says"),
    [
        ("OS_Halt", "power off", "without powerd(8) the kernel powers off"),
        ("OS_Reboot", "reboot", "without powerd(8) the kernel reboots"),
    ],
)
def test_without_powerd_worker_shuts_down_directly(
    rig: Make, message: str, how: str, says: str
) -> None:
    machine = rig(powerd=False)
    assert machine.ask(message) == b"OK "
    with pytest.raises(Halted) as halted:
        machine.run(10)
    assert halted.value.how == how
    (reboot,) = machine.events("kernel.reboot")
    assert reboot["thread"] == "vmt0"
    assert machine.replies(message) == [b"OK "]
    assert any(says in line for line in machine.console)
    # The shutdown hook ran in the worker: the service was withdrawn, the channels are closed.
    assert machine.requests("tools.capability.hgfs_server")[-1].endswith(b"toolbox 0")
    assert machine.host.guest_channels == []
    machine.clean()


def test_resume_without_powerd_presses_no_button(rig: Make) -> None:
    machine = rig(powerd=False)
    assert machine.ask("OS_Resume") == b"OK "
    machine.run(1)
    assert not any("button pressed" in line for line in machine.console)
    machine.leave()


@pytest.mark.parametrize(("message", "state"), [("OS_Halt", 1), ("OS_Reboot", 2), ("OS_Resume", 4)])
def test_power_request_during_detach_is_refused(rig: Make, message: str, state: int) -> None:
    """Detaching: the event can no longer be raised, and the driver reports 0 to the host."""
    machine = rig()
    process = machine.when("tclo", "detach", "vmt0", message=message.encode())
    assert machine.ask(message) == b"ERROR Unable to raise the event"
    assert machine.until(lambda: process[0].state == "gone")
    assert machine.requests("tools.os.statechange") == [
        f"tools.os.statechange.status 0 {state}".encode()
    ]
    machine.run(5)
    assert machine.powerd == []
    machine.leave()


def test_promised_event_is_raised_despite_detach(rig: Make) -> None:
    machine = rig()
    process = machine.when("power.status", "detach", "vmt0")
    assert machine.ask("OS_Halt") == b"OK "
    assert machine.until(lambda: process[0].state == "gone")
    assert machine.powerd == [("power_button", "pressed")]
    assert machine.replies("OS_Halt") == [b"OK "]
    machine.leave()


def test_promised_event_is_raised_despite_lost_channel(rig: Make) -> None:
    machine = rig()
    machine.run(70)
    machine.host.faults.arm("lose-channel", skip=1, at="sendsize", protocol="tclo")
    machine.host.send("OS_Halt")
    assert machine.until(lambda: machine.host.faults.injected["lose-channel"] == 1)
    machine.run(1)
    assert machine.powerd == [("power_button", "pressed")]
    machine.leave()


@pytest.mark.parametrize("fault", ["reject", "no-reply", "garbage-reply"])
def test_refused_status_is_logged(rig: Make, fault: str) -> None:
    machine = rig()
    machine.host.faults.arm(fault, times=2, command="tools.os.statechange.status")
    assert machine.ask("OS_Halt") == b"OK "
    machine.run(1)
    assert machine.powerd == [("power_button", "pressed")]
    assert len(machine.log) == 1
    assert machine.log[0].startswith('cannot send "tools.os.statechange.status" to the host (')
    assert machine.console[-1].startswith("vmt0: host requests shutdown")
    machine.leave()


def test_two_requests_raise_two_events(rig: Make) -> None:
    machine = rig()
    assert machine.ask("OS_Halt") == b"OK "
    assert machine.ask("OS_Halt") == b"OK "
    machine.run(1)
    assert machine.powerd == [("power_button", "pressed")] * 2
    machine.leave()


def test_resume_sets_clock_reseeds_entropy_and_resends_all(rig: Make) -> None:
    machine = rig()
    entropy = machine.kernel.subject(Entropy)
    epoch, fed = entropy.epoch, len(entropy.added)
    machine.host.clock.jump(3600 * SECOND)
    since = machine.now
    assert machine.ask("OS_Resume") == b"OK "
    machine.run(3)
    ((_at, step),) = [each for each in machine.time.steps if each[0] >= since]
    assert abs(step - 3600 * SECOND) < SECOND // 100
    assert entropy.epoch > epoch
    # Data, but credited with no entropy: its amount is unknown.
    assert {bits for _size, bits in entropy.added[fed:]} == {0}
    assert machine.info(1, since) == [b"guest.example"]
    assert len(machine.info(10, since)) == 1
    assert len(machine.requests("SetGuestDiskInfo", since)) == 1
    machine.leave()


def test_suspend_of_one_hour_keeps_guest_on_time(rig: Make) -> None:
    machine = rig()
    assert machine.host.suspend(3600, lose_channels=True)
    assert machine.until(lambda: ("sleep_button", "released") in machine.powerd, 60)
    machine.run(5)
    assert abs(machine.time.realtime() - machine.host.clock.now()) < SECOND // 1000
    assert machine.replies("OS_Suspend") == [b"OK "]
    assert machine.replies("Time_Synchronize 0") == [b"OK "]
    machine.leave()


def test_administrator_shutdown_withdraws_service(rig: Make) -> None:
    machine = rig()
    with pytest.raises(Halted):
        machine.do("shutdown")
    assert machine.requests("tools.capability.hgfs_server")[-1].endswith(b"toolbox 0")
    assert machine.host.guest_channels == []
    (reboot,) = machine.events("kernel.reboot")
    assert reboot["thread"] != "vmt0"
    machine.clean()


def _taken_leave(machine: Rig) -> bool:
    return machine.requests("tools.capability.hgfs_server")[-1].endswith(b"toolbox 0") and (
        machine.host.guest_channels == []
    )


def test_detachall_reboot_in_worker_does_not_deadlock(rig: Make) -> None:
    """kern.detachall=1: autoconf calls the driver's detach in the thread that reboots."""
    machine = rig(powerd=False, detachall=True)
    assert machine.ask("OS_Reboot") == b"OK "
    with pytest.raises(Halted):
        machine.run(10)
    assert _taken_leave(machine)
    machine.clean()


def test_detachall_administrator_shutdown_detaches(rig: Make) -> None:
    machine = rig(detachall=True)
    with pytest.raises(Halted):
        machine.do("shutdown")
    assert not machine.attached
    assert _taken_leave(machine)
    machine.clean()


@pytest.mark.parametrize("detachall", [False, True])
def test_host_halt_during_reboot_by_another_thread(rig: Make, detachall: bool) -> None:
    """The second kern_reboot() never returns: the worker is lost, the machine shuts down."""
    machine = rig(powerd=False, detachall=detachall)
    machine.run(2)
    lwp = machine.start("shutdown")
    assert machine.until(lambda: lwp.what == "syncwait")
    machine.host.send("OS_Halt")
    with pytest.raises(Halted):
        machine.run(30)
    assert len(machine.events("kernel.reboot")) == 1
    assert machine.replies("OS_Halt") == [b"OK "]
    assert _taken_leave(machine)
    machine.clean()


def test_shutdown_hook_waits_limited_time_for_busy_worker(rig: Make) -> None:
    """A file system that hangs blocks the worker; the hook continues anyway."""
    machine = rig()
    machine.mounts.hang("/")
    machine.host.tclo.reset()
    machine.run(5)
    since = machine.now
    machine.guest.wait("shutdown", machine.kernel.subject(Pmf).shutdown(RB_POWERDOWN))
    assert machine.now - since <= 3 * SECOND
    assert machine.kernel.violations == []


def test_shutdown_waits_for_worker_inside_file_system(rig: Make) -> None:
    """The kernel unmounts before it runs the hooks, and unmounting waits for threads inside."""
    machine = rig()
    machine.mounts.hang("/")
    machine.host.tclo.reset()
    machine.run(5)
    shutting_down = machine.start("shutdown")
    machine.run(60)
    assert shutting_down.what == "fstcnt"
    machine.mounts.hang("/", stuck=False)
    with pytest.raises(Halted):
        machine.run(5)
    assert _taken_leave(machine)
    machine.clean()


def test_guest_suspend_cannot_fail_in_a_hook(rig: Make) -> None:
    machine = rig()
    assert machine.do("suspend") == 0
    assert machine.do("resume") == 0
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_no_message_presses_sleep_button(rig: Make) -> None:
    """NetBSD's sleep_button answers a press with S3: the guest would sleep after its resume.

    So no script receives the host's suspend, and vmtctl documents none.
    """
    machine = rig()
    for command in load(Path(__file__).parents[2] / "specs" / "vmt").tclo.commands:
        for arguments in ("", " 1", " broadcastIP 1", " synctime 1"):
            machine.ask(command.name + arguments)
    for _ in range(2):
        machine.ask("OS_Suspend")
        machine.run(5)
    assert set(machine.powerd) == {
        ("power_button", "pressed"), ("reset_button", "pressed"), ("sleep_button", "released"),
    }  # fmt: skip
