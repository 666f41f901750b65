"""The host's own messages after a reset, in the order and at the times of public logs."""

import struct
from itertools import pairwise

from vmtsim.host import HostOptions

from .client import Channel, Guest
from .test_tclo import started

# Open-vm-tools issues 219 (ESXi 2017) and 493 (Workstation 2021).
LOGGED = [
    b"Time_Synchronize 0",
    b"Set_Option synctime 0",
    b"Set_Option copypaste 0",
    b"Set_Option autohide 0",
    b"Set_Option broadcastIP 1",
    b"Set_Option enableDnD 0",
    b"Set_Option synctime.period 0",
    b"Set_Option time.synchronize.tools.enable 1",
    b"Set_Option time.synchronize.guest.resync 0",
    b"Set_Option time.synchronize.guest.resync.timeout 0",
    b"Set_Option time.synchronize.tools.startup.backward 0",
    b"Set_Option time.synchronize.tools.startup 1",
]


def fresh(**options: object) -> tuple[Guest, Channel]:
    guest = Guest(**options)
    return guest, guest.open(b"TCLO")


def test_new_channel_gets_reset_and_startup_messages() -> None:
    guest, channel = fresh()
    received = guest.tools(channel, 5)
    assert received[0] == b"reset"
    assert received[1 : 1 + len(LOGGED)] == LOGGED
    assert received[-2:] == [b"Capabilities_Register", b"OS_PowerOn"]
    assert all(message.startswith(b"Set_Option ") for message in received[2:-2])
    assert guest.broken_rules() == []
    assert guest.host.tools.status == "running, unmanaged"
    log = [e["text"] for e in guest.events("host.log")]
    assert "GuestRpc: application toolbox, changing channel 65535 -> 0" in log
    assert "TOOLS: appName=toolbox, oldStatus=0, status=1, guestInitiated=0." in log
    assert "TOOLS state change 3 returned status 1" in log


def test_option_lengths_match_logs() -> None:
    lengths = [len(f"Set_Option {name} {value}") for name, value in HostOptions().option_burst]
    # synctime.period, tools.enable, guest.resync.timeout, startup.backward, startup: no NUL.
    assert [lengths[at] for at in (5, 6, 8, 9, 10)] == [28, 42, 50, 52, 43]


def test_broadcast_ip_may_be_late() -> None:
    guest, channel = fresh(broadcast_ip=30, ping=0, vix_probe=0)
    early = guest.tools(channel, 20)
    assert not any(b"broadcastIP" in message for message in early)
    assert early[1:4] == [LOGGED[0], LOGGED[1], LOGGED[2]]
    assert guest.tools(channel, 20) == [b"Set_Option broadcastIP 1"]


def test_ping_with_nul_is_sent_every_15_seconds() -> None:
    guest, channel = fresh(vix_probe=0)
    guest.tools(channel, 10)
    assert guest.tools(channel, 60) == [b"ping"] * 4
    pings = [event for event in guest.events("tclo") if event["message"].startswith(b"ping")]
    assert {event["message"] for event in pings} == {b"ping\0"}
    gaps = [after.at - before.at for before, after in pairwise(pings)]
    assert gaps == [15_000_000_000] * 3


def test_host_requests_guest_operations_by_vix_command() -> None:
    guest, channel = fresh(ping=0)
    guest.tools(channel, 20)
    probe, *others = guest.tools(channel, 10)
    assert others == []
    name, _, header = probe.partition(b"\0")
    assert name == b'Vix_1_Relayed_Command "1"'
    magic, version, total, own, body, credential = struct.unpack_from("<IHIIII", header)
    assert (magic, version, total, own) == (0xD00D0001, 5, 51, len(header))
    assert (body, credential) == (0, 0)
    assert struct.unpack_from("<I", header, 23) == (62,)
    assert not guest.host.tools.guest_operations
    assert guest.broken_rules() == []


def test_guest_that_answers_vix_command_offers_guest_operations() -> None:
    guest, channel = fresh(ping=0, age="old")

    def answer(message: bytes) -> bytes:
        return b"OK 0 0 MTs=\0" if message.startswith(b"Vix") else guest.answer(message)

    guest.tools(channel, 30, answer)
    assert guest.host.tools.guest_operations
    # Real answers to VIX commands end in a NUL.
    assert guest.broken_rules() == []


def test_vix_error_offers_nothing() -> None:
    for reply in (b"OK 3009 2 \0", b"ERROR Unknown command", b"OK "):
        guest, channel = fresh(ping=0)
        guest.tools(channel, 30, lambda m, g=guest, s=reply: s if m[:3] == b"Vix" else g.answer(m))
        assert not guest.host.tools.guest_operations


def test_pending_startup_messages_are_not_duplicated_by_reset() -> None:
    guest, channel = fresh(ping=0, vix_probe=0)
    assert guest.turn(channel) == b"reset"
    assert guest.turn(channel, b"OK ATR toolbox") == LOGGED[0]
    guest.host.lose_channel("tclo")
    received = guest.tools(guest.open(b"TCLO"), 5)
    assert received.count(b"Capabilities_Register") == 1
    assert received.count(b"OS_PowerOn") == 1


def test_operator_option_is_not_part_of_startup() -> None:
    guest, _ = started()
    guest.host.tclo.set_option("broadcastIP", "1")
    guest.host.lose_channel("tclo")
    received = guest.tools(guest.open(b"TCLO"), 5)
    assert received == [b"reset", b"Capabilities_Register", b"Set_Option broadcastIP 1"]


def test_host_closes_no_idle_channel() -> None:
    guest, channel = started()
    guest.wait(3600)
    assert guest.turn(channel) is None
    emulated, other = started(idle_close=80)
    emulated.wait(170)
    assert emulated.step(1, other, 0).arg2 >> 16 & 1 == 0
