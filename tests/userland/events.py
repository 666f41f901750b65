"""powerd's scripts as processes: repeated runs leave nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from vmtctl.install import hookplan
from vmtctl.install.tree import Tree

from tests.patience import HANG

TYPED = "etc/powerd/scripts/acpi"

# NetBSD's own sh(1) and timeout(1), if they are built for this system.
NETBSD_SH = os.environ.get("NETBSD_SH", "")
NETBSD_TIMEOUT = os.environ.get("NETBSD_TIMEOUT", "")

_BACKGROUND = re.compile(r"^(\t*)\(\n(.*?)\n\1\)([^\n]*) &$", re.MULTILINE | re.DOTALL)


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    """Write a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def forking_twice(text: str) -> str:
    """Return the script ``text`` so that any shell forks as often as NetBSD's sh does.

    For `( ... ) <in >out &` that is twice, and $! is the outer process: in bin/sh/eval.c evaltree
    meets an NBACKGND node with an NSUBSHELL node in it, and forks for each.  dash and bash make
    one process of both.
    """
    return _BACKGROUND.sub(r"\1(\n\1(\n\2\n\1)\3\n\1:\n\1)\3 &", text)


def in_session(session: int) -> dict[int, str]:
    """Return the processes of a session that have not ended: pid and command."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue  # it has just ended
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state not in "ZX":
            pid, _, command = name.partition(" (")
            found[int(pid)] = command
    return found


def alone(shell: str, path: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run a script in a separate session; return its status, and the processes that it left."""
    process = subprocess.Popen([shell, str(path), *arguments], start_new_session=True)
    process.wait(timeout=HANG)
    # Killed processes take a moment to end; sleeping ones do not end.
    for _ in range(50):
        if not (left := in_session(process.pid)):
            break
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return process.returncode, list(left.values())


def system(root: Path) -> Path:
    """Make a system below ``root`` with the hooks, a logger and a shutdown that write it down."""
    script(root / "usr/bin/logger", f'shift 4; [ "$1" = -- ] && shift; echo "$*" >> {root}/log')
    script(root / "sbin/shutdown", f'echo "$1 $2" >> {root}/shutdowns')
    (root / "etc").mkdir(exist_ok=True)
    hookplan.install(Tree(str(root)), typed=True, force=False).carry_out()
    if NETBSD_TIMEOUT:
        (root / "usr/bin/timeout").symlink_to(NETBSD_TIMEOUT)
    return root


def play(root: Path, shell: str, calls: int) -> list[str]:
    """Run site scripts ``calls`` times, 20 with each event; return the errors, one line each."""
    system(root)
    handler = root / "etc/powerd/vmt-event"
    handler.write_text(forking_twice(handler.read_text()))
    for number in range(20):
        # Some end at once, some leave time for a guard to be set up, some fail.
        work = ("exit 0", "sleep 0.05", "exit 3")[number % 3]
        script(root / f"etc/powerd/vmt.d/{number:02}-work", f"echo {number} >> {root}/out; {work}")
    wrong = []
    for number in range(calls // 20):
        status, left = alone(shell, root / TYPED / "power_button", "vmt0", "pressed")
        if status or left:
            wrong.append(f"event {number}: status {status}, left running: {left}")
    done = (root / "out").read_text().split()
    expected = [str(number) for number in range(20)] * (calls // 20)
    if done != expected:
        wrong.append(f"{len(done)} of {len(expected)} scripts ran, or in another order")
    failed = (root / "log").read_text().count("ended with status 3")
    if failed != 6 * (calls // 20):
        wrong.append(f"{failed} failures were logged, not {6 * (calls // 20)}")
    return wrong


def shells() -> list[str]:
    """Return the shells to test: dash, and NetBSD's own if it is built."""
    return [shell for shell in (shutil.which("dash"), NETBSD_SH) if shell]
