"""The running status and the application status of silent guests, as in public logs."""

from .client import Guest
from .test_tclo import started


def log(guest: Guest) -> list[str]:
    return [event["text"] for event in guest.events("host.log")]


def test_rpci_call_marks_tools_running_for_20_seconds() -> None:
    guest = Guest()
    guest.wait(5)
    guest.rpci(b"log from vmware-rpctool")
    assert guest.host.tools.running
    guest.wait(19.999)
    assert guest.host.tools.running
    guest.wait(0.001)
    assert not guest.host.tools.running
    assert log(guest)[-3:] == [
        "Tools: Tools heartbeat timeout.",
        "Tools: Running status rpc handler: 1 => 0.",
        "Tools: Changing running status: 1 => 0.",
    ]


def test_next_message_marks_tools_running_again() -> None:
    guest, channel = started()
    resets = guest.host.tclo.resets
    guest.wait(30)
    assert guest.host.tools.status == "not running"
    assert not guest.host.power.request("halt")
    value = guest.host.tools.heartbeat.value
    guest.turn(channel)
    assert guest.host.tools.heartbeat.value == value + 1
    assert guest.host.tools.status == "running, unmanaged"
    assert guest.host.tclo.resets == resets
    assert guest.host.power.request("halt")
    assert "Tools: Changing running status: 0 => 1." in log(guest)


def test_first_message_ends_unknown_status() -> None:
    guest = Guest()
    guest.rpci(b"log x")
    assert "Tools: Changing running status: 2 => 1." in log(guest)


def test_heartbeats_count_once_per_second() -> None:
    guest, channel = started()
    before = guest.host.tools.heartbeat.value
    for _ in range(50):
        guest.turn(channel)
        guest.rpci(b"log x")
        guest.wait(0.1)
    assert 5 <= guest.host.tools.heartbeat.value - before <= 6


def test_lost_or_closed_channel_keeps_tools_running() -> None:
    for end in ("close", "lose"):
        guest, channel = started()
        if end == "close":
            guest.close(channel)
        else:
            guest.host.lose_channel("tclo")
        assert guest.host.tools.running
        guest.wait(15)
        guest.rpci(b"log still here")
        guest.wait(15)
        assert guest.host.tools.running
        guest.wait(10)
        assert not guest.host.tools.running


def test_message_timeout_affects_only_application_status() -> None:
    guest, channel = started()
    guest.host.send("ping")
    guest.turn(channel)
    guest.wait(5)
    assert guest.host.tools.running
    value = guest.host.tools.heartbeat.value
    assert log(guest)[-3:] == [
        "GuestRpcSendTimedOut: message to toolbox timed out.",
        f"Tools: [AppStatus] Last heartbeat value {value} (last received 5s ago)",
        "TOOLS: appName=toolbox, oldStatus=1, status=2, guestInitiated=0.",
    ]
    guest.turn(channel, b"OK ")
    assert "status=1" not in log(guest)[-1]
    guest.host.send("ping")
    guest.tools(channel, 2)
    assert log(guest)[-1] == "TOOLS: appName=toolbox, oldStatus=2, status=1, guestInitiated=0."


def test_closing_the_channel_ends_application() -> None:
    guest, channel = started()
    guest.close(channel)
    assert log(guest)[-2:] == [
        "GuestRpc: Reinitializing Channel 0(toolbox)",
        "TOOLS: appName=toolbox, oldStatus=1, status=0, guestInitiated=1.",
    ]
