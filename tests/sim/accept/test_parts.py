"""Disks, files, QEMU's arguments, and the steps inside the guest."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from vmtsim.accept import disks, drivers, files, guest, machine, module, run, session, verdict
from vmtsim.accept.disks import Disk, DiskError, prepared
from vmtsim.accept.guest import Facts
from vmtsim.accept.machine import MachineOptions, command
from vmtsim.accept.session import End
from vmtsim.accept.shell import Result
from vmtsim.accept.verdict import BROKEN, HELD, NOT_JUDGED
from vmtsim.core.verb import Nothing
from vmtsim.scenario import script
from vmtsim.scenario.guest import COMMANDS

from tests.patience import until

SCRIPT = Path(guest.__file__).parent / "guest.sh"
MIB = 1 << 20

# Disks.


def _ignored(_line: str) -> None:
    pass


def test_compressed_image_is_unpacked_sparse_and_kept(tmp_path: Path) -> None:
    content = b"boot" + bytes(8 * MIB) + b"end" + bytes(MIB)
    packed = tmp_path / "live.img.gz"
    packed.write_bytes(gzip.compress(content))
    before = packed.read_bytes()
    work = tmp_path / "work"
    work.mkdir()
    disk = prepared(packed, work, _ignored)
    assert disk == Disk(work / "live.img", "raw")
    assert disk.path.read_bytes() == content
    assert disk.path.stat().st_blocks * 512 < 4 * MIB
    assert packed.read_bytes() == before


def test_uncompressed_image_is_used_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(600))
    assert prepared(path, tmp_path, _ignored) == Disk(path.resolve(), "qcow2")
    inside = tmp_path / "y.gz"
    inside.write_bytes(gzip.compress(path.read_bytes()))
    assert prepared(inside, tmp_path, _ignored).format == "qcow2"


def test_lack_of_space_is_reported_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "live.img.gz"
    packed.write_bytes(gzip.compress(bytes(100 * MIB)))
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 500 * MIB))
    with pytest.raises(
        DiskError, match=r"100 MiB when unpacked, 612 MiB .* 500 MiB free"
    ) as caught:
        prepared(packed, tmp_path, _ignored)
    assert caught.value.exit_status == 74
    assert "TMPDIR" in (caught.value.hint or "")
    assert sorted(tmp_path.iterdir()) == [packed]


@pytest.mark.parametrize(
    ("content", "message", "status"),
    [
        (None, "No such file", 66),
        (b"", "is empty", 65),
        (b"\x1f\x8b\x08\0broken in the middle", "cannot unpack", 65),
    ],
)
def test_invalid_image_is_refused(
    tmp_path: Path, content: bytes | None, message: str, status: int
) -> None:
    path = tmp_path / "image.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DiskError, match=message) as caught:
        prepared(path, tmp_path, _ignored)
    assert caught.value.exit_status == status
    assert not (tmp_path / "image").exists()


def test_compressed_kernel_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "netbsd-GENERIC.gz"
    path.write_bytes(gzip.compress(b"\x7fELF kernel"))
    assert disks.kernel(path, tmp_path).read_bytes() == b"\x7fELF kernel"


# Files.


def test_disk_starts_with_expected_label(tmp_path: Path) -> None:
    module = tmp_path / "m"
    module.write_bytes(b"module")
    content = files.archive({"vmt.kmod": module})
    assert content.startswith(files.FOLDER.encode())
    assert len(content) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        modes = {member.name: member.mode for member in tar}
        kept = tar.extractfile(f"{files.FOLDER}/vmt.kmod")
        assert kept is not None
        assert kept.read() == b"module"
    assert modes[f"{files.FOLDER}/guest.sh"] == 0o755


# QEMU.


def test_guest_has_no_network_and_image_is_read_only(tmp_path: Path) -> None:
    options = MachineOptions(disk=Disk(Path("/images/a,b.img"), "raw"))
    words = command(options, "qemu", tmp_path, tmp_path / "files.img")
    text = " ".join(words)
    assert "-nic none" in text
    assert "netdev" not in text
    drives = [words[index + 1] for index, word in enumerate(words) if word == "-drive"]
    assert len(drives) == 2
    assert all("snapshot=on" in drive for drive in drives)
    assert "file=/images/a,,b.img" in drives[0]
    assert "vmport=off" in text


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "console=com"),
        ({"disk": Disk(Path("r"), "raw")}, "console=com root=ld0a"),
        ({"disk": Disk(Path("r"), "raw"), "bus": "ide"}, "console=com root=wd0a"),
        ({"append": "-s"}, "-s"),
    ],
)
def test_kernel_gets_console_and_root(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    words = command(MachineOptions(kernel=Path("netbsd"), **options), "qemu", tmp_path, None)
    assert words[words.index("-append") + 1] == line


def test_missing_qemu_is_reported_with_package() -> None:
    with pytest.raises(machine.MachineError, match="no /nosuch/qemu found") as caught:
        machine.find_qemu(MachineOptions(qemu="/nosuch/qemu"))
    assert "--qemu" in (caught.value.hint or "")


# Inside the guest: guest.sh with NetBSD's tools replaced by words.

# ifconfig(8) of NetBSD 10, and of NetBSD 7, which has no prefix in the address.
IFCONFIG = {
    "10": """wm0: flags=0x8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500
\tcapabilities=0x7ff80<TSO4,IP4CSUM_Rx,IP4CSUM_Tx>
\taddress: 00:0c:29:3e:5a:01
\tmedia: Ethernet autoselect (1000baseT full-duplex)
\tstatus: active
\tinet6 fe80::20c:29ff:fe3e:5a01%wm0/64 flags 0 scopeid 0x1
\tinet6 2001:db8::10/64 flags 0
\tinet 192.0.2.10/24 broadcast 192.0.2.255 flags 0
""",
    "7": """wm0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500
\taddress: 00:0c:29:3e:5a:01
\tinet 192.0.2.10 netmask 0xffffff80 broadcast 192.0.2.127
\tinet6 fe80::20c:29ff:fe3e:5a01%wm0 prefixlen 64 scopeid 0x1
\tinet6 2001:db8::10 prefixlen 64
""",
}


class Inside:
    """guest.sh in a directory, with stubs of tools that print their arguments."""

    def __init__(self, folder: Path, sh: str) -> None:
        self.sh = sh
        self.folder = folder / "here"
        self.tools = folder / "tools"
        self.scripts = folder / "scripts"
        for each in (self.folder, self.tools, self.scripts):
            each.mkdir()
        text = SCRIPT.read_text(encoding="utf-8")
        path = "PATH=/sbin:/usr/sbin:/bin:/usr/bin:/usr/pkg/sbin:/usr/pkg/bin"
        assert path in text
        assert "scripts=/etc/powerd/scripts" in text
        text = text.replace(path, f"PATH={self.tools}:/usr/bin:/bin")
        text = text.replace("scripts=/etc/powerd/scripts", f"scripts={self.scripts}")
        (self.folder / "guest.sh").write_text(text, encoding="utf-8")
        (self.folder / "reporter.sh").write_text("#!/bin/sh\n", encoding="utf-8")

    def tool(self, name: str, body: str = "") -> None:
        path = self.tools / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.folder}/log\n{body}\n')
        path.chmod(0o755)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.sh, str(self.folder / "guest.sh"), *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


@pytest.fixture
def inside(tmp_path: Path, require_tool: Any) -> Inside:
    # NetBSD's sh and dash are both ash.
    return Inside(tmp_path, require_tool("dash"))


@pytest.mark.parametrize(("release", "prefix"), [("10", "24"), ("7", "25")])
def test_interface_facts_are_read_from_ifconfig(inside: Inside, release: str, prefix: str) -> None:
    inside.tool(
        "ifconfig",
        f"case $1 in -l) echo 'lo0 tap0 wm0';; *) cat <<'END'\n{IFCONFIG[release]}END\n;; esac",
    )
    inside.tool("sysctl", "echo guest.example")
    inside.tool("uname", "echo 10.1_STABLE")
    result = inside.call("named")
    assert guest.named(Result("named", result.returncode, result.stdout)) == {
        "hostname": "guest.example",
        "release": "10.1_STABLE",
        "address": "192.0.2.10",
        "prefix": prefix,
        "address6": "2001:db8::10",
        "prefix6": "64",
    }


def test_facts_follow_scenario_changes() -> None:
    facts = {"hostname": "a", "release": "11.0", "address": "192.0.2.10", "prefix": "24"}
    facts = guest.changed(facts, "hostname", "b.example")
    facts = guest.changed(facts, "detach", "vmt0")
    facts = guest.changed(facts, "addresses", ["198.51.100.7/25", "198.51.100.8/25"])
    assert facts == {
        "hostname": "b.example",
        "release": "11.0",
        "address": "198.51.100.7",
        "prefix": "25",
    }
    assert "address" not in guest.changed(facts, "addresses", ["2001:db8::1/64"])


def test_addresses_replace_all_but_link_local(inside: Inside) -> None:
    inside.tool(
        "ifconfig", f"case $1$2 in -l) echo wm0;; wm0) cat <<'END'\n{IFCONFIG['10']}END\n;; esac"
    )
    assert inside.call("addresses", "198.51.100.7/25", "2001:db8::1/64").returncode == 0
    changes = [line for line in inside.log() if "inet" in line]
    assert changes == [
        "ifconfig wm0 inet6 2001:db8::10 delete",
        "ifconfig wm0 inet 192.0.2.10 delete",
        "ifconfig wm0 inet 198.51.100.7/25 alias",
        "ifconfig wm0 inet6 2001:db8::1 prefixlen 64 alias",
    ]


def test_powerd_scripts_are_replaced_and_restored(inside: Inside) -> None:
    inside.tool("powerd")
    inside.tool("ps", "echo '  PID COMMAND'; echo '  212 /usr/sbin/powerd'")
    (inside.scripts / "acpi").mkdir()
    mine = {"power_button": "own", "acpi/power_button": "acpi's own"}
    for name, text in mine.items():
        (inside.scripts / name).write_text(text)
    assert inside.call("reporters").returncode == 0
    assert inside.call("reporters").returncode == 0  # once more loses nothing
    for name in ("power_button", "acpi/power_button", "apm/sleep_button", "reset_button"):
        assert (inside.scripts / name).read_text() == "#!/bin/sh\n"
    assert inside.call("originals").returncode == 0
    for name, text in mine.items():
        assert (inside.scripts / name).read_text() == text
    assert not (inside.scripts / "reset_button").exists()


def test_built_in_driver_is_detected_before_module_load(inside: Inside) -> None:
    head = "NAME                 CLASS      SOURCE   FLAG REFS   SIZE REQUIRES"
    row = "vmt                  driver     builtin  -    0         - sysmon_power"
    inside.tool("modstat", f"echo '{head}'; [ -e {inside.folder}/gone ] || echo '{row}'")
    inside.tool("modunload", f": >{inside.folder}/gone")
    inside.tool("modload")
    assert inside.call("free", "vmt").returncode == 0
    assert inside.call("free", "vmt").returncode == 0
    assert inside.call("load", "vmt").returncode == 0
    done = [line for line in inside.log() if not line.startswith("modstat")]
    assert done == ["modunload vmt", f"modload -b force=true {inside.folder}/vmt.kmod"]


def test_clock_is_set_in_seconds(inside: Inside) -> None:
    inside.tool("date", "case $1 in +%s) echo 1000;; -r) echo 197001010020.40;; esac")
    assert inside.call("clock", "-60").returncode == 0
    assert inside.log() == ["date +%s", "date -r 940 +%Y%m%d%H%M.%S", "date 197001010020.40"]


def test_unknown_verb_is_refused(inside: Inside) -> None:
    assert inside.call("nosuch").returncode == 64


@pytest.mark.parametrize(
    ("verb", "argument", "reason"),
    [
        ("hostname", "x.example", ""),
        ("load", "", ""),
        ("load", "/build/other.kmod", "the path names a file on the simulator's machine"),
        ("addresses", {"wm0": []}, "the guest has one network card"),
        ("rpc", "info-get guestinfo.x", ""),
        ("rpc", r"a\x00b", "the message has bytes that cannot be typed"),
        ("rpc", "x" * 600, "it is longer than a terminal's line"),
    ],
)
def test_untypable_text_is_reported(verb: str, argument: Any, reason: str) -> None:
    assert guest.unable(verb, argument) == reason


def test_typed_verbs_exist_in_script() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    plain: dict[str, Any] = {"sysctl": {"a.b": 1}, "clock": 1.0, "powerd": True, "load": None,
                             "ifconfig": {"interface": "wm0"}, "addresses": [],
                             "route": {"do": "delete"},
                             "ioctl": {"name": "a", "command": 1}, "fcntl": {"name": "a"},
                             "seek": {"name": "a", "offset": 1},
                             "scripts": 1.0, "fault": 1, "pressure": 1,
                             "usage": {"files": 1}}  # fmt: skip
    typed = set()
    for verb, row in COMMANDS.items():
        nothing = True if row.arguments is Nothing else "x"
        calls = guest.calls(verb, plain.get(verb, nothing))
        if isinstance(calls, str):
            continue
        typed.add(verb)
        assert all(f"\n{words[0]})" in text for words in calls), verb
    of_devices = {"envstat", "wdogctl", "open", "read", "write", "ioctl", "poll", "mmap", "close",
                  "kevent", "fcntl", "stat", "seek", "size"}  # fmt: skip
    of_kernel = {"interrupt", "fault", "pressure", "panic", "usage"}
    others = {"ifconfig", "look", "request", "scripts"}
    assert set(COMMANDS) - typed == {*others, *of_devices, *of_kernel}


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("drvctl: DRVDETACHDEV: Device not configured", "ENXIO (6)"),
        ("modload: vmt.kmod: File exists", "EEXIST (17)"),
        ("something else", "something else"),
        ("", "exit status 3"),
    ],
)
def test_failure_message_gives_errno(printed: str, message: str) -> None:
    assert guest.failure(Result("x", 3, printed)) == message


@pytest.mark.parametrize(
    ("uname", "release"), [("11.0", "11.0"), ("10.1_STABLE", "10.1"), ("11.0_RC2", "11.0")]
)
def test_abi_release_ends_at_underscore(uname: str, release: str) -> None:
    assert Facts({"release": uname}).release == release


def test_reporter_repeats_events_with_same_number(tmp_path: Path, require_tool: Any) -> None:
    text = (SCRIPT.parent / "reporter.sh").read_text(encoding="utf-8")
    assert "/dev/console" in text
    path, console = tmp_path / "reset_button", tmp_path / "console"
    path.write_text(text.replace(">/dev/console", f">>{console}"), encoding="utf-8")
    # The arguments are powerd's: the device, then the event.
    subprocess.run([require_tool("dash"), str(path), "vmt0", "pressed"], check=True)
    until(lambda: console.read_text().count("\n") == 2, "the second line")
    one, two = console.read_text().splitlines()
    assert one == two
    found = session._REPORT.search(one)
    assert found is not None
    assert found.groups()[:3] == ("reset_button", "pressed", "vmt0")


# The module.


def _dist(words: list[str], **_how: Any) -> subprocess.CompletedProcess[str]:
    """`vmtgen dist` as far as names go: an archive for each module, or for the named one."""
    out = Path(words[words.index("--out") + 1])
    out.mkdir(exist_ok=True)
    named = [words[words.index("--module") + 1]] if "--module" in words else ["vmmemctl", "vmt"]
    for name in named:
        (out / f"{name}-0.1.0-netbsd-11.0-amd64.tgz").touch()
    return subprocess.CompletedProcess(words, 0, "", "")


@pytest.mark.parametrize("name", ["vmt", "vmmemctl"])
def test_archive_of_the_driver_is_built(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`vmtgen dist` makes archives of all drivers unless one is named."""
    monkeypatch.setattr(subprocess, "run", _dist)
    made = module._made(drivers.DRIVERS[name], "11.0", "amd64", tmp_path, _ignored)
    assert made.name == f"{name}-0.1.0-netbsd-11.0-amd64.tgz"


def test_module_of_other_driver_is_refused(tmp_path: Path, vmmemctl: Path) -> None:
    with pytest.raises(module.ModuleError, match="is the module 'vmmemctl', not vmt") as caught:
        module.bring(drivers.DEFAULT, vmmemctl, "11.0", "amd64", tmp_path, _ignored)
    assert caught.value.hint == "--driver names the driver under test"


# Verdicts.


def test_slow_guest_gets_wider_windows_except_for_forbidden_events() -> None:
    scenario = script.load("checkpoint")
    slow = run.slowed(scenario, 3.0)
    for one, other in zip(scenario.steps, slow.steps, strict=True):
        assert other.within == (one.within if one.negated else 3 * one.within)
    assert slow.duration >= max(step.at + step.within for step in slow.steps)


def test_unobserved_property_does_not_count_as_held() -> None:
    end = End(alive=None, unload="")
    found = {
        each.name: each.state
        for each in verdict.properties(
            loaded="0", crash="", rules=(), failures=(), judged=0, ends=end
        )
    }
    assert found == {
        "the module loads": HELD,
        "the kernel's rules are kept": NOT_JUDGED,
        "the protocol's rules are kept": HELD,
        "threads make progress": NOT_JUDGED,
        "the scenario's expectations are met": NOT_JUDGED,
        "the module unloads and leaks nothing": NOT_JUDGED,
    }


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (End(alive=False, unload="0"), "threads make progress"),
        (End(alive=True, unload="EBUSY (16)"), "the module unloads and leaks nothing"),
        (End(alive=True, unload="0", device="vmt0"), "the module unloads and leaks nothing"),
        (End(alive=True, unload="0", channels=[0]), "the module unloads and leaks nothing"),
        (End(alive=True, unload="0", pages=1), "the module unloads and leaks nothing"),
    ],
)
def test_leftovers_violate_property(end: End, name: str) -> None:
    found = verdict.properties(loaded="0", crash="", rules=(), failures=(), judged=1, ends=end)
    assert [each.name for each in found if each.state == BROKEN] == [name]


def test_failed_module_load_violates_only_its_property() -> None:
    found = verdict.properties(
        loaded="ENOEXEC (8)", crash="", rules=(), failures=(), judged=0, ends=None
    )
    assert [(each.name, each.detail) for each in found if each.state == BROKEN] == [
        ("the module loads", "ENOEXEC (8)")
    ]


def test_worst_scenario_decides_and_no_scenario_is_not_ok() -> None:
    good, bad = verdict.Result("a"), verdict.Result("b", crash="panic")
    good.properties = [verdict.Property("x", HELD)]
    assert verdict.status([good]) == 0
    assert verdict.status([good, bad]) == 3
    assert verdict.status([verdict.Result("c", skipped="why")]) == 1
    assert verdict.status([]) == 1
