"""powerd's scripts, run as powerd runs them, by a small POSIX shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import USERLAND, require
from vmtctl.install import hookplan
from vmtctl.install.tree import Tree
from vmtctl.tooltable import HOOK_TOOLS, Tool

from tests.patience import HANG
from tests.userland import events
from tests.userland.events import TYPED, alone, script

if TYPE_CHECKING:
    from pathlib import Path

    from answers import Control

TOOLS = {
    "usr/bin/logger": 'shift 4; [ "$1" = -- ] && shift; echo "$*" >> "$root/log"',
    "sbin/shutdown": 'echo "$1 $2" >> "$root/shutdowns"',
}


@pytest.fixture
def root(guest: Any, vmtctl: Control) -> Path:
    for name, text in TOOLS.items():
        script(guest.root / name, f"root={guest.root}\n{text}")
    assert vmtctl("powerd", "install").status == 0
    return guest.root


def event(root: Path, name: str, *arguments: str) -> int:
    """Run a script as powerd does, but with dash, which implements POSIX only."""
    dash = require("dash")
    return subprocess.run(
        [dash, str(root / TYPED / name), *arguments], check=False, timeout=HANG
    ).returncode


def lines(root: Path, name: str) -> list[str]:
    path = root / name
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("name", ["hook", "vmt-event", "block"])
def test_shellcheck_passes(name: str) -> None:
    tool = require("shellcheck")
    done = subprocess.run(
        [tool, "-s", "sh", "-e", "SC2148", str(USERLAND / "powerd" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


def test_shellcheck_passes_for_rc_script() -> None:
    tool = require("shellcheck")
    # rc.subr sets some variables and reads others; it is not available here.
    done = subprocess.run(
        [tool, "-s", "sh", "-e", "SC1091,SC2034,SC2154", str(USERLAND / "rc.d/vmtctl")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "action"), [("power_button", ["-p now"]), ("reset_button", ["-r now"])]
)
def test_requested_power_action_is_executed(root: Path, name: str, action: list[str]) -> None:
    assert event(root, name, "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == action
    assert lines(root, "log")[0].startswith("vmt0: the host asks for")


# The pid file of each kind of dhcpcd, and the options that address it: before release 9
# (NetBSD external/bsd/dhcpcd/dist/config.h: RUNDIR "/var/run"; defs.h: PIDFILE
# RUNDIR "/" PACKAGE "%s%s%s.pid"), and since then (src/defs.h: PIDFILE RUNDIR "/%s%s%spid" with
# RUNDIR /var/run/dhcpcd); dhcpcd.c, main, fills in the interface and -4 or -6.
CLIENTS = [
    ("dhcpcd.pid", "-n"),
    ("dhcpcd-wm0.pid", "-n wm0"),
    ("dhcpcd-wm0-4.pid", "-n -4 wm0"),
    ("dhcpcd/pid", "-n"),
    ("dhcpcd/vmx0.pid", "-n vmx0"),
    ("dhcpcd/vmx0-6.pid", "-n -6 vmx0"),
]


def client(root: Path, pidfile: str, pid: int, command: str = "dhcpcd") -> None:
    """Run a process that has a pid file; ps(1) lists it under dhcpcd's process title."""
    path = root / "var/run" / pidfile
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{pid}\n")
    table = root / "processes"
    with table.open("a") as stream:
        stream.write(f"{pid} {command}\n")
    script(root / "bin/ps", f'[ "$1 $3 $4" = "-p -o ucomm=" ] && sed -n "s/^$2 //p" {table}')
    script(root / "sbin/dhcpcd", f'printf "%s\\n" "$*" >> {root}/dhcpcd')


@pytest.mark.parametrize(("pidfile", "call"), CLIENTS)
def test_resume_renews_leases_of_each_running_dhcpcd(root: Path, pidfile: str, call: str) -> None:
    client(root, pidfile, 71)
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhcpcd") == [call]
    assert lines(root, "shutdowns") == []


def test_several_dhcpcd_are_addressed_individually(root: Path) -> None:
    several = [(pidfile, call) for pidfile, call in CLIENTS if call != "-n"]
    for pid, (pidfile, _) in enumerate(several, 71):
        client(root, pidfile, pid)
    event(root, "sleep_button", "vmt0", "released")
    assert sorted(lines(root, "dhcpcd")) == sorted(call for _, call in several)


@pytest.mark.parametrize("content", ["", "x\n", "99\n"])
def test_stale_pid_file_starts_no_second_dhcpcd(root: Path, content: str) -> None:
    client(root, "dhcpcd-wm0.pid", 99, command="sshd")
    (root / "var/run/dhcpcd-wm0.pid").write_text(content)
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhcpcd") == []


def test_dhcpcd_restarted_by_standard_script_is_not_signalled(root: Path) -> None:
    client(root, "dhcpcd.pid", 71)
    client(root, "dhcpcd-wm1.pid", 73)
    # As after rc.d/dhcpcd restart: another process, another pid.
    script(
        root / "etc/powerd/scripts/sleep_button",
        f"echo 72 > {root}/var/run/dhcpcd.pid; echo '72 dhcpcd' >> {root}/processes",
    )
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhcpcd") == ["-n wm1"]


def test_running_dhclient_is_restarted(root: Path) -> None:
    script(root / "etc/rc.d/dhclient", f'echo "$1" >> {root}/dhclient')
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhclient") == ["onestatus", "onerestart"]


def test_stopped_dhclient_is_not_started(root: Path) -> None:
    script(root / "etc/rc.d/dhclient", f'echo "$1" >> {root}/dhclient; exit 1')
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "dhclient") == ["onestatus"]


def test_site_scripts_run_in_order_before_shutdown(root: Path) -> None:
    for name in ("20-b", "10-a", "30-c~", ".hidden"):
        script(root / "etc/powerd/vmt.d" / name, f'echo "{name} $*" >> {root}/shutdowns')
    script(root / "etc/powerd/vmt.d/40-off", f"echo off >> {root}/shutdowns", 0o644)
    script(root / "etc/powerd/vmt.d/50-open", f"echo open >> {root}/shutdowns", 0o777)
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == ["10-a shutdown vmt0", "20-b shutdown vmt0", "-p now"]
    refused = "50-open is not run: users other than root can"
    assert any(refused in line for line in lines(root, "log"))


def test_without_vmt_d_nothing_is_logged(root: Path) -> None:
    (root / "etc/powerd/vmt.d").rmdir()
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == ["-p now"]
    assert lines(root, "log") == ["vmt0: the host asks for a shutdown"]


def test_failing_site_script_does_not_stop_shutdown(root: Path) -> None:
    script(root / "etc/powerd/vmt.d/10-bad", "exit 3")
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == ["-p now"]
    assert any("ended with status 3" in line for line in lines(root, "log"))


def limit(root: Path, seconds: int) -> None:
    handler = root / "etc/powerd/vmt-event"
    text = handler.read_text()
    assert "SITE_LIMIT=30\n" in text
    handler.write_text(text.replace("SITE_LIMIT=30\n", f"SITE_LIMIT={seconds}\n"))


def test_hanging_site_script_and_children_are_killed(root: Path) -> None:
    limit(root, 2)
    # One that ignores TERM, with a child that ignores it as well
    script(root / "etc/powerd/vmt.d/10-hang", "trap '' TERM; sleep 500 & sleep 500; exit 0")
    path = root / TYPED / "power_button"
    assert alone(require("dash"), path, "vmt0", "pressed") == (0, [])
    assert lines(root, "shutdowns") == ["-p now"]
    assert any("10-hang shutdown was killed" in line for line in lines(root, "log"))


def test_background_process_of_site_script_survives(root: Path) -> None:
    script(root / "etc/powerd/vmt.d/10-start", "sleep 500 & exit 0")
    path = root / TYPED / "reset_button"
    assert alone(require("dash"), path, "vmt0", "pressed") == (0, ["sleep"])


def test_no_process_remains_if_shell_forks_twice(tmp_path: Path) -> None:
    """A sample of the rounds of make soak."""
    assert events.play(tmp_path, require("dash"), 40) == []


@pytest.mark.skipif(not events.NETBSD_SH, reason="NETBSD_SH names no sh(1) of NetBSD's")
def test_no_process_remains_with_netbsd_sh(tmp_path: Path) -> None:
    assert events.play(tmp_path, events.NETBSD_SH, 40) == []


# The guard of an earlier version: if a shell forks twice, TERM reaches only the outer process.
GUARDED = """#!/bin/sh
true &
running=$!
(
	trap 'kill "$sleeping" 2>/dev/null; exit 0' TERM
	sleep 50 &
	sleeping=$!
	wait "$sleeping"
	kill -TERM "$running"
) </dev/null >/dev/null 2>&1 &
guard=$!
wait "$running"
sleep 0.3
kill -TERM "$guard" 2>/dev/null
wait "$guard" 2>/dev/null
exit 0
"""


def test_remaining_guard_process_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "guarded"
    dash = require("dash")
    path.write_text(GUARDED)
    assert alone(dash, path) == (0, [])
    path.write_text(events.forking_twice(GUARDED))
    status, left = alone(dash, path)
    assert status == 0
    assert "sleep" in left


def test_without_timeout_site_script_still_runs(root: Path) -> None:
    handler = root / "etc/powerd/vmt-event"
    text = handler.read_text()
    assert "command -v timeout" in text
    handler.write_text(text.replace("command -v timeout", "command -v no-such-timeout"))
    script(root / "etc/powerd/vmt.d/10-a", f'echo "$1" >> {root}/out; exit 3')
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "out") == ["shutdown"]
    assert any("ended with status 3" in line for line in lines(root, "log"))
    assert lines(root, "shutdowns") == ["-p now"]


# -- permissions of files that root runs -----------------------------------------------------------


def _weaken_link(root: Path, mode: int) -> None:
    target = script(root / "etc/elsewhere/real", f"echo linked >> {root}/out", mode)
    (root / "etc/powerd/vmt.d/10-a").unlink()
    (root / "etc/powerd/vmt.d/10-a").symlink_to(target)


def _weaken_target_directory(root: Path) -> None:
    _weaken_link(root, 0o755)
    (root / "etc/elsewhere").chmod(0o775)


@pytest.mark.parametrize(
    ("weaken", "weak"),
    [
        (lambda root: (root / "etc/powerd/vmt.d/10-a").chmod(0o775), "etc/powerd/vmt.d/10-a"),
        (lambda root: (root / "etc/powerd/vmt.d/10-a").chmod(0o757), "etc/powerd/vmt.d/10-a"),
        (lambda root: os.chown(root / "etc/powerd/vmt.d/10-a", 1000, -1), "etc/powerd/vmt.d/10-a"),
        (lambda root: (root / "etc/powerd/vmt.d").chmod(0o777), "etc/powerd/vmt.d"),
        (lambda root: os.chown(root / "etc/powerd/vmt.d", 1000, -1), "etc/powerd/vmt.d"),
        (lambda root: (root / "etc/powerd").chmod(0o775), "etc/powerd"),
        (lambda root: _weaken_link(root, 0o757), "etc/elsewhere/real"),
        (_weaken_target_directory, "etc/elsewhere"),
    ],
    ids=["group", "everybody", "owner", "open", "given away", "above", "linked", "link's place"],
)
def test_script_writable_by_others_is_not_run(
    root: Path, vmtctl: Control, weaken: Any, weak: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change a file's owner")
    script(root / "etc/powerd/vmt.d/10-a", f"echo ran >> {root}/out")
    weaken(root)
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "out") == []
    assert lines(root, "shutdowns") == ["-p now"]
    assert any(f"can change {root}/{weak}" in line for line in lines(root, "log"))


def test_link_to_safe_script_is_run(root: Path) -> None:
    script(root / "etc/powerd/vmt.d/10-a", ":")
    _weaken_link(root, 0o755)
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "out") == ["linked"]


# -- the site's own scripts of powerd ----------------------------------------------------------

# A site's /etc/powerd/scripts/power_button: it stops the billing first.
CUSTOM = """root=${0%/etc/powerd/*}
case "${2}" in
pressed)
	"$root/usr/bin/logger" -p daemon.info -t billing -- "stopped in order by $0 for $1"
	exec "$root/sbin/shutdown" -p now "power button"
	;;
esac"""


@pytest.fixture
def bare(guest: Any) -> Path:
    """A guest without the hooks."""
    for name, text in TOOLS.items():
        script(guest.root / name, f"root={guest.root}\n{text}")
    return guest.root


@pytest.mark.parametrize("place", ["etc/powerd/scripts", TYPED])
@pytest.mark.parametrize("acpi", [True, False], ids=["acpi", "no acpi"])
def test_site_power_button_runs_for_host_shutdown(
    bare: Path, vmtctl: Control, place: str, acpi: bool
) -> None:
    if place == TYPED and not acpi:
        pytest.skip("powerd does not look there without ACPI")
    own = script(bare / place / "power_button", CUSTOM)
    before = own.read_bytes()
    assert vmtctl("powerd", "install", *([] if acpi else ["--no-acpi"])).status == 0
    script(bare / "etc/powerd/vmt.d/10-db", f"echo db >> {bare}/shutdowns")
    started = bare / (TYPED if acpi else "etc/powerd/scripts") / "power_button"
    subprocess.run([require("dash"), str(started), "vmt0", "pressed"], check=True, timeout=HANG)
    assert lines(bare, "shutdowns") == ["db", "-p now"]
    assert f"stopped in order by {own} for vmt0" in lines(bare, "log")
    # Other devices are handled as before, and without vmt.d
    subprocess.run([require("dash"), str(started), "acpibut0", "pressed"], check=True, timeout=HANG)
    assert lines(bare, "shutdowns") == ["db", "-p now", "-p now"]
    assert f"stopped in order by {own} for acpibut0" in lines(bare, "log")
    assert vmtctl("powerd", "uninstall").status == 0
    assert own.read_bytes() == before


def test_site_script_gets_powerd_arguments_and_environment(bare: Path) -> None:
    script(
        bare / TYPED / "sleep_button", f'echo "$*|$PATH|${{VMT_EVENT-none}}|$(umask)" > {bare}/out'
    )
    hookplan.install(Tree(str(bare)), typed=True, force=False).carry_out()
    subprocess.run(
        [require("dash"), str(bare / TYPED / "sleep_button"), "vmt0", "released", "a b", ""],
        env={"PATH": "/as/powerd/has/it:/usr/bin:/bin"},
        check=True,
        timeout=HANG,
        umask=0o027,
    )
    assert lines(bare, "out") == ["vmt0 released a b |/as/powerd/has/it:/usr/bin:/bin|none|0027"]


def test_failing_site_power_button_does_not_prevent_shutdown(root: Path) -> None:
    script(root / "etc/powerd/scripts/power_button", "exit 4")
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "shutdowns") == ["-p now"]
    assert any("power_button ended with status 4; calling" in line for line in lines(root, "log"))


def test_site_script_precedes_vmt_d_on_resume(root: Path) -> None:
    script(root / "etc/powerd/scripts/sleep_button", f'echo "own $1 $2" >> {root}/out')
    script(root / "etc/powerd/vmt.d/10-a", f'echo "site $1 $2" >> {root}/out')
    assert event(root, "sleep_button", "vmt0", "released") == 0
    assert lines(root, "out") == ["own vmt0 released", "site resume vmt0"]


def test_foreign_event_reaches_site_script(root: Path) -> None:
    script(root / "etc/powerd/scripts/lid_switch", "exit 0")
    script(root / "etc/powerd/scripts/sleep_button", f'echo "own $1 $2" >> {root}/out; exit 6')
    script(root / "etc/powerd/vmt.d/10-a", f'echo "site $1 $2" >> {root}/out')
    assert event(root, "sleep_button", "vmt0", "pressed") == 6
    assert lines(root, "out") == ["own vmt0 pressed"]


def test_script_for_many_names_gets_own_name(bare: Path, vmtctl: Control) -> None:
    many = 'case ${0##*/} in power_button) echo "$1 off";; reset_button) echo "$1 again";; esac'
    for name in ("power_button", "reset_button"):
        script(bare / TYPED / name, f"{many} >> {bare}/out")
    assert vmtctl("powerd", "install").status == 0
    for name in ("power_button", "reset_button"):
        for device in ("acpibut0", "vmt0"):
            event(bare, name, device, "pressed")
    assert lines(bare, "out") == ["acpibut0 off", "vmt0 off", "acpibut0 again", "vmt0 again"]


@pytest.mark.parametrize("device", ["acpibut0", "vmt", "vmtx", "vmt0x", "", "vmt0 ; reboot", "-n"])
def test_other_devices_reach_standard_script(root: Path, device: str) -> None:
    script(root / "etc/powerd/scripts/power_button", f'echo "standard $1 $2" >> {root}/out; exit 4')
    assert event(root, "power_button", device, "pressed") == 4
    assert lines(root, "out") == [f"standard {device} pressed"]
    assert lines(root, "shutdowns") == []


HOSTILE = ["$(touch BAD)", "`touch BAD`", "; touch BAD", "-x", "*", "a\nb", "%n", "'\""]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_arguments_have_no_effect(
    root: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert event(root, "power_button", "vmt0", text) == 1
    event(root, "power_button", text, text)
    assert lines(root, "shutdowns") == []
    assert not (tmp_path / "BAD").exists()


def test_without_script_message_is_that_of_powerd(root: Path) -> None:
    assert event(root, "power_button", "acpibut0", "pressed") == 1
    assert lines(root, "log") == ["no script for power_button"]


def test_without_handler_standard_script_handles_vmt0(root: Path) -> None:
    (root / "etc/powerd/vmt-event").unlink()
    script(root / "etc/powerd/scripts/power_button", f'echo "standard $1" >> {root}/out')
    assert event(root, "power_button", "vmt0", "pressed") == 0
    assert lines(root, "out") == ["standard vmt0"]


@pytest.mark.parametrize("standard", [True, False])
def test_without_acpi_hooks_replace_standard_scripts(
    bare: Path, vmtctl: Control, guest: Any, standard: bool
) -> None:
    place = bare / "etc/powerd/scripts"
    if standard:
        script(
            place / "power_button",
            f'echo "std $1" >> {bare}/out; [ $2 = pressed ] && {bare}/sbin/shutdown -p now',
        )
    state = guest.get()
    del state["kernel"]["hw.acpi.root"]
    guest.write(state)
    assert vmtctl("powerd", "install").status == 0
    dash = require("dash")
    ended = [
        # powerd's path where the type is empty
        subprocess.run(
            [dash, f"{place}//power_button", device, "pressed"], check=False, timeout=HANG
        ).returncode
        for device in ("vmt0", "acpibut0")
    ]
    if standard:
        assert lines(bare, "out") == ["std vmt0", "std acpibut0"]
        assert lines(bare, "shutdowns") == ["-p now"] * 2
        assert ended == [0, 0]
    else:
        assert lines(bare, "shutdowns") == ["-p now"]
        assert ended == [0, 1]
        assert "no script for power_button" in lines(bare, "log")


# -- the tools of NetBSD -----------------------------------------------------------------------


def test_hooks_run_only_tools_of_table(root: Path) -> None:
    """With only these tools on the path, every event is handled."""
    calls, tr = root / "calls", shutil.which("tr")
    # A line for each call, in one write: the words, with a separator that is in none of them
    note = f"""printf '%s\\n' "$(printf '%s\\037' ${{0##*/}} "$@" | {tr} '\\n' N)" >> {calls}\n"""
    for row in HOOK_TOOLS.values():
        path = root / row.path.lstrip("/")
        text = f'exec {shutil.which(row.name)} "$@"'
        script(path, note + (path.read_text().partition("\n")[2] if path.exists() else text))
    handler = root / "etc/powerd/vmt-event"
    text = handler.read_text()
    assert text.count(":/sbin:/usr/sbin:/bin:/usr/bin\n") == 1
    handler.write_text(text.replace(":/sbin:/usr/sbin:/bin:/usr/bin\n", "\n"))
    for pidfile, _ in CLIENTS:
        client(root, pidfile, 71)
    script(root / "bin/ps", f"{note}echo 'dhcpcd  '")
    script(root / "sbin/dhcpcd", note)
    script(root / "etc/powerd/vmt.d/10-a", "exit 0")
    script(root / "etc/rc.d/dhclient", "exit 0")
    script(root / "sbin/sysctl", f"{note}echo '17 freeze'")
    for name, word in (
        ("power_button", "pressed"), ("reset_button", "pressed"), ("sleep_button", "released"),
        ("hotkey_button", "pressed"), ("hotkey_button", "released"),
    ):  # fmt: skip
        assert event(root, name, "vmt0", word) == 0
    seen = [line.split("\037")[:-1] for line in calls.read_text().split("\n")[:-1]]
    for words in seen:
        assert HOOK_TOOLS[words[0]].is_use(tuple(words)), words
    # Each line of the table is used.
    used = {use for words in seen for row in [HOOK_TOOLS[words[0]]] for use in row.uses
            if Tool("/x", uses=(use,), source="").is_use(tuple(words))}  # fmt: skip
    assert used == {use for row in HOOK_TOOLS.values() for use in row.uses}
