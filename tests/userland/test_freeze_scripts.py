"""vmt-event for freeze and thaw: it runs the administrator's scripts and reports the result.

The driver's node backup.event holds the event that it waits for (tests/driver/test_freeze.py);
here a stub of sysctl(8) keeps the value in a file.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from .events import TYPED, alone, script, system

if TYPE_CHECKING:
    from pathlib import Path

STATE = "var/run/vmt0.frozen"
# As in the driver, an unexpected number is EINVAL.
SYSCTL = """
if [ "$1 $2" = "-n machdep.vmt0.backup.event" ]; then cat {root}/event 2>/dev/null; exit 0; fi
if [ "$1" = -w ]; then
	value=${{2#machdep.vmt0.backup.done=}}
	read -r number what <{root}/event || exit 1
	if [ "$value" != "$number" ] && [ "$value" != "-$number" ]; then exit 1; fi
	echo "$value" >>{root}/answers
	: >{root}/event
fi
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with the hooks, a driver that waits for nothing, and a site's script."""
    made = system(tmp_path)
    (made / "var/run").mkdir(parents=True, exist_ok=True)
    script(made / "sbin/sysctl", SYSCTL.format(root=made))
    script(made / "etc/powerd/vmt.d/database", f'echo "$1 $2" >>{made}/out')
    return made


def hotkey(root: Path, event: str, waits: str | None = None) -> None:
    """Let the hot key be pressed or released; ``waits`` is the event that the driver waits for."""
    if waits is not None:
        (root / "event").write_text(f"{waits}\n" if waits else "")
    status, left = alone(
        shutil.which("dash") or "sh", root / TYPED / "hotkey_button", "vmt0", event
    )
    assert (status, left) == (0, [])


def lines(root: Path, name: str) -> list[str]:
    """Return the lines of a file, none if it does not exist."""
    return (root / name).read_text().splitlines() if (root / name).exists() else []


def test_freeze_and_thaw_scripts_run_and_are_reported(root: Path) -> None:
    hotkey(root, "pressed", "17 freeze")
    assert (lines(root, "out"), lines(root, "answers")) == (["freeze vmt0"], ["17"])
    assert lines(root, STATE) == ["17"]
    hotkey(root, "released", "18 thaw")
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0"]
    assert lines(root, "answers") == ["17", "18"]
    assert lines(root, STATE) == []


@pytest.mark.parametrize("why", ["status", "others can change it"])
def test_failing_script_is_reported(root: Path, why: str) -> None:
    bad = script(root / "etc/powerd/vmt.d/a-bad", "exit 3")
    if why != "status":
        bad.write_text("#!/bin/sh\n")
        bad.chmod(0o777)
    hotkey(root, "pressed", "17 freeze")
    assert lines(root, "answers") == ["-17"]
    assert lines(root, "out") == ["freeze vmt0"]  # the others still run
    hotkey(root, "released", "18 thaw")
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0"]


@pytest.mark.parametrize("waits", ["", "18 thaw"])
def test_late_event_freezes_nothing(root: Path, waits: str) -> None:
    hotkey(root, "pressed", waits)
    assert (lines(root, "out"), lines(root, "answers")) == ([], [])
    hotkey(root, "released")
    assert lines(root, "out") == []
    assert lines(root, "answers") == (["18"] if waits else [])


def test_slow_scripts_are_followed_by_thaw_at_once(root: Path) -> None:
    """The driver has given up, and no daemon may have received its thaw."""
    script(root / "etc/powerd/vmt.d/slow", f': >{root}/event; [ "$1" = thaw ] || exit 0')
    hotkey(root, "pressed", "17 freeze")
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0"]
    assert lines(root, "answers") == []
    assert lines(root, STATE) == []
    hotkey(root, "released", "18 thaw")  # the event after all
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0"]
    assert lines(root, "answers") == ["18"]


def test_repeated_thaw_runs_nothing_again(root: Path) -> None:
    hotkey(root, "pressed", "17 freeze")
    hotkey(root, "released", "18 thaw")
    hotkey(root, "released", "18 thaw")
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0"]
    assert lines(root, "answers") == ["17", "18", "18"]


def test_lost_thaw_runs_before_next_freeze(root: Path) -> None:
    hotkey(root, "pressed", "17 freeze")
    hotkey(root, "pressed", "19 freeze")
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0", "freeze vmt0"]


def test_killed_freeze_is_followed_by_thaw(root: Path) -> None:
    """The record exists before the first script runs."""
    script(root / "etc/powerd/vmt.d/kills", '[ "$1" = thaw ] || kill -KILL $(ps -o ppid= $PPID)')
    (root / "event").write_text("17 freeze\n")
    subprocess.run(["dash", str(root / TYPED / "hotkey_button"), "vmt0", "pressed"], check=False)
    assert lines(root, STATE) == ["17"]
    assert lines(root, "answers") == []
    hotkey(root, "released", "18 thaw")
    assert lines(root, "out") == ["freeze vmt0", "thaw vmt0"]


def test_other_hot_key_reaches_standard_script(root: Path) -> None:
    script(root / "etc/powerd/scripts/hotkey_button", f'echo "own $1 $2" >>{root}/own')
    path = root / TYPED / "hotkey_button"
    for name in ("display-cycle", "vmt0"):
        subprocess.run(["dash", str(path), name, "pressed"], check=True)
    assert lines(root, "own") == ["own display-cycle pressed"]
