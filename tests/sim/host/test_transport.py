"""The message transport, call by call, from a client at the level of registers."""

import pytest
from vmtsim.host import GuestFault

from .client import BUFFER, CPT, DORECV, HB, MAGIC, SUCCESS, Channel, Guest, Refused


@pytest.fixture
def guest() -> Guest:
    return Guest(broadcast_ip=0, ping=0)


def test_every_step_returns_word_of_real_vmware(guest: Guest) -> None:
    opened = guest.low(30, ebx=0x49435052 | 0x80000000)
    assert opened.arg2 == 0x00010000
    assert opened.arg3 & 0xFFFF == 0
    channel = Channel(opened.arg3 >> 16, opened.arg4, opened.arg5)
    command = b"log x"
    assert guest.step(1, channel, len(command)).arg2 == 0x00810000
    assert guest.step(2, channel, int.from_bytes(b"log ", "little")).arg2 == 0x00010000
    assert guest.step(2, channel, ord("x")).arg2 == 0x00010000
    size = guest.step(3, channel)
    assert (size.arg2, size.arg1, size.arg3 >> 16) == (0x00830000, 2, 1)
    piece = guest.step(4, channel, 1)
    assert (piece.arg2, piece.arg1, piece.arg3 >> 16) == (
        0x00010000, int.from_bytes(b"1 ", "little"), 2,
    )  # fmt: skip
    assert guest.step(5, channel, 1).arg2 == 0x00010000
    assert guest.step(6, channel).arg2 == 0x00010000
    assert guest.broken_rules() == []


def test_high_bandwidth_calls_return_success_in_upper_ebx(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.step(1, channel, 5)
    assert guest.hb_out(channel, b"log x").arg1 == 0x00010000
    assert guest.step(3, channel).arg1 == 2
    assert guest.hb_in(channel, 2).arg1 == 0x00010000
    assert guest.memory.read(BUFFER, 2) == b"1 "
    assert guest.step(5, channel, 1).arg2 == 0x00010000
    assert guest.broken_rules() == []


def test_recvsize_without_message_gives_success_without_dorecv(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    assert guest.step(3, channel).arg2 == 0x00010000


def test_channel_numbers_start_at_0_and_are_reused(guest: Guest) -> None:
    first, second = guest.open(b"RPCI"), guest.open(b"RPCI")
    assert (first.number, second.number) == (0, 1)
    guest.close(first)
    again = guest.open(b"RPCI")
    assert again.number == 0
    assert (again.high, again.low) != (first.high, first.low)


def test_full_table_refuses_open_until_close() -> None:
    guest = Guest(channels=3)
    held = [guest.open(b"RPCI") for _ in range(3)]
    with pytest.raises(Refused):
        guest.open(b"TCLO")
    guest.close(held[1])
    assert guest.open(b"TCLO").number == 1


def test_host_without_cookies_opens_only_without_flag() -> None:
    guest = Guest(cookies=False)
    with pytest.raises(Refused):
        guest.open(b"RPCI")
    channel = guest.open(b"RPCI", cookies=False)
    guest.send(channel, b"log x")
    assert guest.receive(channel) == b"1 "
    assert guest.broken_rules() == []


@pytest.mark.parametrize("protocol", [b"RPCX", b"\0\0\0\0"])
def test_unknown_protocol_is_not_opened(guest: Guest, protocol: bytes) -> None:
    with pytest.raises(Refused):
        guest.open(protocol)
    assert guest.broken_rules() == ["open-protocol"]


def test_without_high_bandwidth_payload_goes_in_words() -> None:
    guest = Guest(high_bandwidth=False)
    channel = guest.open(b"RPCI")
    assert guest.step(1, channel, 4).arg2 >> 16 == SUCCESS
    assert guest.hb_out(channel, b"log ").arg1 == 0
    assert guest.broken_rules() == ["high-bandwidth-refused"]
    guest.step(2, channel, int.from_bytes(b"log ", "little"))
    assert guest.step(3, channel).arg2 >> 16 == SUCCESS | DORECV


# Violations: each way to break the protocol, the rule that is named, and no success.


def _wrong_cookie(guest: Guest, channel: Channel) -> int:
    return guest.step(1, Channel(channel.number, channel.high ^ 1, channel.low), 4).arg2


def _swapped_cookies(guest: Guest, channel: Channel) -> int:
    return guest.step(1, Channel(channel.number, channel.low, channel.high), 4).arg2


def _unknown_channel(guest: Guest, channel: Channel) -> int:
    return guest.step(1, Channel(99, channel.high, channel.low), 4).arg2


def _after_close(guest: Guest, channel: Channel) -> int:
    guest.close(channel)
    return guest.step(1, channel, 4).arg2


def _payload_without_size(guest: Guest, channel: Channel) -> int:
    return guest.step(2, channel, 4).arg2


def _read_without_message(guest: Guest, channel: Channel) -> int:
    return guest.step(4, channel, 1).arg2


def _status_without_message(guest: Guest, channel: Channel) -> int:
    return guest.step(5, channel, 1).arg2


def _size_twice(guest: Guest, channel: Channel) -> int:
    guest.step(1, channel, 8)
    return guest.step(1, channel, 8).arg2


def _send_while_half_read(guest: Guest, channel: Channel) -> int:
    guest.send(channel, b"log x")
    guest.step(3, channel)
    return guest.step(1, channel, 4).arg2


def _receive_while_half_sent(guest: Guest, channel: Channel) -> int:
    guest.step(1, channel, 8)
    return guest.step(3, channel).arg2


def _too_long(guest: Guest, channel: Channel) -> int:
    return guest.step(1, channel, 65537).arg2


def _hb_too_short(guest: Guest, channel: Channel) -> int:
    guest.step(1, channel, 8)
    return guest.hb_out(channel, b"log ").arg1


def _hb_too_long(guest: Guest, channel: Channel) -> int:
    guest.step(1, channel, 4)
    return guest.hb_out(channel, b"log long").arg1


def _hb_in_wrong_size(guest: Guest, channel: Channel) -> int:
    guest.send(channel, b"log x")
    guest.step(3, channel)
    return guest.hb_in(channel, 3).arg1


def _good_status_of_half_a_message(guest: Guest, channel: Channel) -> int:
    guest.send(channel, b"info-set guestinfo.long 123456")
    guest.step(3, channel)
    return guest.step(5, channel, 1).arg2


def _unknown_sub_command(guest: Guest, channel: Channel) -> int:
    return guest.step(7, channel).arg2


@pytest.mark.parametrize(
    ("act", "rule"),
    [
        (_wrong_cookie, "cookie"),
        (_swapped_cookies, "cookie"),
        (_unknown_channel, "channel-unknown"),
        (_after_close, "channel-closed"),
        (_payload_without_size, "sequence"),
        (_read_without_message, "sequence"),
        (_status_without_message, "sequence"),
        (_size_twice, "sequence"),
        (_send_while_half_read, "sequence"),
        (_receive_while_half_sent, "sequence"),
        (_too_long, "message-length"),
        (_hb_too_short, "payload-size"),
        (_hb_too_long, "payload-size"),
        (_hb_in_wrong_size, "payload-size"),
        (_good_status_of_half_a_message, "payload-size"),
        (_unknown_sub_command, "message-type"),
    ],
)
def test_violation_is_named_and_call_fails(guest: Guest, act, rule: str) -> None:
    channel = guest.open(b"RPCI")
    word = act(guest, channel)
    assert not word >> 16 & SUCCESS
    assert guest.broken_rules() == [rule]


def test_noise_in_unused_bytes_of_last_word_is_a_violation(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.step(1, channel, 5)
    guest.step(2, channel, int.from_bytes(b"log ", "little"))
    assert guest.step(2, channel, 0x41414178).arg2 == 0x00010000
    assert guest.broken_rules() == ["payload-padding"]
    assert guest.events("rpci")[0]["request"] == b"log x"


@pytest.mark.parametrize("ebx", [2, 0x10001, 0xFFFFFFFF])
def test_invalid_receive_status_is_a_violation(guest: Guest, ebx: int) -> None:
    channel = guest.open(b"RPCI")
    guest.send(channel, b"log x")
    guest.step(3, channel)
    guest.step(4, channel, ebx)
    assert guest.broken_rules() == ["payload-status"]


def test_high_bandwidth_call_with_wrong_ebx_is_a_violation(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.step(1, channel, 4)
    frame = guest.hb_out(channel, b"log ")
    assert frame.arg1 == 0x10000
    frame.arg0, frame.arg1, frame.arg2 = MAGIC, 0x20001, 4
    frame.arg3 = channel.number << 16 | 0x5659
    guest.host.high_bandwidth(frame, guest.memory, to_host=True)
    assert guest.broken_rules() == ["high-bandwidth-status"]


def test_high_bandwidth_cookies_depend_on_direction(
    guest: Guest,
) -> None:
    channel = guest.open(b"RPCI")
    guest.step(1, channel, 4)
    swapped = Channel(channel.number, channel.low, channel.high)
    assert guest.hb_out(swapped, b"log ").arg1 == 0
    assert guest.hb_out(channel, b"log ").arg1 == 0x10000
    guest.step(3, channel)
    assert guest.hb_in(swapped, 2).arg1 == 0
    assert guest.broken_rules() == ["cookie", "cookie"]


def test_unmapped_buffer_is_fault_and_violation(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.send(channel, b"log x")
    guest.step(3, channel)
    with pytest.raises(GuestFault):
        guest.hb_in(channel, 2, address=0x1000)
    assert guest.broken_rules() == ["high-bandwidth-memory"]


# Abandoned messages and lost channels.


@pytest.mark.parametrize("pieces", [0, 1])
def test_recvpayload_with_0_abandons_message(guest: Guest, pieces: int) -> None:
    channel = guest.open(b"RPCI")
    guest.send(channel, b"info-get guestinfo.absent")
    guest.step(3, channel)
    for _ in range(pieces):
        guest.step(4, channel, 1)
    assert guest.step(4, channel, 0).arg2 == 0x00010000
    assert guest.step(3, channel).arg2 == 0x00010000
    assert [e["reply"] for e in guest.events("rpci.dropped")] == [b"0 No value found"]
    assert guest.broken_rules() == []


def test_recvstatus_with_0_abandons_read_message(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.send(channel, b"log x")
    guest.step(3, channel)
    guest.step(4, channel, 1)
    assert guest.step(5, channel, 0).arg2 == 0x00010000
    assert len(guest.events("rpci.dropped")) == 1
    assert guest.broken_rules() == []


def test_reuse_of_lost_channel_is_flagged_then_a_violation(guest: Guest) -> None:
    channel = guest.open(b"TCLO")
    guest.host.lose_channel("tclo")
    for _ in range(3):
        assert guest.step(1, channel, 0).arg2 == 0
    assert guest.broken_rules() == []
    guest.step(1, channel, 0)
    assert guest.broken_rules() == ["channel-dead"]


def test_closing_lost_channel_is_no_violation(guest: Guest) -> None:
    channel = guest.open(b"TCLO")
    guest.host.lose_channel("tclo")
    guest.step(1, channel, 0)
    guest.step(6, channel)
    again = guest.open(b"TCLO")
    guest.step(6, channel)
    assert guest.turn(again) == b"reset"
    assert guest.broken_rules() == []


def test_closed_channel_shows_flag(guest: Guest) -> None:
    channel = guest.open(b"TCLO")
    guest.host.close_channel("tclo")
    assert guest.step(1, channel, 0).arg2 == 0x00040000


def test_idle_channel_is_closed_and_busy_one_is_not() -> None:
    guest = Guest(idle_close=80, heartbeat_timeout=0)
    idle, busy = guest.open(b"RPCI"), guest.open(b"RPCI")
    for _ in range(20):
        guest.wait(10)
        guest.rpci(b"log x")
        guest.step(3, busy)
    assert guest.step(3, idle).arg2 == 0x00040000
    assert guest.step(3, busy).arg2 == 0x00010000


def test_upper_halves_of_64_bit_registers_are_ignored(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    high = 0xFFFFFFFF << 32
    frame = guest.step(
        1, Channel(channel.number, channel.high | high, channel.low | high), 4 | high
    )
    assert frame.arg2 == 0x00810000


@pytest.mark.parametrize("high", [True, False])
@pytest.mark.parametrize("command", [b"log hello world", b"SetGuestInfo  7 12345"])
def test_command_is_identical_over_either_port(guest: Guest, command: bytes, high: bool) -> None:
    assert guest.rpci(command, high=high) == b"1 "
    assert guest.events("rpci")[-1]["request"] == command
    assert guest.broken_rules() == []


def test_checkpoint_restarts_message_that_arrives_once(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.step(1, channel, 8)
    guest.step(2, channel, int.from_bytes(b"log ", "little"))
    guest.host.checkpoint()
    assert guest.step(2, channel, 0).arg2 == CPT << 16
    guest.send(channel, b"log once", high=False)
    guest.step(3, channel)
    guest.host.checkpoint()
    assert guest.hb_in(channel, 2).arg1 == CPT << 16
    assert guest.receive(channel) == b"1 "
    assert [e["request"] for e in guest.events("rpci")] == [b"log once"]
    assert guest.broken_rules() == []


def test_checkpoint_between_messages_has_no_effect(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.host.checkpoint()
    guest.send(channel, b"log x")
    assert guest.receive(channel) == b"1 "


def test_undefined_registers_may_hold_noise() -> None:
    guest = Guest(scramble=True)
    channel = guest.open(b"RPCI")
    frame = guest.step(1, channel, 4)
    assert frame.arg2 == (SUCCESS | HB) << 16
    assert (frame.arg4, frame.arg5) != (channel.high, channel.low)
    assert guest.hb_out(channel, b"log ").arg1 == 0x10000
    assert guest.receive(channel) == b"1 "
    assert guest.broken_rules() == []
