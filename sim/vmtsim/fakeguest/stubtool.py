# ruff: noqa: PTH100, PTH108, PTH109, PTH110, PTH118, PTH119, PTH120, PTH123, SIM105
# pathlib and contextlib would double the time that a tool takes to start.
"""The stub of a NetBSD tool: queries the simulation, prints its answer, exits with its status.

This file is copied into the guest's directory under the name of each tool, so it uses only the
standard library.  Two of the names are daemons: ``powerd`` reads /dev/power and runs scripts as
powerd(8) does (NetBSD usr.sbin/powerd/powerd.c); ``vmtoolsd`` only stays alive: while it does, the
simulation runs a second tools client in the guest.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

MARK = ".vmtsim-guest"
CONTROL = ("var/run", "vmtsim.sock")
POWER = ("dev", "power")


class NoGuestError(Exception):
    """No guest runs in this directory."""


def find_root(start: str) -> str:
    """Return the guest's directory that contains ``start``.

    Raises NoGuestError where there is none.
    """
    root = os.path.dirname(os.path.abspath(start))
    while not os.path.exists(os.path.join(root, MARK)):
        above = os.path.dirname(root)
        if above == root:
            raise NoGuestError(f"{start} is not inside the directory of a guest")
        root = above
    return root


def connect(root: str, place: tuple[str, str]) -> socket.socket:
    """Return a connection to the socket ``place`` of the guest in ``root``.

    Uses a relative path: a socket's address holds about a hundred characters.
    Raises NoGuestError where no guest runs there.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.path.join(root, place[0]))
        link.connect(place[1])
    except OSError as error:
        link.close()
        raise NoGuestError(
            f"no guest runs in {root} ({error.strerror}): vmtsim guest --root {root} FILE"
        ) from None
    finally:
        os.fchdir(here)
        os.close(here)
    return link


def ask(root: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request and return the answer; NoGuestError if the simulation ends before."""
    with connect(root, CONTROL) as link, link.makefile("rw", encoding="ascii") as lines:
        lines.write(json.dumps(request) + "\n")
        lines.flush()
        line = lines.readline()
    if not line:
        raise NoGuestError(f"the guest in {root} ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    return answer


def put(answer: dict[str, Any]) -> int:
    """Print an answer's two texts and return its status."""
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        stream.flush()
        stream.buffer.write(answer.get(name, "").encode("utf-8", "surrogateescape"))
        stream.flush()
    return int(answer.get("status", 0))


def _tool(root: str, name: str, arguments: Sequence[str]) -> int:
    request = {"tool": name, "arguments": arguments, "directory": os.getcwd()}
    return put(ask(root, request))


# Daemons.


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _background() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _write_pid(path: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


def _vmtoolsd(root: str, arguments: Sequence[str]) -> int:
    pid_file = ""
    words = list(arguments)
    if words[:1] in (["--background"], ["-b"]) and len(words) == 2:
        pid_file = words[1] if words[1].startswith(root) else root + words[1]
        _background()
    elif words:
        sys.stderr.write("usage: vmtoolsd [--background PIDFILE]\n")
        return 1
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with connect(root, CONTROL) as link:
        command = " ".join(("/usr/pkg/bin/vmtoolsd", *words))
        request = {"daemon": "vmtoolsd", "pid": os.getpid(), "command": command}
        link.sendall(json.dumps(request).encode("ascii") + b"\n")
        try:
            if pid_file:
                _write_pid(pid_file)
            while link.recv(4096):
                pass
        finally:
            if pid_file:
                os.unlink(pid_file)
    return 0


def _powerd(root: str, arguments: Sequence[str]) -> int:
    if not set(arguments) <= {"-d", "-n", "-dn", "-nd"}:
        sys.stderr.write("usage: powerd [-dn]\n")
        return 1
    options = "".join(arguments)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    with connect(root, POWER) as link, link.makefile("rw", encoding="ascii") as lines:
        opened = json.loads(lines.readline() or "{}")
        if "type" not in opened:
            reason = opened.get("error", "Device not configured")
            sys.stderr.write(f"powerd: open: /dev/power: {reason}\n")
            return 1
        if "d" not in options:
            _background()
        pid_file = f"{root}/var/run/powerd.pid"
        _write_pid(pid_file)
        lines.write(json.dumps({"pid": os.getpid()}) + "\n")
        lines.flush()
        try:
            for line in lines:
                _event(root, opened["type"], json.loads(line), run="n" not in options)
                lines.write("{}\n")
                lines.flush()
        finally:
            os.unlink(pid_file)
    return 0


def _event(root: str, power_type: str, event: dict[str, str], *, run: bool) -> None:
    """Run the script of an event and wait for its end."""
    name = event["script"]
    base = f"{root}/etc/powerd/scripts"
    candidates = [f"{base}/{power_type}/{name}"] if power_type else []
    candidates.append(f"{base}/{name}")
    path = next((path for path in candidates if os.access(path, os.R_OK | os.X_OK)), None)
    if path is None:
        _log(root, f"no script for {name}")
        return
    if not run:
        return
    try:
        pid = os.posix_spawn(path, (path, event["device"], event["event"]), os.environ)
    except OSError as error:
        _log(root, f"{path}: {error.strerror}")
        return
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        _log(root, f"{path.removeprefix(root)} exited with status {status}")


def _log(root: str, text: str) -> None:
    try:
        _tool(root, "logger", ("-p", "daemon.err", "-t", "powerd", "--", text))
    except NoGuestError:
        pass  # the machine went down while the script ran


def main() -> int:
    """Act as the tool of this file's name."""
    name = os.path.basename(sys.argv[0])
    try:
        root = find_root(sys.argv[0])
        if name == "powerd":
            return _powerd(root, sys.argv[1:])
        if name == "vmtoolsd":
            return _vmtoolsd(root, sys.argv[1:])
        return _tool(root, name, sys.argv[1:])
    except (NoGuestError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
