"""The driver reports names, release, uptime and file systems to the host when they are due."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
DNS, BUILD, FULL, SHORT, UPTIME, DETAILED = 1, 4, 5, 6, 7, 11


def test_current_host_gets_detailed_os_description(rig: Make) -> None:
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
    machine.run(900)
    assert len(machine.info(DETAILED)) == 1
    machine.leave()


def test_old_host_gets_os_names(rig: Make) -> None:
    machine = rig(unknown_guestinfo_keys=frozenset({DETAILED}))
    assert len(machine.info(DETAILED)) == 1
    assert machine.info(FULL) == [b"NetBSD 11.0 x86_64"]
    assert machine.info(SHORT) == [b"other-64"]
    machine.run(900)
    assert len(machine.info(DETAILED)) == len(machine.info(FULL)) == len(machine.info(SHORT)) == 1
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(machine.info(DETAILED)) == len(machine.info(FULL)) == len(machine.info(SHORT)) == 2
    machine.leave()


def test_lost_details_are_retried_before_os_names(rig: Make) -> None:
    def arm_faults(machine: Rig) -> None:
        machine.host.faults.arm("no-reply", command="SetGuestInfo", skip=1, times=2)

    machine = rig(before=arm_faults)
    machine.run(120)
    assert machine.host.guestinfo.decoded[DETAILED]["short"] == "other-64"
    assert machine.info(FULL) == machine.info(SHORT) == []
    machine.leave()


def test_uptime_is_sent_in_hundredths_at_growing_intervals(rig: Make) -> None:
    """Each report is above half of the uptime at the next: a host notices each soft reset.

    Sources: open-vm-tools services/plugins/guestInfo/guestInfoServer.c, which sends the uptime so
    that the host can detect soft resets.
    """
    machine = rig()
    machine.run(3600)
    reports = [(e.at, e["value"]) for e in machine.events("guestinfo") if e["key"] == UPTIME]
    for at, value in reports:
        assert abs(at / 10_000_000 - value) <= 1
    late = [at / SECOND for at, _ in reports if at > 20 * SECOND]
    gaps = [b - a for a, b in itertools.pairwise(late)]
    assert len(late) >= 12
    assert all(gap <= min(at, 300) + 20.1 for at, gap in zip(late, gaps, strict=False))
    assert sorted(gaps)[-5:] == pytest.approx([300] * 5, abs=21)
    machine.leave()


def test_uptime_is_sent_with_capabilities(rig: Make) -> None:
    """Early: a smaller uptime shows the host a soft reset."""
    machine = rig()
    assert any(r.startswith(b"SetGuestInfo  7 ") for r in machine.requests()[:5])
    machine.leave()


def test_host_name_change_is_reported_within_15_seconds(rig: Make) -> None:
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
def test_long_host_names_are_reported_whole(rig: Make, length: int) -> None:
    name = ("very-long-name." * 20)[:length]
    machine = rig(hostname=name)
    assert machine.info(DNS) == [name.encode()]
    machine.run(300)
    assert len(machine.info(DNS)) == 1
    machine.leave()


def test_missing_host_name_is_not_reported(rig: Make) -> None:
    machine = rig(hostname="")
    assert machine.info(DNS) == []
    machine.do("hostname", "at-last.example")
    machine.run(16)
    assert machine.info(DNS) == [b"at-last.example"]
    machine.leave()


def test_percent_sign_in_host_name_is_literal(rig: Make) -> None:
    machine = rig(hostname="100%s%n")
    assert machine.info(DNS) == [b"100%s%n"]
    machine.leave()


@pytest.mark.parametrize("fault", ["reject", "reject-text"])
def test_refused_item_is_logged_once_and_resent_after_reset(rig: Make, fault: str) -> None:
    """'1 ' and a text means that the host received the item and did not store it."""
    machine = rig()
    machine.do("hostname", "other.example")
    machine.host.faults.arm(fault, command="SetGuestInfo")
    machine.until(lambda: machine.host.faults.injected[fault] == 1)
    refused = machine.log
    machine.run(300)
    assert machine.log == refused == ["host refuses guest information 1 until its next reset"]
    assert len(machine.info(DNS)) == 2
    machine.host.tclo.reset()
    machine.settle()
    machine.run(1)
    assert len(machine.info(DNS)) == 3
    machine.leave()


def test_lost_item_is_resent_at_next_check(rig: Make) -> None:
    machine = rig()
    machine.do("hostname", "other.example")
    machine.host.faults.arm("no-reply", command="SetGuestInfo", times=2)
    machine.run(40)
    assert machine.host.guestinfo.decoded[DNS] == "other.example"
    assert machine.log == []
    machine.leave()


def test_short_host_key_table_is_supported(rig: Make) -> None:
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


def test_local_file_systems_are_reported_with_sizes(rig: Make) -> None:
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
    # Blocks reserved for root do not count as free.
    assert found["/"][0] == (5 << 30) - (8 << 30) // 20 // 2048 * 2048
    assert found["/usr/a b"][1:] == (1 << 40, "ffs")
    request = machine.requests("SetGuestDiskInfo ")[0]
    assert request.startswith(b'SetGuestDiskInfo {\n"version":"1",\n"disks":[\n{"name":"')
    assert request.endswith(b"}\n]}\0")
    machine.leave()


def test_memory_and_unwritable_file_systems_are_not_reported(rig: Make) -> None:
    """tmpfs and mfs have the limit of their memory, a CD has nothing free: all are MNT_LOCAL."""

    def mounted(machine: Rig) -> None:
        mounts = machine.mounts
        for kind in ("ext2fs", "msdos", "cd9660", "mfs", "tmpfs", "union"):
            mounts.mount(kind, f"/{kind}", "/dev/x", size=1 << 30, free=1 << 29)

    machine = rig(before=mounted)
    assert sorted(_named(machine)) == ["/", "/ext2fs", "/msdos"]
    machine.leave()


def test_disks_are_reported_on_change_at_most_once_a_minute(rig: Make) -> None:
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


def test_host_without_json_gets_packed_disk_list(rig: Make) -> None:
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


def test_host_without_disk_keys_is_tried_once(rig: Make) -> None:
    machine = rig(
        unknown_commands=frozenset({"SetGuestDiskInfo"}), unknown_guestinfo_keys=frozenset({3})
    )
    machine.run(300)
    assert len(_disks(machine)) == len(machine.info(3)) == 1
    assert machine.log == ["host refuses guest information 3 until its next reset"]
    machine.leave()


def test_disk_list_is_cut_at_message_size(rig: Make) -> None:
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


def test_no_file_systems_gives_empty_list(rig: Make) -> None:
    def none(machine: Rig) -> None:
        for directory in ("/tmp", "/"):
            machine.guest.wait("umount", machine.mounts.unmount(directory))

    machine = rig(before=none)
    assert _disks(machine) == [{"version": "1", "disks": []}]
    machine.leave()


def test_unresponsive_file_server_does_not_block_worker(rig: Make) -> None:
    def mount(machine: Rig) -> None:
        machine.mounts.mount("nfs", "/net", "server:/export", size=1 << 40, free=1 << 39)
        machine.mounts.hang("/net")

    machine = rig(before=mount)
    assert sorted(_named(machine)) == ["/"]
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_reset_forgets_what_previous_host_stored(rig: Make) -> None:
    """The versions of the tools: with the kind, and without it where that is unknown."""
    machine = rig(unknown_commands=frozenset({"tools.set.versiontype"}))
    assert machine.requests("tools.set.version") == [
        b"tools.set.versiontype 2147483647 3",
        b"tools.set.version 2147483647",
    ]
    assert machine.host.tools.status == "running, unmanaged"
    assert machine.log == []
    machine.leave()
