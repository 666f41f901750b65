"""--no-host: the console part alone, on a guest that runs already."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.accept import machine, walk

from tests.patience import HANG, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guestkit import Guest

BRIDGE = Path(__file__).parent / "bridge.py"


@pytest.fixture
def console(guest_image: Guest, guest_qemu: Path, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A function that starts the guest with some words, and returns a command to its console."""
    started: list[subprocess.Popen[bytes]] = []

    def start(words: str) -> str:
        options = machine.MachineOptions(kernel=guest_image.kernel, append=words, memory=64, cpus=1)
        command = machine.command(options, str(guest_qemu), tmp_path, None)
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        path = tmp_path / "console"
        until(path.exists, "QEMU's console")
        return shlex.join([sys.executable, str(BRIDGE), str(path)])

    yield start
    for process in started:
        process.kill()
        process.wait(HANG)


def _visit(command: str, guest: Guest, report: Path) -> int:
    module = str(guest.module)
    words = ["--console", command, "--module", module, "--report", str(report)]
    return cli.main(["accept", "--no-host", *words])


def test_without_host_run_ends_at_device_attach(
    console: Callable[[str], str],
    guest_image: Guest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(walk, "_ATTACHED", 0.0)
    command = console(f"shell,size={guest_image.module.stat().st_size}")
    report = tmp_path / "report"
    status = _visit(command, guest_image, report)
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    scenario = found["scenarios"][0]
    states = {name: each["state"] for name, each in scenario["properties"].items()}
    assert states == {
        "the module loads": "held",
        "the device attaches": "broken",
        "the module unloads": "held",
    }
    assert (status, scenario["verdict"]) == (1, "FAILED")
    assert "no device at cpu0" in capsys.readouterr().out


def test_missing_files_in_guest_are_named(
    console: Callable[[str], str],
    guest_image: Guest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = console("shell")
    report = tmp_path / "report"
    status = _visit(command, guest_image, report)
    assert status == 65
    printed = capsys.readouterr().err
    assert "does not have the files" in printed
    assert "tar -xpf files.tar -C /var/tmp" in printed
    with tarfile.open(report / "files.tar") as tar:
        names = tar.getnames()
    inside = ("guest.sh", "reporter.sh", "vmt.kmod")
    assert names == ["vmt-accept", *(f"vmt-accept/{name}" for name in inside)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-host"], "need each other"),
        (["--no-host", "--console", "x", "--disk", "y"], "starts no machine"),
        (["--no-host", "--console", "/nosuch/program"], "cannot run /nosuch/program"),
    ],
)
def test_invalid_arguments_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        status = cli.main(["accept", *words, "--report", str(tmp_path)])
    except SystemExit as left:
        status = int(str(left.code))
    assert status in {64, 65}
    assert message in capsys.readouterr().err
