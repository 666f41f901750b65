"""powerd's scripts, run as powerd runs them, by a small POSIX shell."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import USERLAND, require

from tests.patience import HANG

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Control

TOOLS = {
    "usr/bin/logger": 'shift 4; [ "$1" = -- ] && shift; echo "$*" >> "$root/log"',
    "sbin/shutdown": 'echo "$1 $2" >> "$root/shutdowns"',
}
TYPED = "etc/powerd/scripts/acpi"


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


@pytest.fixture
def root(guest: Any, vmtctl: Control) -> Path:
    for name, text in TOOLS.items():
        script(guest.root / name, f"root={guest.root}\n{text}")
    assert vmtctl("powerd", "install").status == 0
    return guest.root


def event(root: Path, name: str, *arguments: str) -> int:
    """Run a script as powerd does, but by dash, which knows POSIX alone."""
    dash = require("dash")
    return subprocess.run(
        [dash, str(root / TYPED / name), *arguments], check=False, timeout=HANG
    ).returncode


def lines(root: Path, name: str) -> list[str]:
    path = root / name
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("name", ["hook", "vmt-event", "block"])
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    tool = require("shellcheck")
    done = subprocess.run(
        [tool, "-s", "sh", "-e", "SC2148", str(USERLAND / "powerd" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


def test_shellcheck_likes_the_rc_script() -> None:
    tool = require("shellcheck")
    # rc.subr gives variables and takes others; it is not here to be read.
    done = subprocess.run(
        [tool, "-s", "sh", "-e", "SC1091,SC2034,SC2154", str(USERLAND / "rc.d/vmtctl")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "deed"), [("power_button", ["-p now"]), ("reset_button", ["-r now"])]
)
def test_what_the_host_asks_for_is_done(root: Path, name: str, deed: list[str]) -> None:
    assert event(root, name, "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == deed
    assert lines(root, "log")[0].startswith("vmt0: the host asks for")


def test_a_resume_restarts_the_dhcp_client_that_runs(root: Path) -> None:
    script(root / "etc/rc.d/dhcpcd", f'echo "$1" >> {root}/dhcpcd')
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhcpcd") == ["onestatus", "onerestart"]
    assert lines(root, "shutdowns") == []


def test_a_client_that_does_not_run_is_not_started(root: Path) -> None:
    script(root / "etc/rc.d/dhcpcd", f'echo "$1" >> {root}/dhcpcd; exit 1')
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhcpcd") == ["onestatus"]


def test_a_suspend_is_logged_and_nothing_else(root: Path) -> None:
    assert event(root, "sleep_button", "vmt0", "pressed") == 0
    assert "about to be suspended" in lines(root, "log")[0]
    assert lines(root, "shutdowns") == []


def test_site_scripts_run_in_order_before_the_shutdown(root: Path) -> None:
    for name in ("20-b", "10-a", "30-c~", ".hidden"):
        script(root / "etc/powerd/vmt.d" / name, f'echo "{name} $*" >> {root}/shutdowns')
    script(root / "etc/powerd/vmt.d/40-off", f"echo off >> {root}/shutdowns", 0o644)
    script(root / "etc/powerd/vmt.d/50-open", f"echo open >> {root}/shutdowns", 0o777)
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == ["10-a shutdown vmt0", "20-b shutdown vmt0", "-p now"]
    assert any("everybody may write" in line for line in lines(root, "log"))


def test_a_failing_site_script_does_not_stop_the_shutdown(root: Path) -> None:
    script(root / "etc/powerd/vmt.d/10-bad", "exit 3")
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == ["-p now"]
    assert any("ended with status 3" in line for line in lines(root, "log"))


def test_a_site_script_that_hangs_is_ended(root: Path) -> None:
    handler = root / "etc/powerd/vmt-event"
    handler.write_text(handler.read_text().replace("SITE_LIMIT=30", "SITE_LIMIT=1"))
    # It reads what nobody writes.
    os.mkfifo(root / "silent")
    script(root / "etc/powerd/vmt.d/10-hang", f"exec cat {root}/silent")
    assert event(root, "power_button", "vmt0", "pressed") == 0
    ended = "10-hang shutdown ended with status "
    killed = {f"{ended}{128 + number}" for number in (signal.SIGTERM, signal.SIGKILL)}
    assert [line for line in lines(root, "log") if line.endswith(tuple(killed))]
    assert lines(root, "shutdowns") == ["-p now"]


@pytest.mark.parametrize("device", ["acpibut0", "vmt", "vmtx", "vmt0x", "", "vmt0 ; reboot", "-n"])
def test_other_devices_go_on_to_the_standard_script(root: Path, device: str) -> None:
    script(root / "etc/powerd/scripts/power_button", f'echo "standard $1 $2" >> {root}/out; exit 4')
    assert event(root, "power_button", device, "pressed") == 4
    assert lines(root, "out") == [f"standard {device} pressed"]
    assert lines(root, "shutdowns") == []


HOSTILE = ["$(touch BAD)", "`touch BAD`", "; touch BAD", "-x", "*", "a\nb", "%n", "'\""]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_arguments_do_nothing(
    root: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert event(root, "power_button", "vmt0", text) == 1
    event(root, "power_button", text, text)
    assert lines(root, "shutdowns") == []
    assert not (tmp_path / "BAD").exists()


def test_without_any_script_it_says_what_powerd_says(root: Path) -> None:
    assert event(root, "power_button", "acpibut0", "pressed") == 1
    assert lines(root, "log") == ["no script for power_button"]


def test_without_the_handler_the_standard_script_takes_vmt0(root: Path) -> None:
    (root / "etc/powerd/vmt-event").unlink()
    script(root / "etc/powerd/scripts/power_button", f'echo "standard $1" >> {root}/out')
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "out") == ["standard vmt0"]


def test_a_foreign_script_is_kept_and_still_run(guest: Any, vmtctl: Control) -> None:
    for name, text in TOOLS.items():
        script(guest.root / name, f"root={guest.root}\n{text}")
    foreign = script(guest.root / TYPED / "power_button", f'echo "mine $1" >> {guest.root}/out')
    before = foreign.read_bytes()
    assert vmtctl("powerd", "install").status == 0
    assert event(guest.root, "power_button", "acpibut0", "pressed") == 0
    assert lines(guest.root, "out") == ["mine acpibut0"]
    assert event(guest.root, "power_button", "vmt0", "pressed") == 0
    assert lines(guest.root, "shutdowns") == ["-p now"]
    assert vmtctl("powerd", "uninstall").status == 0
    assert foreign.read_bytes() == before


def test_without_acpi_the_block_does_the_same(guest: Any, vmtctl: Control) -> None:
    for name, text in TOOLS.items():
        script(guest.root / name, f"root={guest.root}\n{text}")
    standard = script(
        guest.root / "etc/powerd/scripts/power_button", f'echo "std $1" >> {guest.root}/out'
    )
    state = guest.get()
    del state["kernel"]["hw.acpi.root"]
    guest.write(state)
    assert vmtctl("powerd", "install").status == 0
    dash = require("dash")
    for device in ("vmt0", "acpibut0"):
        # powerd's path where the type is empty
        path = f"{standard.parent}//power_button"
        subprocess.run([dash, path, device, "pressed"], check=True, timeout=HANG)
    assert lines(guest.root, "shutdowns") == ["-p now"]
    assert lines(guest.root, "out") == ["std acpibut0"]
