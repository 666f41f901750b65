"""Names, release, uptime, file systems: what the host is told, when, and when it is not."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
DNS, BUILD, FULL, SHORT, UPTIME, DETAILED = 1, 4, 5, 6, 7, 11


def test_a_host_of_today_gets_the_description_in_detail(rig: Make) -> None:
    machine = rig()
    assert machine.host.guestinfo.decoded[DETAILED] == {
        "short": "other-64",
        "full": "NetBSD 11.0 x86_64",
        "details": {
            "architecture": "X86",
            "bitness": "64",
            "distroName": "NetBSD",
            "distroVersion": "11.0",
            "familyName": "NetBSD",
            "kernelVersion": "11.0",
            "prettyName": "NetBSD 11.0",
        },
    }
    assert machine.info(FULL) == machine.info(SHORT) == []
    assert machine.info(BUILD) == []  # the build of VMware's tools, which these are not
    assert machine.info(DNS) == [b"guest.example"]
    machine.run(3600)
    assert len(machine.info(DETAILED)) == 1
    machine.leave()


def test_a_host_of_old_gets_the_names(rig: Make) -> None:
    machine = rig(unknown_guestinfo_keys=frozenset({DETAILED}))
    assert len(machine.info(DETAILED)) == 1
    assert machine.info(FULL) == [b"NetBSD 11.0 x86_64"]
    assert machine.info(SHORT) == [b"other-64"]
    machine.run(3600)
    assert len(machine.info(DETAILED)) == len(machine.info(FULL)) == len(machine.info(SHORT)) == 1
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(machine.info(DETAILED)) == len(machine.info(FULL)) == len(machine.info(SHORT)) == 2
    machine.leave()


def test_details_that_were_lost_are_tried_again_before_the_names_are(rig: Make) -> None:
    def spoil(machine: Rig) -> None:
        machine.host.faults.arm("no-reply", command="SetGuestInfo", skip=1, times=2)

    machine = rig(before=spoil)
    machine.run(120)
    assert machine.host.guestinfo.decoded[DETAILED]["short"] == "other-64"
    assert machine.info(FULL) == machine.info(SHORT) == []
    machine.leave()


def test_uptime_is_told_in_hundredths_once_a_minute(rig: Make) -> None:
    machine = rig()
    machine.run(600)
    reports = [(e.at, e["value"]) for e in machine.events("guestinfo") if e["key"] == UPTIME]
    assert 10 <= len(reports) <= 12
    for at, value in reports:
        assert abs(at / 10_000_000 - value) <= 1
    machine.leave()


def test_uptime_comes_with_the_capabilities(rig: Make) -> None:
    """Early: a drop of it tells the host of a soft reset."""
    machine = rig()
    assert any(r.startswith(b"SetGuestInfo  7 ") for r in machine.requests()[:5])
    machine.leave()


def test_a_new_host_name_is_told_within_a_quarter_of_a_minute(rig: Make) -> None:
    machine = rig()
    machine.do("hostname", "other.example")
    machine.run(16)
    assert machine.info(DNS) == [b"guest.example", b"other.example"]
    machine.run(300)
    assert len(machine.info(DNS)) == 2
    machine.do("hostname", "guest.example")
    machine.run(16)
    assert machine.info(DNS)[2:] == [b"guest.example"]
    machine.leave()


@pytest.mark.parametrize("length", [1, 200, 249, 250, 251, 254, 255])
def test_long_host_names_are_told_whole(rig: Make, length: int) -> None:
    name = ("very-long-name." * 20)[:length]
    machine = rig(hostname=name)
    assert machine.info(DNS) == [name.encode()]
    machine.run(300)
    assert len(machine.info(DNS)) == 1
    machine.leave()


def test_no_host_name_yet_is_nothing_to_tell(rig: Make) -> None:
    machine = rig(hostname="")
    assert machine.info(DNS) == []
    machine.do("hostname", "at-last.example")
    machine.run(16)
    assert machine.info(DNS) == [b"at-last.example"]
    machine.leave()


def test_a_name_with_a_percent_sign_is_only_a_name(rig: Make) -> None:
    machine = rig(hostname="100%s%n")
    assert machine.info(DNS) == [b"100%s%n"]
    machine.leave()


@pytest.mark.parametrize("fault", ["reject", "reject-text"])
def test_a_refused_item_is_logged_once_and_said_again_after_the_next_reset(
    rig: Make, fault: str
) -> None:
    """'1 ' and a text means that the host heard it and did not store it."""
    machine = rig()
    machine.do("hostname", "other.example")
    machine.host.faults.arm(fault, command="SetGuestInfo")
    machine.until(lambda: machine.host.faults.struck[fault] == 1)
    refused = machine.log
    machine.run(300)
    assert machine.log == refused == ["host refuses guest information 1 until its next reset"]
    assert len(machine.info(DNS)) == 2
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(machine.info(DNS)) == 3
    machine.leave()


def test_an_item_that_was_lost_is_tried_again_with_the_next_look(rig: Make) -> None:
    machine = rig()
    machine.do("hostname", "other.example")
    machine.host.faults.arm("no-reply", command="SetGuestInfo", times=2)
    machine.run(40)
    assert machine.host.guestinfo.decoded[DNS] == "other.example"
    assert machine.log == []
    machine.leave()


def test_a_short_host_table_of_names_is_no_problem(rig: Make) -> None:
    machine = rig(strict_os_names=True, unknown_guestinfo_keys=frozenset({DETAILED}))
    assert machine.host.guestinfo.decoded[SHORT] == "other-64"
    machine.leave()


# Disks.


def _disks(machine: Rig) -> list[dict[str, Any]]:
    return [json.loads(r[len(b"SetGuestDiskInfo ") :].rstrip(b"\0"))
            for r in machine.requests("SetGuestDiskInfo ")]  # fmt: skip


def _named(machine: Rig) -> dict[str, tuple[int, int, str]]:
    return {
        base64.b64decode(each["name"]).decode(): (
            int(each["free"]), int(each["size"]), each["fstype"],
        )
        for each in _disks(machine)[-1]["disks"]
    }  # fmt: skip


def test_local_file_systems_are_told_with_their_sizes(rig: Make) -> None:
    def mount(machine: Rig) -> None:
        mounts = machine.mounts
        mounts.mount("nfs", "/net", "server:/export", size=1 << 40, free=1 << 39)
        mounts.mount("procfs", "/proc", "procfs")
        mounts.mount("ptyfs", "/dev/pts", "ptyfs")
        mounts.mount("ffs", "/usr/a b", "/dev/wd0e", size=1 << 40, free=1 << 30)

    machine = rig(before=mount)
    (document,) = _disks(machine)
    assert document["version"] == "1"
    found = _named(machine)
    assert sorted(found) == ["/", "/usr/a b"]
    assert found["/"][1:] == (8 << 30, "ffs")
    # What is kept back for root is not free to anybody.
    assert found["/"][0] == (5 << 30) - (8 << 30) // 20 // 2048 * 2048
    assert found["/usr/a b"][1:] == (1 << 40, "ffs")
    request = machine.requests("SetGuestDiskInfo ")[0]
    assert request.startswith(b'SetGuestDiskInfo {\n"version":"1",\n"disks":[\n{"name":"')
    assert request.endswith(b"}\n]}\0")
    machine.leave()


def test_memory_and_what_cannot_be_written_are_no_disks(rig: Make) -> None:
    """tmpfs and mfs have the limit of their memory, a CD has nothing free: all are MNT_LOCAL."""

    def mounted(machine: Rig) -> None:
        mounts = machine.mounts
        for kind in ("ext2fs", "msdos", "cd9660", "mfs", "tmpfs", "union"):
            mounts.mount(kind, f"/{kind}", "/dev/x", size=1 << 30, free=1 << 29)

    machine = rig(before=mounted)
    assert sorted(_named(machine)) == ["/", "/ext2fs", "/msdos"]
    machine.leave()


def test_disks_are_told_when_they_change_and_once_a_minute_at_most(rig: Make) -> None:
    machine = rig()
    machine.run(300)
    assert len(_disks(machine)) == 1
    machine.mounts.set_free("/", 1 << 30)
    machine.run(61)
    assert len(_disks(machine)) == 2
    assert _named(machine)["/"][0] < 1 << 30
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(_disks(machine)) == 3
    machine.leave()


def test_a_host_that_knows_no_json_gets_the_older_form(rig: Make) -> None:
    machine = rig(unknown_commands=frozenset({"SetGuestDiskInfo"}))
    assert len(_disks(machine)) == 1
    (sent,) = machine.info(3)
    assert sent[0] == 1
    assert len(sent) == 1 + 116
    assert [each["name"] for each in machine.host.guestinfo.decoded[3]] == ["/"]
    assert machine.host.guestinfo.decoded[3][0]["size"] == 8 << 30
    machine.mounts.set_free("/", 1 << 30)
    machine.run(61)
    assert len(machine.info(3)) == 2
    assert len(_disks(machine)) == 1
    machine.leave()


def test_a_host_that_knows_neither_is_asked_once(rig: Make) -> None:
    machine = rig(
        unknown_commands=frozenset({"SetGuestDiskInfo"}), unknown_guestinfo_keys=frozenset({3})
    )
    machine.run(300)
    assert len(_disks(machine)) == len(machine.info(3)) == 1
    assert machine.log == ["host refuses guest information 3 until its next reset"]
    machine.leave()


def test_many_file_systems_are_told_as_far_as_they_fit(rig: Make) -> None:
    def mount(machine: Rig) -> None:
        for number in range(60):
            machine.mounts.mount(
                "ffs", f"/{number:02}/{'long-name-' * 30}", f"/dev/wd{number}a", size=1 << 30
            )

    machine = rig(before=mount)
    (document,) = _disks(machine)
    assert len(document["disks"]) == 32
    assert all(len(base64.b64decode(each["name"])) <= 99 for each in document["disks"])
    machine.leave()


def test_no_file_system_at_all_is_an_empty_list(rig: Make) -> None:
    def none(machine: Rig) -> None:
        for directory in ("/tmp", "/"):
            machine.guest.wait("umount", machine.mounts.unmount(directory))

    machine = rig(before=none)
    assert _disks(machine) == [{"version": "1", "disks": []}]
    machine.leave()


def test_a_server_that_does_not_answer_holds_nobody(rig: Make) -> None:
    def mount(machine: Rig) -> None:
        machine.mounts.mount("nfs", "/net", "server:/export", size=1 << 40, free=1 << 39)
        machine.mounts.stick("/net")

    machine = rig(before=mount)
    assert sorted(_named(machine)) == ["/"]
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_what_the_old_host_was_told_is_not_told_the_new_one_by_mistake(rig: Make) -> None:
    """The versions of the tools: with the kind, and without it where that is unknown."""
    machine = rig(unknown_commands=frozenset({"tools.set.versiontype"}))
    assert machine.requests("tools.set.version") == [
        b"tools.set.versiontype 2147483647 3",
        b"tools.set.version 2147483647",
    ]
    assert machine.host.tools.status == "running, unmanaged"
    assert machine.log == []
    machine.leave()
