"""`vmtctl run`: vmt0 is detached while a command uses the channel."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from answers import tools_answer_here
from vmtctl import exits

from tests import forked
from tests.patience import HANG, until

if TYPE_CHECKING:
    from pathlib import Path

    from answers import Control

CYCLE = ["drvctl -d vmt0", "drvctl -r -a cpufeaturebus cpu0"]


def start(guest: Any, *words: str) -> subprocess.Popen[str]:
    """Run vmtctl as a separate process, for signals.

    A command that reads its input runs until `communicate` ends that, or a signal ends it.
    """
    return forked.start(
        "vmtctl", "--tools-root", guest.root, "run", *words, before=tools_answer_here,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("no-such-command-anywhere",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_command_status_is_returned_and_vmt0_reattached(
    guest: Any, command: tuple[str, ...], status: int
) -> None:
    process = start(guest, "--", *command)
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == status, errors
    assert guest.calls() == CYCLE
    assert guest.get()["attached"] == "stock"


def test_command_runs_while_vmt0_is_detached(guest: Any) -> None:
    process = start(guest, "--", "cat", str(guest.file))
    out, _ = process.communicate(timeout=HANG)
    assert '"attached": null' in out


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGXCPU,
    ],
)
def test_signal_ends_command_and_vmt0_is_reattached(
    guest: Any, tmp_path: Path, number: signal.Signals
) -> None:
    ready = tmp_path / "ready"
    process = start(
        guest,
        "--",
        "sh",
        "-c",
        f"trap 'exit 9' {int(number)}; : > {ready}; while :; do sleep 0.05; done",
    )
    until(ready.exists)
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == 9, errors
    assert guest.get()["attached"] == "stock"


def test_command_that_ignores_signal_is_killed(guest: Any, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = start(
        guest,
        "--grace",
        "0.2",
        "--",
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(ready)!r}, 'w').close(); time.sleep(600)",
    )
    until(ready.exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANG)
    assert process.returncode == 128 + signal.SIGKILL
    assert guest.get()["attached"] == "stock"


def test_command_that_handles_signal_continues(guest: Any, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = start(
        guest, "--grace", "0", "--", "sh", "-c",
        f"trap 'echo taken' USR1; sleep 900 & : > {ready}; wait; kill $!; exit 4",
    )  # fmt: skip
    until(ready.exists)
    process.send_signal(signal.SIGUSR1)
    out, errors = process.communicate(timeout=HANG)
    assert (process.returncode, out) == (4, "taken\n"), errors
    assert guest.get()["attached"] == "stock"


def test_command_has_default_signal_handling(guest: Any) -> None:
    # Python ignores PIPE and XFSZ, and a started program inherits ignored signals.
    process = start(guest, "--", "awk", "/SigIgn/ { print $2 }", "/proc/self/status")
    out, errors = process.communicate(timeout=HANG)
    ignored = int(out, 16)
    assert not ignored >> (signal.SIGPIPE - 1) & 1, errors
    assert not ignored >> (signal.SIGXFSZ - 1) & 1, errors


def test_run_has_json_report(guest: Any) -> None:
    process = start(guest, "--json", "--", "sh", "-c", "echo printed; exit 3")
    out, errors = process.communicate(timeout=HANG)
    found = json.loads(out)
    assert (found["verb"], found["status"], found["attached"]) == ("run", 3, True)
    assert found["command"] == ["sh", "-c", "echo printed; exit 3"]
    assert errors == "printed\n"


def test_json_of_command_is_passed_through(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("run", "--grace=soon", "--", "true", "--json")
    assert (done.status, done.out) == (exits.USAGE, "")


def test_two_runs_are_serialised(guest: Any, tmp_path: Path, vmtctl: Control) -> None:
    ready = tmp_path / "ready"
    first = start(guest, "--", "sh", "-c", f": > {ready}; exec cat")
    until(ready.exists)
    second = start(guest, "--", "true")
    _, errors = second.communicate(timeout=HANG)
    assert second.returncode == exits.TEMPORARY
    assert str(first.pid) in errors
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=HANG)
    assert guest.calls() == CYCLE


def test_failed_reattach_is_reported_and_status_kept(guest: Any) -> None:
    guest.set(faults={"drvctl -r": "Device not configured"})
    process = start(guest, "--", "sh", "-c", "exit 3")
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == 3
    assert "stays detached" in errors


def test_failed_detach_prevents_command(guest: Any, tmp_path: Path) -> None:
    guest.set(faults={"drvctl -d": "Device busy"})
    process = start(guest, "--", "touch", str(tmp_path / "ran"))
    process.communicate(timeout=HANG)
    assert process.returncode == exits.TEMPORARY
    assert not (tmp_path / "ran").exists()
    assert guest.get()["attached"] == "stock"


def test_killed_run_is_reported_by_doctor(guest: Any, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = start(guest, "--", "sh", "-c", f": > {ready}; exec cat")
    until(ready.exists)
    process.kill()
    process.communicate(timeout=HANG)
    from vmtctl import lock
    from vmtctl.context import Context
    from vmtctl.grammar import Values

    values = Values()
    values.options["tools-root"] = str(guest.root)
    assert str(process.pid) in (lock.left_over(Context(values)) or "")


def test_dry_run_prints_three_steps(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("run", "-n", "--", "vmtoolsd", "-x")
    assert done.status == 0
    assert "run vmtoolsd -x" in done.out
    assert guest.calls() == []


@pytest.mark.parametrize("grace", ["soon", "-1", "nan"])
def test_invalid_grace_period_is_refused(vmtctl: Control, grace: str) -> None:
    assert vmtctl("run", f"--grace={grace}", "--", "true").status == exits.USAGE


def test_attach_waits_for_running_command(guest: Any, tmp_path: Path, vmtctl: Control) -> None:
    ready = tmp_path / "ready"
    process = start(guest, "--", "sh", "-c", f": > {ready}; exec cat")
    until(ready.exists)
    done = vmtctl("attach")
    assert done.status == exits.TEMPORARY
    assert "another vmtctl is running" in done.err
    assert vmtctl("detach").status == 0
    process.terminate()
    process.communicate(timeout=HANG)
    assert guest.get()["attached"] == "stock"


def test_contention_is_shown_by_status_and_ended_by_run(guest: Any, vmtctl: Control) -> None:
    guest.set(processes=[[312, "powerd"], [9, "/usr/pkg/bin/vmtoolsd"]])
    assert "CONFLICT" in vmtctl("status").out
    assert vmtctl("doctor").status == 2
    # The daemon started without vmtctl ends; the next one starts through vmtctl.
    guest.set(processes=[[312, "powerd"]])
    process = start(guest, "--", "cat", str(guest.file))
    out, _ = process.communicate(timeout=HANG)
    assert '"attached": null' in out
    assert vmtctl("status", "--json").json["channel"]["holder"] == "vmt"
