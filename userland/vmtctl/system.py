"""Runs the system's tools by absolute path, with a clean environment and a time limit.

vmtctl imports neither subprocess nor argparse: each takes as long as the rest of
``vmtctl status`` (see bench).
"""

from __future__ import annotations

import os

from vmtctl.exits import NO_PERMISSION, UNAVAILABLE, Failure
from vmtctl.tooltable import TOOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The environment of a tool; nothing of the caller's: no LD_PRELOAD, no locale, no PATH.
ENVIRONMENT = {
    "HOME": "/",
    "LC_ALL": "C",
    "PATH": "/sbin:/usr/sbin:/bin:/usr/bin",
    "TZ": "UTC",
}

# Seconds; only a tool that hangs takes that long. The driver's detach may wait for a request of its
# worker, modload for a disk, and any tool for a host that gives this guest little time.
TIME_LIMIT = 60.0

# Seconds that a killed tool may take to end.
KILL_LIMIT = 2.0

# Bytes. No tool prints that much; more is an error, and must not fill the memory.
OUTPUT_LIMIT = 8 << 20


class Result:
    """The result of a tool: exit status (128 + signal when killed), and its output."""

    __slots__ = ("arguments", "errors", "output", "status")

    def __init__(self, arguments: Sequence[str], status: int, output: str, errors: str) -> None:
        self.arguments = tuple(arguments)
        self.status = status
        self.output = output
        self.errors = errors

    @property
    def ok(self) -> bool:
        """Whether the tool reports success."""
        return self.status == 0

    @property
    def complaint(self) -> str:
        """The last line on standard error, or else a text with the exit status."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return lines[-1] if lines else f"{self.arguments[0]} exited with status {self.status}"


class Tools:
    """The system's tools below ``root`` ("" is the running system)."""

    def __init__(self, root: str = "", report: Callable[[str], None] | None = None) -> None:
        self.root = root.rstrip("/")
        self._report = report

    def path(self, tool: str) -> str:
        """Where ``tool`` is."""
        return self.root + TOOLS[tool].path

    def has(self, tool: str) -> bool:
        """Whether ``tool`` exists and is executable."""
        return os.access(self.path(tool), os.X_OK)

    def run(self, tool: str, *arguments: str, limit: float = TIME_LIMIT) -> Result:
        """Run ``tool`` and wait at most ``limit`` seconds.

        Raises Failure when the tool is absent, cannot be started or takes too long.
        """
        command = (tool, *arguments)
        if self._report:
            self._report("+ " + " ".join(command))
        result = self._run(tool, command, limit)
        if self._report:
            for line in (result.output + result.errors).splitlines():
                self._report(f"  {line}")
        return result

    def _run(self, tool: str, command: tuple[str, ...], limit: float) -> Result:
        path = self.path(tool)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            pid = os.posix_spawn(
                path,
                command,
                ENVIRONMENT,
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, out_write, 1),
                    (os.POSIX_SPAWN_DUP2, err_write, 2),
                ),
                # Its own process group: vmtctl handles Ctrl-C, and a time-out kills the group.
                setpgroup=0,
            )
        except OSError as error:
            os.close(out_read)
            os.close(err_read)
            raise _not_started(path, error) from None
        finally:
            os.close(out_write)
            os.close(err_write)
        return _collect(pid, command, (out_read, err_read), limit)


def _not_started(path: str, error: OSError) -> Failure:
    if isinstance(error, FileNotFoundError):
        return Failure(
            f"{path} does not exist",
            hint="vmtctl runs on NetBSD; `vmtctl doctor` lists what is missing",
            status=UNAVAILABLE,
        )
    if isinstance(error, PermissionError):
        return Failure(f"{path} may not be executed: {error.strerror}", status=NO_PERMISSION)
    return Failure(f"{path} cannot be started: {error.strerror}")


def _collect(pid: int, command: tuple[str, ...], pipes: tuple[int, int], limit: float) -> Result:
    import select
    import time

    end = time.monotonic() + limit
    chunks: dict[int, list[bytes]] = {pipe: [] for pipe in pipes}
    size = 0
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN | select.POLLHUP)
    still_open = set(pipes)
    stopped = ""
    try:
        while still_open:
            left = end - time.monotonic()
            if left <= 0:
                stopped = f"did not end within {limit:g} seconds"
                break
            for pipe, _ in poll.poll(left * 1000):
                data = os.read(pipe, 65536)
                if not data:
                    poll.unregister(pipe)
                    still_open.discard(pipe)
                    continue
                chunks[pipe].append(data)
                size += len(data)
            if size > OUTPUT_LIMIT:
                stopped = f"printed more than {OUTPUT_LIMIT} bytes"
                break
        status = None if stopped else _wait(pid, end)
        if status is None:
            stopped = stopped or f"did not end within {limit:g} seconds"
    except BaseException:
        _kill(pid)
        raise
    finally:
        for pipe in pipes:
            os.close(pipe)
    if status is None:
        _kill(pid)
        raise Failure(
            f"`{' '.join(command)}` {stopped} and was stopped",
            hint="the kernel may be waiting for the driver; see its last messages in dmesg(8)",
        )
    output, errors = (b"".join(chunks[pipe]).decode("utf-8", "surrogateescape") for pipe in pipes)
    return Result(command, status, output, errors)


def _wait(pid: int, end: float) -> int | None:
    """Return the exit status, or None after the time limit."""
    import time

    pause = 0.001
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if time.monotonic() >= end:
            return None
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _kill(pid: int) -> None:
    import signal
    import time

    try:
        os.killpg(pid, signal.SIGKILL)
        # A process that hangs in the kernel cannot be killed; init(8) inherits it.
        _wait(pid, time.monotonic() + KILL_LIMIT)
    except OSError:
        pass  # it has ended already
