"""Messages in both directions: every status word, every length, both ports, and no port at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.host.channel import CHECKPOINT, SUCCESS

from .statusoverride import WORDS, DeadPorts, StatusOverride

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.trace import Event

    from .rig import Rig

    Make = Callable[..., Rig]

EIO = 5
SECOND = 1_000_000_000
QUIET_FOR = 62  # s: a channel that lasts this long is not contended
# Steps of a message on a host with the high port, and on one without.
HIGH_STEPS = ("sendsize", "hb-out", "recvsize", "hb-in", "recvstatus")
LOW_STEPS = ("sendpayload", "recvpayload")


def _reopened_after(machine: Rig, since: int) -> list[float]:
    """The seconds from each CLOSE of the guest to its next TCLO channel."""
    closed = [e.at for e in machine.events("close", since=since)
              if e["protocol"] == "tclo" and e["reason"] == "close"]  # fmt: skip
    opened = [e.at for e in machine.events("open", since=since) if e["protocol"] == "tclo"]
    return [(b - a) / SECOND for a, b in zip(closed, opened, strict=True)]


@pytest.mark.parametrize("step", [*HIGH_STEPS, *LOW_STEPS])
def test_tclo_channel_with_failed_step_is_reopened(rig: Make, step: str) -> None:
    machine = rig(high_bandwidth=step not in LOW_STEPS)
    for name, status, carried in WORDS:
        machine.run(QUIET_FOR)
        since = machine.now
        reopened = machine.stats("reopens")
        override = StatusOverride(machine, step, status, carried=carried)
        machine.host.send("ping")
        assert machine.until(lambda override=override: override.count == 1), name  # type: ignore[misc]
        override.over()
        machine.settle()
        assert machine.until(lambda: machine.host.tclo.channel, 10), name
        (pause,) = _reopened_after(machine, since)
        assert 0.99 <= pause <= 1.1, name  # counted from the turn in which it failed
        assert machine.ask("ping") == b"OK ", name
        assert machine.stats("reopens") == reopened + 1
        assert machine.channels == {"rpci": 0, "tclo": 1}
    machine.leave()


@pytest.mark.parametrize("step", [*HIGH_STEPS, *LOW_STEPS])
def test_failed_rpci_command_is_resent_once(rig: Make, step: str) -> None:
    machine = rig(high_bandwidth=step not in LOW_STEPS)
    for name, status, carried in WORDS:
        resends = machine.stats("resends")
        override = StatusOverride(machine, step, status, protocol="rpci", carried=carried)
        reply = machine.rpc(b"info-set guestinfo.a b")
        assert (reply.error, reply.text) == (0, "1 "), name
        assert override.count == 1
        override.over()
        assert machine.stats("resends") == resends + 1
        override = StatusOverride(machine, step, status, protocol="rpci", carried=carried, times=2)
        assert machine.rpc(b"info-set guestinfo.a c").error == EIO, name
        assert override.count == 2
        override.over()
        assert machine.channels["rpci"] == 0
    assert machine.most_channels("rpci") == 1
    machine.leave()


@pytest.mark.parametrize("protocol", ["tclo", "rpci"])
def test_channel_is_forgotten_whatever_close_returns(rig: Make, protocol: str) -> None:
    machine = rig()
    for _name, status, carried in WORDS:
        override = StatusOverride(machine, "close", status, protocol=protocol, carried=True)
        assert carried in {True, False}
        if protocol == "rpci":
            assert machine.rpc(b"info-set guestinfo.a b").text == "1 "
        else:
            assert machine.do("detach", "vmt0") == 0
            assert machine.do("rescan", "cpu0") == 0
        # The caller may have the reply before the worker closes the channel.
        machine.settle()
        assert override.count == 1
        override.over()
    assert machine.channels == {"rpci": 0, "tclo": 1}
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_failed_open_is_retried_after_pause(rig: Make) -> None:
    machine = rig()
    machine.run(QUIET_FOR)
    override = StatusOverride(machine, "open", 0, times=3)
    since = machine.now
    machine.host.lose_channel("tclo")
    machine.settle()
    assert machine.until(lambda: machine.host.tclo.channel, 30)
    assert override.count == 3
    opened = [e for e in machine.events("open", since=since) if e["protocol"] == "tclo"]
    assert [e["cookies"] for e in opened] == [True]
    assert machine.ask("ping") == b"OK "
    assert machine.log == [
        "lost the channel to the host (5); opening it again",
        "the channel to the host is open again",
    ]
    machine.leave()


def test_host_without_cookies_gives_no_channel_and_one_log_line(rig: Make) -> None:
    machine = rig(cookies=False, settle=False)
    machine.run(300)
    assert machine.events("open") == []
    assert machine.log == ["the host refuses a channel; trying again"]
    machine.leave()


@pytest.mark.parametrize("flag", [SUCCESS | CHECKPOINT, SUCCESS | 0x0080])
def test_status_bits_beside_success_are_ignored(rig: Make, flag: int) -> None:
    """The BSD drivers compare OPEN's status with 1; only the success bit counts."""
    machine = rig()
    for step in ("open", "hb-out", "recvstatus"):
        override = StatusOverride(machine, step, flag, protocol="rpci", carried=True)
        resends = machine.stats("resends")
        assert machine.rpc(b"info-set guestinfo.a b").text == "1 "
        assert override.count == 1
        override.over()
        assert machine.stats("resends") == resends
    machine.leave()


@pytest.mark.parametrize("point", ["hb-out", "hb-in", "recvstatus"])
@pytest.mark.parametrize("protocol", ["tclo", "rpci"])
def test_message_restarts_after_checkpoint(rig: Make, protocol: str, point: str) -> None:
    machine = rig()
    reopens = machine.stats("reopens")
    machine.host.faults.arm("checkpoint", times=8, at=point, protocol=protocol)
    if protocol == "tclo":
        assert machine.ask("OS_PowerOn") == b"OK "
        assert machine.requests("tools.os.statechange.status") == [
            b"tools.os.statechange.status 1 3"
        ]
    else:
        assert machine.rpc(b"info-set guestinfo.a b").text == "1 "
        assert machine.host.guestinfo.variables["a"] == b"b"
    assert machine.host.faults.injected["checkpoint"] == 8
    assert machine.stats("retries") == 8
    assert machine.stats("reopens") == reopens
    machine.leave()


@pytest.mark.parametrize("point", ["sendpayload", "recvpayload"])
def test_low_bandwidth_message_restarts_after_checkpoint(rig: Make, point: str) -> None:
    machine = rig(high_bandwidth=False)
    machine.host.faults.arm("checkpoint", times=1, at=point, protocol="tclo")
    machine.host.faults.arm("checkpoint", times=1, skip=2, at=point, protocol="rpci")
    assert machine.ask("OS_PowerOn") == b"OK "
    machine.run(120)
    assert machine.ask("ping") == b"OK "
    assert machine.host.faults.injected["checkpoint"] == 2
    assert machine.stats("retries") == 2
    machine.leave()


def test_endless_checkpoints_count_as_dead_channel(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("checkpoint", times=9, at="hb-in", protocol="tclo")
    machine.host.send("ping")
    assert machine.until(lambda: machine.host.faults.injected["checkpoint"] == 9)
    machine.settle()
    assert machine.stats("reopens") == 1
    assert machine.until(lambda: machine.host.tclo.channel, 10)
    assert machine.ask("ping") == b"OK "
    machine.leave()


@pytest.mark.parametrize("high", [True, False], ids=["high", "low"])
@pytest.mark.parametrize("size", [1, 3, 4, 5, 255, 256, 1023, 1024, 1025, 4096, 65536])
def test_messages_of_every_length_are_transferred(rig: Make, size: int, high: bool) -> None:
    """The reply to a Set_Option depends on its whole text: none of it may be cut off."""
    machine = rig(high_bandwidth=high)
    if size < 255:
        assert machine.ask(b"p" * size) == b"ERROR Unknown Command"
    else:
        head = b"Set_Option guestLogLevel "
        assert machine.ask(head + b"x" * (size - len(head))) == b"OK "
        cut = b"Set_Option synctime "
        assert machine.ask(cut + b"0" * (size - len(cut))) == b"OK "
        assert machine.ask(cut + b"0" * (size - len(cut) - 1) + b"x").startswith(b"ERROR ")
    assert machine.stats("aborts") == 0
    machine.run(QUIET_FOR)
    assert max(each.size for each in machine.kmem.live.values() if each.owner == "kmem") <= 16384
    machine.leave()


@pytest.mark.parametrize("high", [True, False], ids=["high", "low"])
def test_largest_protocol_reply_is_accepted(rig: Make, high: bool) -> None:
    machine = rig(high_bandwidth=high)
    machine.host.guestinfo.variables["a"] = bytes(range(1, 256)) * 64
    reply = machine.rpc(b"info-get guestinfo.a")
    assert reply.error == 0
    assert reply.data == b"1 " + bytes(range(1, 256)) * 64 + b"\0"
    machine.host.guestinfo.variables["a"] = b"y" * (65536 - 2)
    assert machine.rpc(b"info-get guestinfo.a").data == b"1 " + b"y" * (65536 - 2) + b"\0"
    assert machine.stats("aborts") == 0
    machine.host.guestinfo.variables["a"] = b"y" * (65536 - 1)
    assert machine.rpc(b"info-get guestinfo.a").error == 40  # EMSGSIZE
    assert machine.stats("aborts") == 1
    machine.leave()


def test_low_bandwidth_is_used_without_high_bandwidth_host(rig: Make) -> None:
    machine = rig(high_bandwidth=False)
    override = StatusOverride(machine, "hb-out", 0, times=0)
    seen: list[str] = []
    machine.host.high_bandwidth = lambda *_a, **_k: seen.append("high")  # type: ignore[method-assign]
    assert machine.ask("Set_Option broadcastIP 1") == b"OK "
    machine.run(100)
    assert seen == []
    override.over()
    assert machine.requests("info-set") == [b"info-set guestinfo.ip 192.0.2.10"]
    machine.leave()


def test_oversized_message_is_refused_not_truncated(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("huge-length", protocol="tclo")
    machine.host.send("OS_Halt")
    assert machine.until(lambda: bool(machine.events("tclo.dropped")))
    machine.run(5)
    assert machine.powerd == []
    assert machine.requests("tools.os.statechange.status") == []
    assert [e["reply"] for e in machine.events("tclo.late")] == [b"ERROR Message too large"]
    assert machine.stats("aborts") == 1
    assert machine.stats("reopens") == 0
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_channel_is_closed_after_three_oversized_messages(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("huge-length", times=3, protocol="tclo")
    for _ in range(3):
        machine.host.send("ping")
    assert machine.until(lambda: machine.host.faults.injected["huge-length"] == 3)
    machine.settle()
    assert machine.stats("reopens") == 1
    machine.leave()


def test_message_is_refused_without_memory(rig: Make) -> None:
    machine = rig()
    machine.kmem.refuse = lambda size: size > 1024
    machine.host.send(b"Set_Option guestLogLevel " + b"x" * 5000)
    assert machine.until(lambda: bool(machine.events("tclo.dropped")))
    machine.kmem.refuse = lambda _size: False
    machine.run(3)
    assert [e["reply"] for e in machine.events("tclo.late")] == [b"ERROR Message too large"]
    assert machine.ask("ping") == b"OK "
    machine.leave()


@pytest.mark.parametrize("point", ["announce", "recvpayload"])
def test_message_of_wrong_type_is_refused(rig: Make, point: str) -> None:
    machine = rig(high_bandwidth=point == "announce")
    machine.host.faults.arm("wrong-type", at=point, protocol="tclo")
    machine.host.send("OS_Halt")
    assert machine.until(lambda: bool(machine.events("tclo.dropped")))
    machine.settle()
    assert machine.stats("aborts") == 1
    assert machine.stats("reopens") == 1
    assert machine.powerd == []
    machine.leave()


@pytest.mark.parametrize("nul", [b"", b"\0", b"\0\0\0", b" ", b" \0", b"\0 "])
def test_trailing_nuls_and_blanks_are_ignored(rig: Make, nul: bytes) -> None:
    machine = rig()
    assert machine.ask(b"ping" + nul) == b"OK "
    assert machine.ask(b"Set_Option synctime 1" + nul) == b"OK "
    assert machine.read("clock_sync.host").startswith("synctime 1,")
    machine.leave()


def test_host_that_counts_terminating_nul_is_supported(rig: Make) -> None:
    machine = rig(nul_terminated="all")
    assert machine.host.tools.power_operations
    assert machine.ask("OS_Reboot") == b"OK "
    machine.run(1)
    assert machine.powerd == [("reset_button", "pressed")]
    machine.leave()


def test_channel_number_zero_is_valid(rig: Make) -> None:
    machine = rig()
    bound = machine.host.tclo.channel
    assert bound is not None
    assert bound.number == 0
    machine.run(600)
    assert machine.stats("reopens") == 0
    machine.leave()


def test_at_most_one_rpci_channel_is_open_and_none_when_idle(rig: Make) -> None:
    machine = rig(broadcast_ip=5, ping=7)
    for _ in range(200):
        machine.run(0.37)
        assert machine.channels["tclo"] == 1
    assert machine.most_channels("rpci") == 1
    last = [e for e in machine.events("open", "close") if e["protocol"] == "rpci"][-1]
    assert last.kind == "close"
    # A batch is one channel: everything that follows the reset went through few of them.
    first = [e for e in machine.events("open") if e["protocol"] == "rpci" and e.at < 3 * SECOND]
    assert len(first) <= 4
    machine.leave()


def test_undefined_registers_may_hold_any_value(rig: Make) -> None:
    machine = rig(scramble=True, broadcast_ip=5)
    machine.run(70)
    assert machine.ask("OS_PowerOn") == b"OK "
    assert machine.requests("info-set") == [b"info-set guestinfo.ip 192.0.2.10"]
    assert machine.stats("reopens") == 0
    machine.leave()


def test_unanswered_ports_prevent_attach(rig: Make) -> None:
    """The ports do not answer in a guest with encrypted memory; NetBSD cannot be one."""
    machine = rig(hypercall="vmcall", before=DeadPorts, settle=False)
    machine.run(5)
    assert machine.loaded
    assert not machine.attached
    machine.leave()


@pytest.mark.parametrize("ticks", [1, 5])
def test_late_reply_is_waited_for(rig: Make, ticks: int) -> None:
    machine = rig()
    machine.host.faults.arm("slow-reply", times=ticks, protocol="rpci")
    assert machine.rpc(b"info-set guestinfo.a b").text == "1 "
    assert machine.stats("resends") == 0
    machine.leave()


def test_missing_reply_is_requested_on_new_channel(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("no-reply")
    assert machine.rpc(b"info-set guestinfo.a b").text == "1 "
    assert machine.stats("resends") == 1
    machine.host.faults.arm("no-reply", times=2)
    assert machine.rpc(b"info-set guestinfo.a b").error == EIO
    machine.leave()


def test_channel_number_reused_by_host_is_lost(rig: Make) -> None:
    machine = rig(ping=0, broadcast_ip=0)
    machine.run(30)
    since = machine.now

    def forget(event: Event) -> None:
        if event["message"] == b"Set_Option broadcastIP 1":
            assert machine.host.lose_channel("tclo") == 1

    machine.trace.subscribe(forget, ("tclo",))
    # The driver reacts by opening an RPCI channel, which gets the number.
    machine.host.send("Set_Option broadcastIP 1")
    machine.run(30)
    opened = [e for e in machine.events("open", since=since) if e["protocol"] == "rpci"]
    assert opened[0]["channel"] == 0
    # No data of one conversation is in the other.
    assert all(text.startswith((b"info-set ", b"tools.", b"vmx.", b"SetGuest", b"log "))
               for text in machine.requests(since=since))  # fmt: skip
    assert machine.stats("reopens") == 1
    assert machine.ask("ping") == b"OK "
    machine.leave()
