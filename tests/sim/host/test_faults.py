"""Faults: scripted ones at the given point, random ones reproducible by the seed."""

import contextlib

import pytest
from vmtsim.host import FAULTS, GuestFault
from vmtsim.host.faults import POINTS

from .client import CPT, Channel, Guest, Refused
from .test_tclo import started


def test_every_fault_has_known_points_and_description() -> None:
    for name, fault in FAULTS.items():
        assert name == fault.name
        assert fault.text
        assert set(fault.points) <= set(POINTS)


@pytest.mark.parametrize("name", ["chekpoint", ""])
def test_unknown_fault_is_refused(name: str) -> None:
    guest = Guest()
    with pytest.raises(ValueError, match="unknown fault"):
        guest.host.faults.arm(name)
    with pytest.raises(ValueError, match="unknown fault"):
        guest.host.faults.set_plan({name: (1, 2)})
    with pytest.raises(ValueError, match="no point"):
        guest.host.faults.arm("checkpoint", at="nowhere")


def test_fault_cannot_be_armed_without_possible_effect() -> None:
    """Otherwise `expect.fault` would be met by a fault without an effect."""
    with pytest.raises(ValueError, match="burst has no effect at rpci: use one of recvsize"):
        Guest().host.faults.arm("burst", at="rpci")
    for fault in FAULTS.values():
        assert set(fault.points) <= set(fault.effect.POINTS), fault.name


@pytest.mark.parametrize("point", ["sendpayload", "recvpayload", "recvstatus", "hb-out", "hb-in"])
def test_checkpoint_at_any_step_costs_one_retry(point: str) -> None:
    high = point.startswith("hb") or point == "recvstatus"
    guest = Guest(high_bandwidth=high)
    guest.host.faults.arm("checkpoint", at=point)
    channel = guest.open(b"RPCI")
    to_host = point in {"sendpayload", "hb-out"}
    if not to_host:
        guest.send(channel, b"log hello")
    with pytest.raises(Refused) as refused:
        guest.send(channel, b"log hello") if to_host else guest.receive(channel)
    assert refused.value.status == CPT
    if to_host:
        guest.send(channel, b"log hello")
    assert guest.receive(channel) == b"1 "
    assert [e["request"] for e in guest.events("rpci")] == [b"log hello"]
    assert guest.broken_rules() == []


STEPS_OF_A_MESSAGE = (
    "sendsize", "sendpayload", "hb-out", "recvsize", "recvpayload", "hb-in", "recvstatus"
)  # fmt: skip


def _one_message(fault: str, step: str) -> tuple[Guest, Channel]:
    """Return a guest with an open channel, whose host will fail once at that step."""
    guest = Guest(high_bandwidth=step.startswith("hb"))
    channel = guest.open(b"RPCI")
    guest.host.faults.arm(fault, at=step)
    return guest, channel


def _talk(guest: Guest, channel: Channel, step: str) -> None:
    guest.send(channel, b"log x")
    assert step not in {"sendsize", "sendpayload", "hb-out"}
    guest.receive(channel)


@pytest.mark.parametrize(
    ("name", "status"),
    [("lose-channel", 0), ("closed", 4), ("power-off", 0x20), ("timed-out", 0x40)],
)
@pytest.mark.parametrize("step", STEPS_OF_A_MESSAGE)
def test_channel_loss_at_any_step_sets_flag(name: str, status: int, step: str) -> None:
    guest, channel = _one_message(name, step)
    with pytest.raises(Refused) as refused:
        _talk(guest, channel, step)
    assert refused.value.status == status
    assert guest.step(6, channel).arg2 >> 16 == status
    assert guest.host.transport.channels == {}
    assert guest.broken_rules() == []


@pytest.mark.parametrize("step", STEPS_OF_A_MESSAGE)
def test_refused_call_at_any_step_leaves_closable_channel(step: str) -> None:
    guest, channel = _one_message("refuse", step)
    with pytest.raises(Refused) as refused:
        _talk(guest, channel, step)
    assert refused.value.status == 0
    assert list(guest.host.transport.channels) == [channel.number]
    guest.close(channel)
    assert guest.rpci(b"log y") == b"1 "
    assert guest.broken_rules() == []


def test_cookie_mix_up_refuses_until_channel_is_reopened() -> None:
    guest = Guest(idle_close=80)
    channel = guest.open(b"TCLO")
    guest.host.faults.arm("wrong-cookie")
    for _ in range(2):
        with pytest.raises(Refused):
            guest.turn(channel)
    log = [e["text"] for e in guest.events("host.log")]
    assert log[-1] == "GuestMsg: channel 0: wrong cookie, discarding message."
    again = guest.open(b"TCLO")
    assert again.number == 1
    assert guest.host.guest_channels == [1]
    assert guest.turn(again) == b"reset"
    guest.wait(100)
    assert guest.host.transport.channels == {}
    assert guest.broken_rules() == []


def test_withdrawn_message_shows_unsent() -> None:
    guest = Guest()
    channel = guest.open(b"RPCI")
    guest.send(channel, b"log x")
    guest.host.faults.arm("unsent")
    with pytest.raises(Refused) as refused:
        guest.receive(channel)
    assert refused.value.status == 8
    assert guest.receive(channel) is None


@pytest.mark.parametrize("name", ["unsent", "checkpoint"])
@pytest.mark.parametrize("sub", [4, 5])
def test_abandoning_withdrawn_message_is_no_violation(name: str, sub: int) -> None:
    guest = Guest()
    channel = guest.open(b"RPCI")
    guest.send(channel, b"log x")
    guest.host.faults.arm(name, at="hb-in")
    with pytest.raises(Refused):
        guest.receive(channel)
    assert guest.step(sub, channel, 0).arg2 == 0
    assert guest.broken_rules() == []
    guest.step(sub, channel, 0)
    assert guest.broken_rules() == ["sequence"]


def test_full_table_refuses_configured_number_of_opens() -> None:
    guest = Guest()
    guest.host.faults.arm("table-full", times=2)
    for _ in range(2):
        with pytest.raises(Refused):
            guest.open(b"TCLO")
    guest.open(b"TCLO")
    assert guest.host.faults.armed == ()


def test_announcement_fault_waits_for_message() -> None:
    guest, channel = started()
    guest.host.faults.arm("huge-length")
    assert guest.turn(channel) is None
    guest.host.send("ping")
    guest.send(channel, b"")
    assert guest.step(3, channel).arg1 > 65536
    assert guest.step(4, channel, 0).arg2 == 0x00010000
    assert guest.turn(channel) is None
    assert guest.broken_rules() == []


def test_wrong_type_is_shown_in_type_field() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.host.faults.arm("wrong-type", at="announce")
    guest.send(channel, b"")
    assert guest.step(3, channel).arg3 >> 16 == 2


def test_slow_reply_is_available_at_next_call() -> None:
    guest = Guest()
    channel = guest.open(b"RPCI")
    guest.host.faults.arm("slow-reply")
    guest.send(channel, b"log x")
    assert guest.receive(channel) is None
    assert guest.receive(channel) == b"1 "


def test_reply_faults_affect_named_commands() -> None:
    guest = Guest()
    faults = guest.host.faults
    faults.arm("reject", command="SetGuestInfo", times=2, reply="0 no")
    faults.arm("reject-text", command="tools.set.version")
    faults.arm("no-reply", command="log", skip=1)
    assert guest.rpci(b"log x") == b"1 "
    assert guest.rpci(b"SetGuestInfo  7 1") == b"0 no"
    assert guest.rpci(b"tools.set.version 1") == b"1 not stored"
    assert guest.rpci(b"SetGuestInfo  7 1") == b"0 no"
    assert guest.rpci(b"SetGuestInfo  7 1") == b"1 "
    assert guest.rpci(b"log x") is None
    assert faults.injected == {"reject": 2, "reject-text": 1, "no-reply": 1}


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("garbage-message", lambda m: 1 <= len(m) <= 300),
        ("unknown-message", lambda m: len(m) > 0),
        ("long-message", lambda m: 255 <= len(m) <= 65536 and m.startswith(b"ping ")),
        ("nul-message", lambda m: m.rstrip(b"\0") == b"ping" and m != b"ping"),
        ("empty-message", lambda m: m == b""),
        ("power-request", lambda m: m.startswith(b"OS_")),
    ],
)
def test_odd_messages_have_described_form(name: str, test) -> None:
    guest, channel = started()
    guest.host.faults.arm(name)
    guest.send(channel, b"")
    message = guest.receive(channel)
    assert message is not None
    assert test(message)


def test_burst_sends_many_messages_of_given_size() -> None:
    guest, channel = started()
    guest.host.faults.arm("burst", size=33)
    assert len(guest.tools(channel, 2)) == 33


def test_bursts_terminate_at_any_rate() -> None:
    guest, channel = started()
    faults = guest.host.faults
    faults.set_plan({"burst": (1, 1)})
    guest.turn(channel)
    waiting = len(guest.host.tclo.queue)
    assert waiting
    for left in reversed(range(waiting)):
        assert guest.turn(channel) is not None
        assert len(guest.host.tclo.queue) == left
    assert faults.injected["burst"] == 1


def test_clock_faults_once_jump_or_refuse() -> None:
    guest = Guest()
    faults = guest.host.faults
    faults.arm("clock-refused")
    assert guest.low(46).arg0 == 0xFFFFFFFF
    faults.arm("clock-jump", seconds=100)
    assert guest.low(46).arg3 == 1_767_225_700
    faults.arm("clock-garbage")
    frame = guest.low(46)
    assert (frame.arg3, frame.arg4, frame.arg1) != (1_767_225_700, 0, 0)
    assert guest.low(46).arg3 == 1_767_225_700


def everything(guest: Guest) -> None:
    """Run for a while with all faults on, as a guest that always retries."""
    faults = {name: (1, 20) for name in FAULTS if name not in {"huge-length", "wrong-type"}}
    guest.host.faults.set_plan(faults)
    channel: Channel | None = None
    reply = b""
    for _ in range(150):
        guest.wait(0.3)
        guest.low(46)
        try:
            channel = channel or guest.open(b"TCLO")
            message = guest.turn(channel, reply)
            reply = b"" if message is None else b"OK "
            if message is not None and message.rstrip(b"\0") == b"reset":
                reply = b"OK ATR toolbox"
            guest.rpci(b"SetGuestInfo  7 1")
        except Refused:
            if channel is not None:
                with contextlib.suppress(Refused):
                    guest.close(channel)
            channel, reply = None, b""
        except GuestFault:
            channel = None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_faults_are_reproducible_per_seed(seed: int) -> None:
    runs = []
    for each in (seed, seed, seed + 100):
        guest = Guest(each)
        everything(guest)
        runs.append([event.json() for event in guest.trace.events])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_random_faults_cover_every_fault() -> None:
    injected: set[str] = set()
    for seed in range(12):
        guest = Guest(seed)
        everything(guest)
        injected |= set(guest.host.faults.injected)
    assert injected == set(FAULTS) - {"huge-length", "wrong-type"}


def test_random_faults_can_be_disabled_while_script_continues() -> None:
    guest = Guest()
    guest.host.faults.set_plan({"reject": (1, 1)})
    assert guest.rpci(b"log x") == b"0 Permission denied"
    guest.host.faults.enabled = False
    assert guest.rpci(b"log x") == b"1 "
    guest.host.faults.arm("reject")
    assert guest.rpci(b"log x") == b"0 Permission denied"
