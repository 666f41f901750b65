"""TCLO requests: replies, polling, lost channels, and a second service."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from vmtsim.host.fault_messages import UNKNOWN_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.dispatch import Entry
    from vmtsim.kernel.lwp import Lwp

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
# One tick more than the driver requested: a sleep of n ms is n / 10 ticks, rounded up, from the
# middle of a tick.
TICK = 0.0101

UNKNOWN = [b"frobnicate", b"PING", b"pin", b"pingx", b"OS_HaltOS_Halt", b"OS_halt", b"resetx",
           b"Resolution_Set 800 600", b"f \0\0\0\0", b'Vix_1_Relayed_Command "1" \0\1\2',
           b"vmsupport.start", b"deployPkg.begin", b"TimeInfo_Update", b"%s%n%x",
           b"\xff\xfe\x80", b"a" * 300]  # fmt: skip
# Known commands with arguments that they do not take.
BAD = [b"ping ping", b"reset now", b"Capabilities_Register 1",
       b"Time_Synchronize", b"Time_Synchronize x", b"Time_Synchronize 2", b"Time_Synchronize 11",
       b"Time_Synchronize 1 1", b"Time_Synchronize -1"]  # fmt: skip
NOTHING = [b" ", b"\0", b"  ", b" OS_Halt", b"\0OS_Halt"]


@pytest.mark.parametrize("message", UNKNOWN, ids=repr)
def test_unknown_command_is_refused(rig: Make, message: bytes) -> None:
    machine = rig()
    assert machine.ask(message) == b"ERROR Unknown Command"
    assert machine.stats("unknown") == 1
    assert machine.powerd == []
    assert machine.console[-1].startswith("vmt0 at cpu0")
    assert machine.log == []
    machine.leave()


def test_invalid_arguments_are_refused_without_effect(rig: Make) -> None:
    machine = rig()
    for message in BAD:
        assert machine.ask(message) == b"ERROR Bad command", message
    for message in NOTHING:
        assert machine.ask(message) == b"ERROR Bad command", message
    assert machine.powerd == []
    assert machine.time.steps == []
    assert machine.stats("resets") == 1
    assert machine.log == []
    machine.leave()


@pytest.mark.parametrize("message", [b"OS_Halt now", b"OS_Halt  ", b"OS_Halt \0", b"OS_Halt 1 2"])
def test_power_request_is_matched_by_name(rig: Make, message: bytes) -> None:
    """open-vm-tools looks at nothing else (services/plugins/powerOps/powerOps.c)."""
    machine = rig()
    assert machine.ask(message) == b"OK "
    machine.run(1)
    assert machine.powerd == [("power_button", "pressed")]
    machine.leave()


def test_every_message_is_answered(rig: Make) -> None:
    machine = rig()
    for message in UNKNOWN_MESSAGES:
        reply = machine.ask(message)
        assert reply.startswith((b"OK ", b"ERROR ")), message
    assert machine.stats("messages") >= len(UNKNOWN_MESSAGES)
    assert machine.attached
    machine.leave()


def test_empty_message_is_answered(rig: Make) -> None:
    machine = rig()
    assert machine.ask(b"") == b"ERROR Bad command"
    machine.leave()


def test_reset_restarts_conversation(rig: Make) -> None:
    machine = rig()
    assert machine.replies("reset") == [b"OK ATR toolbox"]
    since = machine.now
    assert machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert machine.replies("reset") == [b"OK ATR toolbox"] * 2
    requests = machine.requests(since=since)
    for start in ("vmx.capability.unified_loop toolbox", "tools.capability.statechange ",
                  "tools.set.versiontype 2147483647 3", "SetGuestInfo  1 guest.example",
                  "SetGuestInfo  7 ", "SetGuestInfo  10 ", "SetGuestInfo  11 ",
                  "SetGuestDiskInfo "):  # fmt: skip
        assert any(request.startswith(start.encode()) for request in requests), start
    # Logged once: the host's log must not repeat it.
    assert len(machine.requests("log ")) == 1
    machine.leave()


def _sleeps(machine: Rig) -> list[tuple[int, float]]:
    """Record the worker's sleeps from now on: (time, requested seconds)."""
    slept: list[tuple[int, float]] = []

    def note(lwp: Lwp, entry: Entry) -> None:
        if entry.name == "cv_timedwait" and lwp.name == "vmt0":
            ticks = entry.read()[2]
            slept.append((machine.now, ticks / 100))

    machine.kernel.scheduler.on_call = note
    return slept


def test_poll_interval_grows_after_message(rig: Make) -> None:
    machine = rig()
    machine.run(3)
    slept = _sleeps(machine)
    assert machine.ask("ping") == b"OK "
    del slept[:-1]
    machine.run(3)
    requested = [wait for _at, wait in slept]
    # The rest of a tick is slept, too: 0.01 s may be 0.02.
    assert requested[:5] == [0.01, 0.02, 0.04, 0.08, 0.1]
    quiet = requested.index(1.0)
    assert set(requested[5:quiet]) == {0.1}
    assert 0.9 <= sum(requested[:quiet]) <= 1.2
    assert set(requested[quiet:]) == {1.0}
    machine.leave()


def test_idle_poll_interval_is_at_most_one_second(rig: Make) -> None:
    machine = rig()
    machine.run(10)
    for offset in (0.05, 0.3, 0.62, 0.99):
        machine.run(5 + offset)
        sent = machine.now
        machine.ask("ping")
        (fetched,) = [e.at for e in machine.events("tclo", since=sent)]
        assert fetched - sent <= 1.02 * SECOND
    machine.leave()


@pytest.mark.parametrize("gap", [0.05, 0.2, 0.5, 0.7, 0.9])
def test_message_soon_after_another_is_fetched_within_100_ms(rig: Make, gap: float) -> None:
    machine = rig()
    machine.run(5)
    machine.ask("ping")
    machine.run(gap)
    sent = machine.now
    machine.ask("Set_Option copypaste 1")
    (fetched,) = [e.at for e in machine.events("tclo", since=sent)]
    assert fetched - sent <= (0.1 + TICK) * SECOND
    machine.leave()


def test_twenty_messages_are_answered_in_one_wakeup(rig: Make) -> None:
    machine = rig()
    machine.run(5)
    slept = _sleeps(machine)
    for number in range(20):
        machine.host.send(f"Set_Option guestLogLevel {number}")
    since = machine.now
    assert machine.until(lambda: machine.host.tclo.idle)
    answers = machine.events("tclo.reply", since=since)
    assert [e["reply"] for e in answers] == [b"OK "] * 20
    first, last = answers[0].at, answers[-1].at
    assert [at for at, _wait in slept if first <= at <= last] == []
    assert last - first < 0.02 * SECOND
    machine.leave()


def test_endless_messages_do_not_starve_other_work(rig: Make) -> None:
    machine = rig()
    machine.run(5)
    for _ in range(200):
        machine.host.send("ping")
    since = machine.now
    assert machine.until(lambda: machine.host.tclo.idle)
    answers = [e.at for e in machine.events("tclo.reply", since=since)]
    assert len(answers) == 200
    rests = [b - a for a, b in pairwise(answers) if b - a > SECOND // 200]
    assert len(rests) == 3
    machine.leave()


def test_lost_channel_is_logged_once_and_reopened(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    machine.host.lose_channel("all")
    assert machine.until(lambda: machine.host.tclo.channel, 10)
    machine.settle()
    assert machine.log == [
        "lost the channel to the host (5); opening it again",
        "the channel to the host is open again",
    ]
    assert machine.console[-1].startswith("vmt0 at cpu0")
    assert machine.info(1) == [b"guest.example"] * 2
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_repeated_channel_loss_does_not_flood_log(rig: Make) -> None:
    machine = rig()
    for _ in range(100):
        resets = machine.host.tclo.resets
        machine.host.lose_channel("tclo")
        assert machine.until(lambda before=resets: machine.host.tclo.resets > before)  # type: ignore[misc]
    minutes = (machine.now - machine.events("close")[0].at) // (60 * SECOND)
    lines = [line for line in machine.log if "channel" in line]
    assert minutes >= 8
    assert len(lines) <= 5 + minutes
    machine.run(70)
    assert machine.log[-1] == "the channel to the host is open again"
    machine.host.lose_channel("tclo")
    machine.run(10)
    assert machine.log[-2:] == [
        "lost the channel to the host (5); opening it again",
        "the channel to the host is open again",
    ]
    machine.leave()


def test_channel_is_reopened_before_host_heartbeat_timeout(rig: Make) -> None:
    """20 s of silence: "Tools heartbeat timeout", open-vm-tools issue 209."""
    machine = rig()
    machine.host.faults.arm("table-full", times=1000)
    machine.host.lose_channel("all")
    machine.run(300)
    tries = [e.at for e in machine.events("open.refused")]
    pauses = [b - a for a, b in pairwise(tries)]
    assert max(pauses) <= 5.1 * SECOND
    assert len(tries) < 200  # and not each second forever
    machine.host.faults.disarm()
    assert machine.until(lambda: machine.host.tclo.channel, 10)
    machine.leave()


@pytest.mark.parametrize("fault", ["lose-channel", "wrong-cookie", "closed"])
@pytest.mark.parametrize("at", ["sendsize", "hb-out", "recvsize", "hb-in", "recvstatus"])
def test_channel_may_be_lost_at_every_step(rig: Make, fault: str, at: str) -> None:
    machine = rig(idle_close=0 if fault == "wrong-cookie" else 80)
    machine.run(70)
    machine.host.faults.arm(fault, at=at, protocol="tclo")
    machine.host.send("ping")
    assert machine.until(lambda: machine.host.faults.injected[fault] == 1)
    machine.settle()
    assert machine.until(lambda: machine.host.tclo.channel, 10)
    assert machine.ask("ping") == b"OK "
    assert machine.stats("reopens") == 1
    if fault == "wrong-cookie":
        # The old channel stays in the host's table; the guest cannot close it.
        assert machine.channels == {"rpci": 0, "tclo": 1}
    machine.leave()


def test_consecutive_losses_increase_retry_delay(rig: Make) -> None:
    machine = rig()
    since = machine.now
    machine.host.faults.arm("lose-channel", times=8, at="recvsize", protocol="tclo")
    assert machine.until(lambda: machine.host.faults.injected["lose-channel"] == 8, 300)
    opened = [e.at for e in machine.events("open", since=since) if e["protocol"] == "tclo"]
    pauses = [round((b - a) / SECOND) for a, b in pairwise(opened)]
    assert pauses == [2, 4, 5, 5, 5, 5]
    machine.settle(120)
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_channel_contention_is_logged_once_with_remedy(rig: Make) -> None:
    machine = rig()
    machine.run(70)
    since = machine.now
    advice = "vmt0: vmtoolsd(8) uses the same channel: stop it, or drvctl -d vmt0"
    machine.host.steal_channel(600)
    machine.run(600)
    assert machine.console.count(advice) == 1
    assert machine.stats("contentions") == 1
    opened = [e.at for e in machine.events("open", since=since) if e["protocol"] == "tclo"]
    # The rival reopens a second later each time; the driver retries every 5 s.
    assert machine.host.tclo.claims <= 110
    assert len(opened) <= 2 * 110
    machine.run(60)
    assert machine.until(lambda: machine.host.tclo.channel, 60)
    machine.settle()
    machine.run(120)
    # The contention is over; a new one logs a new line.
    machine.host.steal_channel(600)
    machine.run(600)
    assert machine.console.count(advice) == 2
    machine.leave()


def test_unneeded_resets_count_as_channel_contention(rig: Make) -> None:
    machine = rig()
    machine.run(70)
    for _ in range(10):
        machine.host.tclo.reset()
        machine.run(2)
    assert sum("vmtoolsd(8)" in line for line in machine.console) == 1
    machine.leave()


def test_single_channel_takeover_is_not_contention(rig: Make) -> None:
    machine = rig()
    machine.run(70)
    machine.host.steal_channel(1.5)
    machine.run(60)
    assert not any("vmtoolsd(8)" in line for line in machine.console)
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_failed_registration_is_retried(rig: Make) -> None:
    """If Capabilities_Register does not reach the host, the driver resends it 30 s later."""

    def arm_faults(machine: Rig) -> None:
        machine.host.faults.arm("no-reply", command="tools.capability.statechange", times=2)

    machine = rig(before=arm_faults)
    assert not machine.host.tools.power_operations or machine.requests("tools.capability.state")
    first = len(machine.requests("tools.capability.statechange"))
    machine.run(35)
    assert len(machine.requests("tools.capability.statechange")) > first
    assert machine.host.tools.power_operations
    machine.leave()


def test_pending_answer_is_sent_before_detach_closes_channel(rig: Make) -> None:
    """A detach right after a message: the host still gets its reply."""
    machine = rig()
    process = machine.when("tclo", "detach", "vmt0", message=b"OS_PowerOn")
    assert machine.ask("OS_PowerOn") == b"OK "
    assert machine.until(lambda: process[0].state == "gone")
    assert process[0].result == 0
    assert not machine.attached
    machine.leave()


def test_pending_refusal_is_sent_before_detach_closes_channel(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("huge-length", protocol="tclo")
    process = machine.when("tclo.dropped", "detach", "vmt0")
    machine.host.send("ping")
    assert machine.until(lambda: bool(process) and process[0].state == "gone")
    assert [e["reply"] for e in machine.events("tclo.late")] == [b"ERROR Message too large"]
    machine.leave()
