"""The TCLO loop: start, order, replies, time-outs, a second client."""

import pytest
from vmtsim.host import HostOptions

from .client import Channel, Guest, Refused


def started(**options: object) -> tuple[Guest, Channel]:
    """Return a quiet guest whose tools are up and running."""
    chosen = {"option_burst": (), "power_on": False, "ping": 0, "vix_probe": 0, **options}
    guest = Guest(**chosen)
    channel = guest.open(b"TCLO")
    guest.tools(channel, 3)
    return guest, channel


def test_next_message_waits_for_reply_to_previous() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.host.send("Set_Option copypaste 1")
    assert guest.turn(channel) == b"ping"
    assert guest.turn(channel, b"OK ") == b"Set_Option copypaste 1"
    assert guest.turn(channel, b"OK ") is None
    assert guest.broken_rules() == []


def test_reply_goes_to_sender_of_message() -> None:
    guest, channel = started()
    answers: list[tuple[bool, bytes]] = []
    guest.host.tclo.send("ping", lambda ok, reply: answers.append((ok, reply)))
    guest.host.tclo.send("what", lambda ok, reply: answers.append((ok, reply)))
    guest.tools(channel, 2)
    assert answers == [(True, b"OK "), (False, b"ERROR Unknown command")]


@pytest.mark.parametrize(
    ("reply", "rules"),
    [
        (b"OK ", []),
        (b"OK text", []),
        (b"ERROR Unknown command", []),
        (b"OK", ["tclo-reply"]),
        (b"ERR no", ["tclo-reply"]),
        (b"ERROR", ["tclo-reply"]),
        (b"ok ", ["tclo-reply"]),
        (b"OK \0", []),
    ],
)
def test_reply_starts_with_ok_or_error_and_space(reply: bytes, rules: list[str]) -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.turn(channel)
    guest.turn(channel, reply)
    assert guest.broken_rules() == rules
    assert guest.events("tclo.reply")[-1]["ok"] is reply.startswith(b"OK ")


@pytest.mark.parametrize("reply", [b"OK ", b"OK ATR ", b"OK toolbox", b"ERROR Unknown command"])
def test_reset_is_answered_with_application_name(reply: bytes) -> None:
    guest = Guest()
    channel = guest.open(b"TCLO")
    guest.turn(channel)
    guest.send(channel, reply)
    assert guest.broken_rules() == ["tclo-reset"]
    assert guest.host.tclo.channel is None
    assert guest.receive(channel) == b"reset"


def test_empty_send_instead_of_reply_is_a_violation() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.turn(channel)
    guest.turn(channel)
    assert guest.broken_rules() == ["tclo-reply-owed"]


def test_polling_without_reply_is_a_violation() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.host.send("ping")
    guest.turn(channel)
    assert guest.receive(channel) is None
    assert guest.broken_rules() == ["tclo-reply-owed"]


def test_unsolicited_reply_is_a_violation() -> None:
    guest, channel = started()
    guest.turn(channel, b"OK ")
    assert guest.broken_rules() == ["tclo-unrequested"]


def test_turn_without_send_is_a_violation() -> None:
    guest, channel = started()
    guest.receive(channel)
    assert guest.broken_rules() == ["tclo-recv-without-send"]


def test_rereading_after_checkpoint_needs_no_send() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.send(channel, b"")
    guest.step(3, channel)
    guest.host.checkpoint()
    assert not guest.step(4, channel, 1).arg2 >> 16 & 1
    assert guest.receive(channel) == b"ping\0"
    guest.turn(channel, b"OK ")
    assert guest.broken_rules() == []


def test_unanswered_message_times_out_and_late_reply_is_allowed() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.turn(channel)
    guest.wait(6)
    assert [e["message"] for e in guest.events("tclo.timeout")] == [b"ping"]
    guest.host.send("ping")
    assert guest.turn(channel, b"OK ") == b"ping"
    assert len(guest.events("tclo.late")) == 1
    assert guest.broken_rules() == []


def test_lost_channel_is_greeted_again_and_queue_waits() -> None:
    guest, _ = started()
    guest.host.lose_channel("tclo")
    guest.host.send("ping")
    again = guest.open(b"TCLO")
    assert guest.tools(again, 5) == [b"reset", b"Capabilities_Register", b"ping"]
    assert guest.broken_rules() == []


def test_message_in_transit_is_lost_with_channel() -> None:
    guest, channel = started()
    answers: list[bool] = []
    guest.host.tclo.send("ping", lambda ok, _reply: answers.append(ok))
    guest.turn(channel)
    guest.host.lose_channel("tclo")
    assert answers == [False]
    assert [e["message"] for e in guest.events("tclo.lost")] == [b"ping"]


def test_power_on_is_sent_once_per_boot() -> None:
    guest, _ = started(power_on=True)
    guest.host.lose_channel("tclo")
    assert b"OS_PowerOn" not in guest.tools(guest.open(b"TCLO"), 5)


def test_client_with_other_name_gets_nothing() -> None:
    guest, first = started()
    second = guest.open(b"TCLO")
    guest.turn(second)
    guest.turn(second, b"OK ATR toolbox-dnd")
    guest.host.send("ping")
    assert guest.turn(second) is None
    assert guest.turn(first) == b"ping"


def test_rival_closes_channel_and_leaves_later() -> None:
    guest, channel = started()
    assert guest.host.steal_channel(5)
    with pytest.raises(Refused) as refused:
        guest.turn(channel)
    assert refused.value.status == 0x0004
    guest.wait(6)
    again = guest.open(b"TCLO")
    assert guest.tools(again, 3)[0] == b"reset"
    assert guest.host.tools.running
    assert guest.broken_rules() == []


def test_message_abandoned_half_way_is_dropped() -> None:
    guest, channel = started()
    guest.host.send("x" * 100)
    guest.send(channel, b"")
    guest.step(3, channel)
    guest.step(4, channel, 0)
    assert len(guest.events("tclo.dropped")) == 1
    assert guest.turn(channel) is None
    assert guest.broken_rules() == []


def test_guest_may_state_reason_for_abandoning_once() -> None:
    guest, channel = started()
    for polls in (0, 1):
        guest.host.send("x" * 100)
        guest.send(channel, b"")
        guest.step(3, channel)
        guest.step(4, channel, 0)
        for _ in range(polls):
            guest.turn(channel)
        guest.turn(channel, b"ERROR Message too long")
    assert guest.broken_rules() == ["tclo-unrequested"]


def test_abandoned_reset_is_sent_again() -> None:
    guest = Guest()
    channel = guest.open(b"TCLO")
    guest.send(channel, b"")
    guest.step(3, channel)
    guest.step(4, channel, 0)
    assert guest.turn(channel) == b"reset"


@pytest.mark.parametrize(
    ("which", "ping", "option"),
    [
        ("none", b"ping", b"Set_Option copypaste 1"),
        ("ping", b"ping\0", b"Set_Option copypaste 1"),
        ("all", b"ping\0", b"Set_Option copypaste 1\0"),
    ],
)
def test_host_may_terminate_messages_with_nul(which: str, ping: bytes, option: bytes) -> None:
    guest, channel = started(nul_terminated=which)
    for message, whole in ((b"ping", ping), (b"Set_Option copypaste 1", option)):
        guest.host.send(message)
        guest.send(channel, b"")
        assert guest.receive(channel) == whole
        guest.send(channel, b"OK ")
    assert HostOptions().nul_terminated == "ping"


def test_closing_channel_ends_application_at_once() -> None:
    guest, channel = started()
    guest.close(channel)
    assert guest.host.tclo.channel is None
    assert guest.host.tclo.idle


def test_only_old_host_objects_to_nul_in_reply() -> None:
    for age, rules in (("current", []), ("old", ["tclo-reply-nul"])):
        guest, channel = started(age=age)
        guest.host.send("ping")
        guest.turn(channel)
        guest.turn(channel, b"OK \0")
        assert guest.broken_rules() == rules


def test_unfetched_message_times_out_after_one_minute() -> None:
    guest, channel = started()
    guest.close(channel)
    answers: list[bool] = []
    guest.host.tclo.send("ping", lambda ok, _reply: answers.append(ok))
    guest.wait(58)
    assert answers == []
    guest.wait(4)
    assert answers == [False]
    assert guest.host.tclo.idle
    log = [e["text"] for e in guest.events("host.log")]
    assert "GuestRpcSendTimedOut: message to toolbox timed out." in log
    assert guest.tools(guest.open(b"TCLO"), 5) == [b"reset", b"Capabilities_Register"]
