"""The vmtctl of an earlier version with the current driver: it does less, and no harm.

The earlier version is that of a commit in the history of this checkout; a checkout unpacked from a
tarball has no history, and skips.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simguest import SimGuest

    Start = Callable[..., SimGuest]

COMMIT = "06f3541dac393a320f01df1573b090cdbc3081d3"
# sysexits(3), doctor's own 1 and 2, and 0.
KNOWN = {0, 1, 2, 64, 65, 66, 69, 71, 73, 74, 75, 77, 78}
COMMANDS = (
    ("status",), ("status", "--json"), ("doctor",), ("clock",), ("guestinfo", "list"),
    ("guestinfo", "get", "ip"), ("clock", "90"), ("clock", "--follow-host", "off"),
    ("clock", "sync"), ("guestinfo", "set", "role", "web"), ("detach",), ("attach",), ("unload",),
)  # fmt: skip


@pytest.fixture
def older(root: Path, tmp_path: Path) -> Path:
    """The directory with the earlier version's package."""
    command = ["git", "-C", str(root), "archive", "--format=tar", COMMIT, "userland"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this checkout has no history: use git clone")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(tmp_path / "older", filter="data")
        else:
            archive.extractall(tmp_path / "older")
    return tmp_path / "older/userland"


@pytest.mark.skipif(os.geteuid() != 0, reason="the earlier vmtctl trusts no other user")
def test_older_vmtctl_is_harmless(start: Start, older: Path) -> None:
    sim_guest = start()
    sim_guest.advance(3)
    environment = {**os.environ, "PYTHONPATH": str(older), "PYTHONSAFEPATH": "1"}
    for words in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "vmtctl", *words, "--tools-root", str(sim_guest.root)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode in KNOWN, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (words, done.stderr)
        if words[:2] == ("clock", "90"):
            assert done.returncode == 0, done.stderr
            assert (
                sim_guest.tool("sbin/sysctl", "-n", "machdep.vmt0.clock_sync.period").stdout
                == "90\n"
            )
        if words != ("unload",):
            sim_guest.advance(1)
            attached = "vmt0" in sim_guest.tool("sbin/drvctl", "-l", "cpu0").stdout
            assert attached == (words != ("detach",)), words
    # The fixture requires that the simulation found no error in driver and kernel.
