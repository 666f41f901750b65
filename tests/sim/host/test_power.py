"""Power operations and quiesced snapshots, from the request to the guest's reply."""

import pytest

from .client import Channel, Guest
from .test_tclo import started

HALT = [b"tools.os.statechange.status 1 1"]


@pytest.mark.parametrize(
    ("operation", "message", "state"),
    [
        ("halt", b"OS_Halt", 1),
        ("reboot", b"OS_Reboot", 2),
        ("power-on", b"OS_PowerOn", 3),
        ("resume", b"OS_Resume", 4),
        ("suspend", b"OS_Suspend", 5),
    ],
)
def test_operation_is_one_message_and_one_status(
    operation: str, message: bytes, state: int
) -> None:
    guest, channel = started()
    answers: list[bool] = []
    assert guest.host.power.request(operation, answers.append)
    assert guest.tools(channel, 2) == [message]
    assert answers == [True]
    assert guest.host.power.statuses == {state: True}
    assert guest.broken_rules() == []


def test_shutdown_is_unavailable_until_statechange() -> None:
    guest = Guest(option_burst=(), power_on=False)
    channel = guest.open(b"TCLO")
    assert not guest.host.power.request("halt")
    guest.tools(channel, 2)
    assert guest.host.power.request("halt")


@pytest.mark.parametrize("order", ["status first", "reply first"])
def test_status_may_precede_or_follow_reply(order: str) -> None:
    guest, channel = started()
    guest.host.power.request("halt")
    guest.turn(channel)
    if order == "status first":
        guest.rpci(HALT[0])
        guest.turn(channel, b"OK ")
    else:
        guest.turn(channel, b"OK ")
        guest.rpci(HALT[0])
    assert guest.broken_rules() == []
    assert guest.host.power.underway == ()


@pytest.mark.parametrize("status", [b"1 1", b"0 1", b"1 2"])
def test_second_or_wrong_status_is_a_violation(status: bytes) -> None:
    guest, channel = started()
    guest.host.power.request("halt")
    guest.turn(channel)
    guest.rpci(HALT[0])
    guest.rpci(b"tools.os.statechange.status " + status)
    assert guest.broken_rules() == ["state-change"]


def test_status_with_lost_reply_may_be_resent() -> None:
    guest, channel = started()
    guest.host.power.request("halt")
    guest.turn(channel)
    lost = guest.open(b"RPCI")
    guest.send(lost, HALT[0])
    guest.close(lost)
    assert guest.rpci(HALT[0]) == b"1 "
    assert guest.broken_rules() == []
    assert len(guest.events("power.status")) == 1
    guest.rpci(HALT[0])
    assert guest.broken_rules() == ["state-change"]


def test_refusal_needs_no_status() -> None:
    guest, channel = started()
    answers: list[bool] = []
    guest.host.power.request("halt", answers.append)
    guest.turn(channel)
    guest.turn(channel, b"ERROR State change already in progress")
    assert answers == [False]
    assert guest.host.power.underway == ()


def test_missing_status_times_out() -> None:
    guest, channel = started(power_timeout=60)
    answers: list[bool] = []
    guest.host.power.request("halt", answers.append)
    guest.turn(channel)
    guest.turn(channel, b"OK ")
    guest.wait(61)
    assert answers == [False]
    assert [e["operation"] for e in guest.events("power.timeout")] == ["halt"]
    guest.rpci(HALT[0])
    assert guest.broken_rules() == []
    guest.rpci(HALT[0])
    assert guest.broken_rules() == ["state-change"]


def test_suspended_machine_wakes_an_hour_later() -> None:
    guest, channel = started()
    before = guest.host.clock.now() - guest.time
    assert guest.host.suspend(3600)
    received = guest.tools(channel, 3)
    assert received == [b"OS_Suspend", b"OS_Resume", b"Time_Synchronize 0"]
    assert guest.host.clock.now() - guest.time - before == 3600 * 10**9
    assert guest.broken_rules() == []


def test_suspend_may_lose_every_channel() -> None:
    guest, channel = started()
    guest.host.suspend(10, lose_channels=True)
    guest.turn(channel)
    guest.rpci(b"tools.os.statechange.status 1 5")
    guest.wait(1)
    assert guest.step(1, channel, 3).arg2 == 0
    received = guest.tools(guest.open(b"TCLO"), 5)
    assert received[0] == b"reset"
    assert received[-2:] == [b"OS_Resume", b"Time_Synchronize 0"]


def test_second_suspend_ignores_failure_of_first() -> None:
    guest, channel = started()

    def fail(message: bytes) -> bytes:
        if message == b"OS_Suspend":
            guest.rpci(b"tools.os.statechange.status 0 5")
            return b"OK "
        return guest.answer(message)

    guest.host.suspend(3600)
    assert guest.tools(channel, 3, fail) == [b"OS_Suspend"]
    guest.host.suspend(3600)
    assert guest.tools(channel, 3, fail) == [b"OS_Suspend", b"OS_Resume", b"Time_Synchronize 0"]


def test_time_sync_switch_is_sent_and_readable() -> None:
    guest, channel = started()
    assert guest.low(13).arg0 & 0x400 == 0
    guest.host.set_synctime(on=True)
    assert guest.low(13).arg0 & 0x400
    assert guest.tools(channel, 2) == [b"Set_Option synctime 1"]


MOVES = {
    "migrate": lambda guest, **how: guest.host.migrate(**how),
    "revert": lambda guest, **how: guest.host.snapshot_revert(60, **how),
}


@pytest.mark.parametrize("move", sorted(MOVES))
def test_channels_survive_move_with_forward_time_sync(move: str) -> None:
    guest, channel = started()
    MOVES[move](guest)
    assert guest.tools(channel, 3) == [b"Time_Synchronize 0"]
    assert guest.broken_rules() == []


@pytest.mark.parametrize("move", sorted(MOVES))
def test_move_may_lose_every_channel(move: str) -> None:
    guest, channel = started()
    MOVES[move](guest, lose_channels=True)
    assert guest.step(1, channel, 0).arg2 == 0
    assert guest.host.transport.channels == {}
    received = guest.tools(guest.open(b"TCLO"), 5)
    assert received == [b"reset", b"Capabilities_Register", b"Time_Synchronize 0"]


def test_time_sync_after_resume_can_be_disabled() -> None:
    guest, channel = started()
    guest.host.snapshot_revert(60, time_synchronize=False)
    assert guest.tools(channel, 3) == []


# Operations in progress.


def register(guest: Guest, uptime: int | None) -> list[bytes]:
    """Let the guest open a new channel and register, with its uptime if it is given."""

    def answer(message: bytes) -> bytes:
        reply = guest.answer(message)
        if message == b"Capabilities_Register" and uptime is not None:
            guest.rpci(b"SetGuestInfo  7 %d" % uptime)
        return reply

    return guest.tools(guest.open(b"TCLO"), 5, answer)


def halted(operation: str = "reboot", **options: object) -> Guest:
    """Return a guest that was up for an hour when it accepted a halt or reboot."""
    guest, channel = started(**options)
    guest.rpci(b"SetGuestInfo  7 360000")
    guest.host.power.request(operation)
    guest.tools(channel, 2)
    guest.close(channel)
    return guest


@pytest.mark.parametrize(
    ("operation", "state"), [("halt", "shutting down"), ("reboot", "resetting")]
)
def test_accepted_halt_is_pending_until_smaller_uptime(operation: str, state: str) -> None:
    guest = halted(operation)
    assert guest.host.power.guest_state == state
    assert register(guest, 370_000)[0] == b"reset"
    assert guest.host.power.guest_state == state
    register(guest, 1_000)
    assert guest.host.power.guest_state == "running"
    assert guest.host.power.restarts == 1
    assert guest.host.power.request("halt")


def test_no_operation_is_sent_during_pending_reboot() -> None:
    guest = halted()
    register(guest, None)
    for operation in ("halt", "reboot", "suspend"):
        assert not guest.host.power.request(operation)


def test_uptime_outside_registration_is_ignored() -> None:
    guest = halted()
    register(guest, None)
    guest.rpci(b"SetGuestInfo  7 1000")
    assert guest.host.power.guest_state == "resetting"
    assert not guest.host.power.request("reboot")


def test_refused_halt_is_not_pending() -> None:
    guest, channel = started()
    guest.host.power.request("halt")
    guest.turn(channel)
    guest.rpci(b"tools.os.statechange.status 0 1")
    guest.turn(channel, b"OK ")
    assert guest.host.power.guest_state == "running"


def test_host_option_allows_request_without_restart() -> None:
    guest = halted(power_pending=False)
    register(guest, None)
    assert guest.host.power.request("halt")


def test_unfetched_request_fails_after_one_minute() -> None:
    guest, channel = started(heartbeat_timeout=0)
    guest.close(channel)
    answers: list[bool] = []
    assert guest.host.power.request("halt", answers.append)
    guest.wait(62)
    assert answers == [False]


# Backup.


def events(guest: Guest, *names: bytes) -> list[bytes | None]:
    return [guest.rpci(b"vmbackup.eventSet " + name) for name in names]


def backing_up(**arguments: object) -> tuple[Guest, Channel]:
    guest, channel = started()
    guest.host.backup.start(**arguments)  # type: ignore[arg-type]
    assert (guest.turn(channel) or b"").startswith(b"vmbackup.start")
    return guest, channel


def test_backup_runs_from_start_to_done() -> None:
    guest, channel = backing_up(snapshot=3)
    assert events(guest, b"reset 0 ") == [b"1 "]
    guest.turn(channel, b"OK ")
    assert events(guest, b"req.keepAlive 0 ", b"prov.snapshotCommit 0 ") == [b"1 "] * 2
    assert guest.host.backup.state == "frozen"
    assert guest.tools(channel, 2) == []
    assert guest.tools(channel, 2, lambda _: b"OK ") == [b"vmbackup.snapshotDone"]
    assert events(guest, b"req.done 0 ") == [b"1 "]
    assert (guest.host.backup.state, guest.host.backup.completed) == ("idle", 1)
    assert guest.broken_rules() == []


def test_guest_without_backup_support_ends_it() -> None:
    guest, channel = backing_up()
    guest.turn(channel, b"ERROR Unknown command")
    assert (guest.host.backup.state, guest.host.backup.failed) == ("idle", 1)


def test_events_without_operation_are_refused() -> None:
    guest, _ = started()
    assert events(guest, b"req.keepAlive 0 ") == [b"0 No backup in progress"]
    assert guest.broken_rules() == []


def test_quiesced_snapshot_starts_as_in_logs() -> None:
    guest, channel = started()
    guest.host.backup.start()
    assert guest.turn(channel) == b"vmbackup.start 1"


def test_reset_event_precedes_reply() -> None:
    guest, channel = backing_up()
    guest.turn(channel, b"OK ")
    assert guest.broken_rules() == ["backup-event"]


@pytest.mark.parametrize("name", [b"prov.snapshotCommit 0 ", b"req.keepAlive 0 "])
def test_out_of_order_events_are_violations(name: bytes) -> None:
    guest, _ = backing_up()
    events(guest, name)
    assert guest.broken_rules() == ["backup-event"]


def test_silent_frozen_guest_times_out() -> None:
    guest, channel = backing_up(snapshot=100)
    events(guest, b"reset 0 ", b"prov.snapshotCommit 0 ")
    guest.turn(channel, b"OK ")
    guest.wait(4)
    assert guest.host.backup.state == "frozen"
    guest.wait(2)
    assert guest.host.backup.state == "idle"
    assert events(guest, b"req.keepAlive 0 ") == [b"0 No backup in progress"]


def test_aborted_backup_ends_with_aborted_and_done() -> None:
    guest, channel = backing_up(snapshot=100)
    events(guest, b"reset 0 ", b"prov.snapshotCommit 0 ")
    guest.turn(channel, b"OK ")
    guest.host.backup.abort()
    assert guest.tools(channel, 2, lambda _: b"OK ") == [b"vmbackup.abort"]
    events(guest, b"req.aborted 4 Quiesce canceled.", b"req.done 0 ")
    assert (guest.host.backup.state, guest.host.backup.failed) == ("idle", 1)
    assert guest.host.backup.last_code == 4
    assert guest.broken_rules() == []


def test_second_backup_is_refused_during_first() -> None:
    guest, channel = backing_up(snapshot=1)
    assert not guest.host.backup.start()
    events(guest, b"reset 0 ", b"prov.snapshotCommit 0 ")
    guest.turn(channel, b"OK ")
    assert not guest.host.backup.start()
    assert guest.tools(channel, 3, lambda _: b"OK ") == [b"vmbackup.snapshotDone"]
    events(guest, b"req.done 0 ")
    assert guest.host.backup.completed == 1
    assert guest.host.backup.start()
    assert guest.broken_rules() == []


@pytest.mark.parametrize(
    ("before", "message", "after"),
    [
        ((b"reset 0 ",), b"vmbackup.abort", (b"req.aborted 4 ", b"req.done 0 ")),
        (
            (b"reset 0 ", b"prov.snapshotCommit 0 "),
            b"vmbackup.snapshotDone",
            (b"req.keepAlive 0 ", b"req.done 0 "),
        ),
        (
            (b"reset 0 ", b"prov.snapshotCommit 0 "),
            b"vmbackup.start",
            (b"reset 0 ", b"prov.snapshotCommit 0 ", b"req.aborted 4 ", b"req.done 0 "),
        ),
    ],
)
def test_guest_that_obeys_raw_message_breaks_no_rule(
    before: tuple[bytes, ...], message: bytes, after: tuple[bytes, ...]
) -> None:
    guest, channel = backing_up(snapshot=100)
    events(guest, *before)
    guest.turn(channel, b"OK ")
    guest.host.send(message)
    assert guest.tools(channel, 2, lambda _: b"OK ") == [message]
    assert events(guest, *after) == [b"1 "] * len(after)
    assert guest.host.backup.state == "idle"
    assert guest.broken_rules() == []


def test_guest_starts_again_with_message_of_abandoned_operation() -> None:
    """A campaign's seed 771: the first start was still in the queue when the second was sent."""
    guest, channel = started()
    assert guest.host.backup.start(snapshot=100)
    guest.host.backup.abort()
    guest.wait(6)
    assert guest.host.backup.state == "idle"
    assert guest.host.backup.start(snapshot=100)
    assert guest.turn(channel) == b"vmbackup.start 1"
    assert events(guest, b"reset 0 ") == [b"1 "]
    assert guest.turn(channel, b"OK ") == b"vmbackup.abort"
    assert events(guest, b"req.aborted 4 ") == [b"1 "]
    assert guest.turn(channel, b"OK ") == b"vmbackup.start 1"
    assert events(guest, b"reset 0 ") == [b"1 "]
    guest.turn(channel, b"OK ")
    assert guest.broken_rules() == []


def test_raw_abort_before_start_changes_nothing() -> None:
    guest, channel = started()
    guest.host.send(b"vmbackup.abort")
    guest.host.backup.start(snapshot=1)
    assert guest.tools(channel, 2, lambda _: b"OK ")[:1] == [b"vmbackup.abort"]
    assert guest.host.backup.state == "started"


def test_parameters_are_xdr_of_requested_version() -> None:
    from vmtsim.host.backup import quiesce_parameters

    one = quiesce_parameters(manifest=True, argument="abcde", timeout=60, disks="u")
    assert one == bytes.fromhex(
        "00000001 00000001 00000001 00000000 00000001 00000000 00000001"
        "00000005 6162636465000000 0000003c 00000001 75000000"
    )
    two = quiesce_parameters(version=2)
    assert two[:4] == b"\0\0\0\2"
    assert len(two) == len(quiesce_parameters()) + 16
