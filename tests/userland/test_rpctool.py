"""vmware-rpctool and vmtoolsd --cmd: arguments, output and statuses are those of open-vm-tools.

rpctool/rpctool.c (main, RpcToolCommand), services/vmtoolsd/cmdLine.c (ToolsCoreRunCommand,
ToolsCoreRunCommandFromFile) and mainPosix.c of open-vm-tools 13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from answers import Control
from vmtctl import exits
from vmtctl.verbs import rpctool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BIN = "usr/pkg/bin"
NAMES = ("vmware-rpctool", "vmtoolsd")


@pytest.fixture
def ours(guest: Any) -> Any:
    guest.set(attached="ours", module="/x/vmt.kmod", guestinfo={"guestinfo.key": "value"})
    return guest


@pytest.fixture
def act(vmtctl: Control, ours: Any) -> Callable[..., tuple[int, str, str]]:
    def call(name: str, *words: str) -> tuple[int, str, str]:
        done = vmtctl("rpctool", "as", "--", f"/usr/pkg/bin/{name}", *words)
        return done.status, done.out, done.err

    return call


def test_reply_goes_to_stdout_and_refusal_to_stderr(act: Any) -> None:
    assert act("vmware-rpctool", "info-get guestinfo.key") == (0, "value\n", "")
    # cloud-init compares it: NOVAL of its DataSourceVMware.
    assert act("vmware-rpctool", "info-get guestinfo.none") == (1, "", "No value found\n")
    assert act("vmware-rpctool", "info-set guestinfo.key new") == (0, "\n", "")
    assert act("vmware-rpctool", "info-get guestinfo.key") == (0, "new\n", "")


@pytest.mark.parametrize("how", [("--cmd", "{}"), ("--cmd={}",)])
def test_vmtoolsd_cmd_sends_command_likewise(act: Any, how: tuple[str, ...]) -> None:
    words = [word.format("info-get guestinfo.key") for word in how]
    assert act("vmtoolsd", *words) == (0, "value\n", "")
    words = [word.format("info-get guestinfo.none") for word in how]
    assert act("vmtoolsd", *words) == (1, "", "No value found\n")


@pytest.mark.parametrize("tail", ["", "\n", " \t\r\n\n", "\0 more"])
def test_command_from_file_loses_trailing_blanks(act: Any, tmp_path: Path, tail: str) -> None:
    file = tmp_path / "command"
    file.write_text(f"info-get guestinfo.key{tail}")
    assert act("vmtoolsd", "--cmdfile", str(file)) == (0, "value\n", "")
    assert act("vmtoolsd", f"--cmdfile={file}") == (0, "value\n", "")


def test_unreadable_file_is_named(act: Any, tmp_path: Path) -> None:
    status, out, err = act("vmtoolsd", "--cmdfile", str(tmp_path / "none"))
    assert (status, out) == (1, "")
    assert err == f"Unable to read command from file {tmp_path}/none.\n"


def test_only_first_argument_of_rpctool_is_used(act: Any) -> None:
    assert act("vmware-rpctool", "info-get guestinfo.key", "more", "--help")[:2] == (0, "value\n")


def test_help_and_usage_statuses_match_real_tool(act: Any) -> None:
    for word in ("-h", "--help", "-how", "--helpless"):
        status, out, err = act("vmware-rpctool", word)
        assert (status, out) == (0, "")
        assert "usage" in err
    status, out, err = act("vmware-rpctool")
    assert (status, out) == (1, "")
    assert "usage" in err


@pytest.mark.parametrize("words", [(), ("-n", "vmusr"), ("--version",), ("-b", "/var/run/x.pid")])
def test_vmtoolsd_does_not_run_as_daemon(act: Any, words: tuple[str, ...]) -> None:
    status, out, err = act("vmtoolsd", *words)
    assert (status, out) == (1, "")
    assert "not a daemon" in err
    assert act("vmtoolsd", "--cmd") == (
        1, "", "Command line parsing failed: Missing argument for --cmd\n",
    )  # fmt: skip


def test_outside_vmware_statuses_match_real_tools(act: Any, ours: Any) -> None:
    kernel = ours.get()["kernel"] | {"machdep.hypervisor": "KVM"}
    ours.set(attached=None, module=None, vmware=False, kernel=kernel)
    status, out, err = act("vmware-rpctool", "-h")
    assert (status, out) == (255, "")
    assert err == (
        "Error: /usr/pkg/bin/vmware-rpctool must be run inside a virtual machine on a VMware "
        "hypervisor product.\n"
    )
    assert act("vmtoolsd", "--cmd", "x") == (1, "", "")


def test_undelivered_command_is_reported_on_stderr(act: Any, ours: Any) -> None:
    ours.set(attached=None)
    status, out, err = act("vmware-rpctool", "info-get guestinfo.key")
    assert (status, out) == (1, "")
    assert "vmt0 is not attached" in err
    assert err.count("\n") == 1
    status, _, err = act("vmware-rpctool", "x" * 70_000)
    assert status == 1
    assert "the protocol allows" in err


def test_programs_are_installed_and_removed(vmtctl: Control, guest: Any) -> None:
    folder = guest.root / BIN
    folder.mkdir(parents=True, exist_ok=True)
    before = sorted(folder.iterdir())
    assert vmtctl("rpctool", "install").status == 0
    for name in NAMES:
        assert (folder / name).read_bytes() == rpctool.SCRIPT
        assert (folder / name).stat().st_mode & 0o777 == 0o755
    assert vmtctl("rpctool", "install", "--json").json["changed"] is False
    assert vmtctl("rpctool", "uninstall").status == 0
    assert sorted(folder.iterdir()) == before
    assert vmtctl("rpctool", "uninstall", "--json").json["changed"] is False


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_installed_beside_open_vm_tools(vmtctl: Control, guest: Any, name: str) -> None:
    path = guest.root / BIN / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF")
    done = vmtctl("rpctool", "install")
    assert done.status == exits.DATA
    assert "it has its own" in done.err
    # Files installed later are not removed.
    assert vmtctl("rpctool", "uninstall").status == 0
    assert path.read_bytes() == b"\x7fELF"
    assert [other for other in NAMES if (path.parent / other).exists()] == [name]


def test_unknown_program_name_is_refused(vmtctl: Control, ours: Any) -> None:
    assert vmtctl("rpctool", "as", "--", "cat", "x").status == exits.USAGE


def test_long_value_is_returned_whole(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    guest = start()
    value = "A" * 60_000
    vmtctl = Control(guest, capsys)
    call = ("rpctool", "as", "--", "vmware-rpctool")
    assert vmtctl(*call, f"info-set guestinfo.userdata {value}").out == "\n"
    done = vmtctl(*call, "info-get guestinfo.userdata")
    assert (done.status, done.out) == (0, f"{value}\n")
