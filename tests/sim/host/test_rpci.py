"""RPCI: every command that a tools driver sends, its reply, and malformed variants."""

import struct

import pytest

from .client import Guest
from .test_tclo import started


@pytest.fixture
def guest() -> Guest:
    return Guest()


GOOD = [
    b"vmx.capability.unified_loop toolbox",
    b"log toolbox: Version: 1.0",
    b"tools.capability.hgfs_server toolbox 1",
    b"tools.capability.hgfs_server toolbox 0",
    b"tools.capability.statechange ",
    b"tools.capability.softpowerop_retry ",
    b"tools.capability.features 1=1 24=0",
    b"tools.capability.guest_conf_directory /usr/pkg/etc/vmware-tools",
    b"tools.capability.resolution_server toolbox 1",
    b"tools.capability.display_topology_set 2",
    b"tools.set.version 2147483647",
    b"tools.set.versiontype 13344 4",
    b"SetGuestInfo  1 guest.example",
    b"SetGuestInfo  4 build-341836",
    b"SetGuestInfo  5 NetBSD 11.0 x86_64",
    b"SetGuestInfo  6 other-64",
    b"SetGuestInfo  7 123400",
    b"info-set guestinfo.ip 192.0.2.10",
    b"info-set guestinfo.ip ",
    b"info-set guestinfo.text with several words",
    b"vmx.set_option synctime 0 1",
    b"update.tools.health normal",
    b"deployPkg.update.state 1 error",
    b"tools.vmsupport.status 0",
]


@pytest.mark.parametrize("command", GOOD, ids=lambda c: c.decode())
def test_well_formed_command_gets_exactly_1_and_space(guest: Guest, command: bytes) -> None:
    assert guest.rpci(command) == b"1 "
    assert guest.broken_rules() == []


@pytest.mark.parametrize(
    "command",
    [c for c in GOOD if not c.endswith(b" ") and b"resolution_server" not in c and b"hea" not in c],
    ids=lambda c: c.decode(),
)
def test_text_command_may_end_with_one_nul(guest: Guest, command: bytes) -> None:
    assert guest.rpci(command + b"\0") == b"1 "
    assert guest.broken_rules() == []


BAD = [
    (b"tools.capability.statechange \0", "rpci-nul", b"1 "),
    (b"tools.capability.statechange 1", "rpci-arguments", None),
    (b"tools.capability.resolution_server toolbox 1\0", "rpci-nul", b"1 "),
    (b"vmx.capability.unified_loop toolbx", "rpci-arguments", None),
    (b"tools.capability.hgfs_server toolbox", "rpci-arguments", None),
    (b"tools.capability.hgfs_server toolbox 2", "rpci-arguments", None),
    (b"tools.capability.features 1:1", "rpci-arguments", None),
    (b"tools.set.version 13.1.0", "rpci-arguments", None),
    (b"tools.set.version 4294967296", "rpci-arguments", None),
    (b"tools.set.versiontype 13344", "rpci-arguments", None),
    (b"tools.set.versiontype 13344 9", "rpci-arguments", None),
    (b"tools.os.statechange.status 1 6", "rpci-arguments", None),
    (b"tools.os.statechange.status 2 1", "rpci-arguments", None),
    (b"tools.os.statechange.status 1 ", "rpci-arguments", None),
    (b"tools.os.statechange.status 1 1", "state-change", b"1 "),
    (b"log a\0b", "rpci-embedded-nul", b"1 "),
    (b"log a\0\0", "rpci-embedded-nul", b"1 "),
    (b"info-set guestinfo.ip", "rpci-arguments", b"0 Two and exactly two arguments expected"),
    (b"info-set ip 192.0.2.1", "rpci-arguments", b"0 Two and exactly two arguments expected"),
    (b"vmx.set_option synctime 1", "rpci-arguments", None),
    (b"update.tools.health good", "rpci-arguments", None),
    (b"vmbackup.eventSet nonsense 0", "rpci-arguments", None),
    (b"vmbackup.eventSet req.done 9", "rpci-arguments", None),
    (b"SetGuestInfo 7 123", "guestinfo-delimiter", None),
    (b"SetGuestInfo   7 123", "guestinfo-delimiter", None),
    (b"SetGuestInfo  7123", "guestinfo-delimiter", None),
    (b"SetGuestInfo", "guestinfo-delimiter", None),
    (b"SetGuestInfo  0 x", "guestinfo-key", None),
    (b"SetGuestInfo  12 x", "guestinfo-key", None),
    (b"SetGuestInfo  7 12x", "guestinfo-value", None),
    (b"SetGuestInfo  7 ", "guestinfo-value", None),
    (b"SetGuestInfo  1 " + b"h" * 256, "guestinfo-value", None),
    (b"SetGuestInfo  1 a\0b", "guestinfo-value", None),
    (b"SetGuestInfo  10 \0\0\0", "guestinfo-value", None),
    (b"SetGuestDiskInfo {}", "guestinfo-value", None),
    (b"  ", "rpci-empty", b"0 Unknown command"),
]


@pytest.mark.parametrize(("command", "rule", "reply"), BAD, ids=lambda v: str(v)[:50])
def test_malformed_command_names_its_rule(
    guest: Guest, command: bytes, rule: str, reply: bytes | None
) -> None:
    got = guest.rpci(command)
    assert guest.broken_rules() == [rule]
    assert got is not None
    if reply is None:
        assert got.startswith(b"0 ")
    else:
        assert got == reply


def test_unknown_command_is_refused_without_violation(guest: Guest) -> None:
    assert guest.rpci(b"no.such.command 1") == b"0 Unknown command"
    assert guest.broken_rules() == []
    assert [e["command"] for e in guest.events("rpci.unknown")] == ["no.such.command"]


def test_empty_message_is_no_command(guest: Guest) -> None:
    assert guest.rpci(b"") == b"0 Unknown command"
    assert guest.broken_rules() == ["rpci-empty"]


def test_variables_are_stored_and_read_back(guest: Guest) -> None:
    assert guest.rpci(b"info-get guestinfo.a") == b"0 No value found"
    guest.rpci(b"info-set guestinfo.a one two")
    assert guest.rpci(b"info-get guestinfo.a") == b"1 one two"
    assert guest.rpci(b"info-get a") == b"0 No value found"
    assert guest.broken_rules() == []


def test_variables_share_one_size_limit() -> None:
    guest = Guest(guestinfo_limit=100)
    assert guest.rpci(b"info-set guestinfo.a " + b"x" * 90) == b"1 "
    assert (guest.rpci(b"info-set guestinfo.b " + b"x" * 10) or b"").startswith(b"0 ")
    assert guest.rpci(b"info-set guestinfo.a x") == b"1 "
    assert guest.rpci(b"info-set guestinfo.b " + b"x" * 10) == b"1 "


def test_capabilities_and_version_set_tools_state(guest: Guest) -> None:
    guest.rpci(b"tools.capability.statechange ")
    guest.rpci(b"tools.capability.features 1=1 24=0")
    guest.rpci(b"tools.set.version 2147483647")
    tools = guest.host.tools
    assert tools.capabilities == {"statechange": "", "features": "1=1 24=0"}
    assert tools.features == {1: 1, 24: 0}
    assert tools.version == 0x7FFFFFFF
    logged = [e["text"] for e in guest.events("host.log")]
    assert "TOOLS Received tools.set.version rpc call, version = 2147483647." in logged


def test_host_may_lack_command_or_key() -> None:
    guest = Guest(
        unknown_commands=frozenset({"tools.set.versiontype"}),
        unknown_guestinfo_keys=frozenset({11}),
    )
    assert guest.rpci(b"tools.set.versiontype 1 4") == b"0 Unknown command"
    assert guest.rpci(b"SetGuestInfo  11 x") == b"0 Invalid argument"
    assert guest.broken_rules() == []


OLD = [
    (b"tools.capability.statechange", b"1 "),
    (b"vmx.capability.unified_loop", b"0 Invalid argument"),
]


@pytest.mark.parametrize(("command", "reply"), OLD)
def test_only_old_host_requires_space_after_command(command: bytes, reply: bytes) -> None:
    old = Guest(age="old")
    assert old.rpci(command) == b"0 Unknown command"
    assert old.broken_rules() == ["rpci-space"]
    current = Guest()
    assert current.rpci(command) == reply
    assert "rpci-space" not in current.broken_rules()


SHORT = [b"SetGuestInfo  6 netbsd-64", b"SetGuestInfo  11 " + struct.pack(
    "<I129s513sxx", 1, b"netbsd-64", b"NetBSD 11.0") + b"distroName='NetBSD'\0"]  # fmt: skip


@pytest.mark.parametrize("command", SHORT, ids=["key 6", "key 11"])
def test_unknown_short_name_is_stored_with_warning(command: bytes) -> None:
    guest = Guest()
    guest.rpci(b"SetGuestInfo  5 NetBSD 11.0")
    assert guest.rpci(command) == b"1 "
    assert guest.host.guestinfo.system == ("", "NetBSD 11.0")
    assert guest.broken_rules() == ["os-name"]
    assert guest.events("host.log")[-1]["text"] == "Unable to convert Vigor value 'netbsd-64'"
    lenient = Guest(strict_os_names=False)
    assert lenient.rpci(command) == b"1 "
    assert lenient.broken_rules() == []


def test_known_short_name_is_shown_to_clients() -> None:
    guest = Guest()
    guest.rpci(b"SetGuestInfo  6 other-64")
    assert guest.host.guestinfo.system == ("other-64", "")


REFUSED = [
    ({"denied_commands": frozenset({"info-get"})}, b"info-get guestinfo.x", b"0 Permission denied"),
    ({"setinfo": False}, b"SetGuestInfo  7 100", b"0 disabled"),
    ({"setinfo": False}, b"info-set guestinfo.ip 192.0.2.1", b"0 disabled"),
    ({"setinfo": False}, b"SetGuestDiskInfo {}", b"0 disabled"),
    ({"privileged": False}, b"vmbackup.eventSet reset 0 ", b"0 Guest is not privileged"),
]


@pytest.mark.parametrize(("options", "command", "reply"), REFUSED, ids=str)
def test_configured_refusal_is_answered(
    options: dict[str, object], command: bytes, reply: bytes
) -> None:
    guest = Guest(**options)
    assert guest.rpci(command) == reply
    assert guest.rpci(b"log still here") == b"1 "
    assert guest.broken_rules() == []


def test_time_sync_set_by_guest_returns_as_option(guest: Guest) -> None:
    channel = guest.open(b"TCLO")
    guest.tools(channel, 5)
    guest.rpci(b"vmx.set_option synctime 0 1")
    assert guest.tools(channel, 5) == [b"Set_Option synctime 1"]


def test_second_command_replaces_unread_reply(guest: Guest) -> None:
    channel = guest.open(b"RPCI")
    guest.send(channel, b"info-get guestinfo.x")
    guest.send(channel, b"log x")
    assert guest.receive(channel) == b"1 "
    assert guest.receive(channel) is None


@pytest.mark.parametrize("skip", [0, 1])
def test_repeated_status_is_not_judged_again(skip: int) -> None:
    halted = b"tools.os.statechange.status 1 1"
    guest, channel = started()
    guest.host.power.request("halt")
    guest.turn(channel)
    guest.host.faults.arm("reject-text", skip=skip)
    lost = guest.open(b"RPCI")
    guest.send(lost, halted)
    guest.close(lost)
    assert guest.rpci(halted) == b"1 not stored"
    assert guest.broken_rules() == []
    guest.rpci(halted)
    assert guest.broken_rules() == ["state-change"]


def test_later_same_status_belongs_to_another_request() -> None:
    halted = b"tools.os.statechange.status 1 1"
    guest, channel = started(power_pending=False)
    for _ in range(2):
        guest.host.power.request("halt")
        assert guest.tools(channel, 2, lambda _: b"OK ") == [b"OS_Halt"]
        lost = guest.open(b"RPCI")
        guest.send(lost, halted)
        guest.close(lost)
        assert guest.host.power.underway == ()
        guest.wait(11)
    assert guest.broken_rules() == []


def test_command_with_long_reply_is_executed(guest: Guest) -> None:
    guest.host.faults.arm("long-reply")
    reply = guest.rpci(b"info-set guestinfo.a b")
    assert reply.startswith(b"1 x")
    assert len(reply) > 5000
    assert guest.rpci(b"info-get guestinfo.a") == b"1 b"
