"""A scenario opens, reads, controls and closes a character device, as processes do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim import cli

from .modkit import built

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = """
summary: A character device.
host: {option_burst: [], ping: 0, broadcast_ip: 0, power_on: false, vix_probe: 0}
steps:
  - at: 1.0
    guest.open: {device: seven, name: first}
  - at: 1.5
    guest.open: seven
  - expect.trace: {kind: guest.done, verb: open, result: EBUSY (16)}
  - at: 2.0
    guest.read: {name: first, size: 20}
  - expect.trace: {kind: guest.done, verb: read, result: "7\\\\n"}
  - at: 3.0
    guest.ioctl: {name: first, command: 0xc0043701, data: 6}
  - expect.trace: {kind: guest.done, verb: ioctl, result: 2a 00 00 00}
  - at: 3.5
    guest.write: {name: first, text: eight}
  - expect.trace: {kind: guest.done, verb: write, result: ENODEV (19)}
  - at: 4.0
    guest.poll: first
  - expect.trace: {kind: guest.done, verb: poll, result: "0x5"}
  - at: 4.5
    guest.mmap: first
  - expect.trace: {kind: guest.done, verb: mmap, result: ENODEV (19)}
  - at: 5.0
    guest.unload: seven
  - expect.trace: {kind: guest.done, verb: unload, result: EBUSY (16)}
  - at: 6.0
    guest.close: first
  - at: 7.0
    guest.unload: seven
  - expect.trace: {kind: guest.done, verb: unload, result: "0"}
  - at: 8.0
    guest.read: first
  - expect.trace: {kind: guest.done, verb: read, result: EBADF (9)}
duration: 14
"""


@pytest.mark.parametrize("machine", ["amd64", "i386", "aarch64"])
def test_scenario_uses_device(
    machine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "seven.yaml"
    path.write_text(SCENARIO)
    status = cli.main(["run", str(built("seven", machine)), "--scenario", str(path)])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "read {'name': 'first', 'size': 20}: 7\\n" in printed


def test_removed_driver_call_fails_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without devsw_detach the kernel would continue to use a freed table."""
    path = tmp_path / "seven.yaml"
    path.write_text(SCENARIO)
    module = built("seven", flags=("-DBUG",))
    assert cli.main(["run", str(module), "--scenario", str(path)]) == 1
    assert "devsw-left" in capsys.readouterr().out


DISK = """
summary: A disk in memory.
host: {option_burst: [], ping: 0, broadcast_ip: 0, power_on: false, vix_probe: 0}
steps:
  - at: 1
    guest.open: {device: ramdisk, name: raw}
  - at: 1
    guest.open: {device: ramdisk, name: block, block: true}
  - at: 2
    guest.size: block
  - expect.trace: {kind: guest.done, verb: size, result: 64 blocks}
  - at: 3
    guest.kevent: {name: raw, flags: [add, clear], wait: 100}
  - at: 4
    guest.seek: {name: block, offset: 2048}
  - expect.trace: {kind: guest.done, verb: seek, result: at 2048}
  - at: 5
    guest.write: {name: block, text: delayed}
  - expect.trace: {kind: guest.done, verb: write, result: 7 bytes}
  - at: 6
    guest.stat: block
  - expect.trace: {kind: guest.done, verb: stat, result: mode 0060600 size 0}
  - at: 7
    guest.close: block
  - expect.trace: {kind: guest.done, verb: kevent, result: read data 1}
  - at: 8
    guest.seek: {name: raw, offset: 4, whence: current}
  - at: 9
    guest.read: {name: raw, size: 512}
  - expect.trace: {kind: guest.done, verb: read, result: EINVAL (22)}
  - at: 10
    guest.seek: {name: raw, offset: 2048}
  - at: 11
    guest.read: {name: raw, size: 512}
  - expect.trace: {kind: guest.done, verb: read, result: "delayed*"}
  - at: 12
    guest.fcntl: {name: raw, flags: [nonblock]}
  - expect.trace: {kind: guest.done, verb: fcntl, result: ENOTTY (25)}
  - at: 13
    guest.seek: {name: raw, offset: 40448}
  - at: 14
    guest.read: {name: raw, size: 512}
  - expect.trace: {kind: guest.done, verb: read, result: EINVAL (22)}
  - at: 15
    guest.close: raw
  - at: 16
    guest.unload: ramdisk
  - expect.trace: {kind: guest.done, verb: unload, result: "0"}
duration: 30
"""


@pytest.mark.parametrize("machine", ["amd64", "i386", "aarch64"])
def test_scenario_uses_disk(
    machine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block device, the raw one, and a kqueue that gets events of writes."""
    path = tmp_path / "ramdisk.yaml"
    path.write_text(DISK)
    status = cli.main(["run", str(built("ramdisk", machine)), "--scenario", str(path)])
    printed = capsys.readouterr().out
    assert status == 0, printed


def test_request_past_end_is_completed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without biodone the process waits forever, and the module cannot be unloaded."""
    path = tmp_path / "ramdisk.yaml"
    path.write_text(DISK)
    module = built("ramdisk", flags=("-DBUG",))
    assert cli.main(["run", str(module), "--scenario", str(path)]) != 0
    assert "buf-never-done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "output"),
    [
        ("guest.write: {name: a, directory: /}", "expected a directory, or `name`"),
        ("guest.open: {device: a, flags: [append]}", "append"),
        ("guest.ioctl: {name: a, command: -1}", "command"),
        ("guest.read: {name: a, length: 3}", "length"),
        ("guest.kevent: {name: a, filter: vnode}", "filter"),
        ("guest.seek: {name: a}", "offset"),
    ],
)
def test_error_in_step_is_reported_with_line(
    step: str, output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"summary: x\nsteps:\n  - at: 1\n    {step}\n")
    assert cli.main(["run", str(built("seven")), "--scenario", str(path)]) == 65
    printed = capsys.readouterr().err
    assert "bad.yaml:4:" in printed
    assert output in printed


def test_wait_may_be_fraction_of_second() -> None:
    from vmtsim.scenario.guest import COMMANDS

    assert COMMANDS["poll"].value({"name": "x", "wait": 0.5}).wait == 0.5
