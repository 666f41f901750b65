"""A simulated guest that runs the real module: `vmtsim guest` as a process, for the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtsim.fakeguest import machine, server, stubtool, tree

from tests import forked
from tests.patience import HANG

if TYPE_CHECKING:
    from collections.abc import Callable


# The imports of a starting guest: it is a fork of this process, and does not repeat them.
_IMPORTED = (machine, server, tree)
_STUB = Path(stubtool.__file__).read_text(encoding="utf-8").partition("from __future__")[2]
_DAEMONS = ("powerd", "vmtoolsd")


def _tool(name: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    return {"tool": name, "arguments": arguments, "directory": str(Path.cwd())}


def answer(path: Path, command: tuple[str, ...]) -> tuple[Any, ...] | None:
    """Run the stub ``path`` of a running guest, without a process of its own.

    The command, its status and both outputs; None for a file that is no stub, or is a daemon.
    """
    if path.name in _DAEMONS or not os.access(path, os.X_OK):
        return None
    if not path.read_bytes().endswith(_STUB.encode()):
        return None
    try:
        found = stubtool.ask(stubtool.find_root(str(path)), _tool(path.name, command[1:]))
    except stubtool.NoGuestError as error:
        return command, 1, "", f"{path.name}: {error}\n"
    return command, found["status"], found["out"], found["err"]


class SimGuest:
    """One guest, from its start to ``close``."""

    def __init__(self, root: Path, module: Path, *options: str) -> None:
        self.root = root
        self.module = module
        self.process = forked.start(
            "vmtsim", "guest", "--root", root, *options, module,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.output = ""
        self._children: list[subprocess.Popen[str]] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line == "ready\n":
                return
        self.close()
        raise AssertionError(self.output + self.errors)

    errors = ""

    def control(self, *words: str) -> tuple[int, str]:
        """Run `vmtsim guest-control ROOT WORDS`; its status and output."""
        request = {"control": words[0], "arguments": words[1:]}
        answer = stubtool.ask(str(self.root), request)
        return answer["status"], answer["out"] + answer["err"]

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        status, text = self.control("advance", str(seconds))
        assert status == 0, text

    def host(self, *words: str) -> str:
        """Let the host's operator do something."""
        status, text = self.control("host", *words)
        assert status == 0, text
        return text

    @property
    def status(self) -> Any:
        """The output of `guest-control status --json`."""
        return json.loads(self.control("status", "json")[1])

    def commands(self, *starts: str) -> list[str]:
        """The commands of the guest that begin so, oldest first."""
        return [command for command in self.status["commands"] if command.startswith(starts)]

    def tool(self, path: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the guest; a stub in this process."""
        program = self.root / path
        command = (str(program), *words)
        result = answer(program, command)
        if result is None:
            return subprocess.run(command, capture_output=True, text=True, check=False)
        return subprocess.CompletedProcess(*result)

    def dmesg(self) -> str:
        answer = stubtool.ask(str(self.root), _tool("dmesg", ()))
        return str(answer["out"])

    @property
    def messages(self) -> str:
        """The messages of logger(1)."""
        path = self.root / "var/log/messages"
        return path.read_text() if path.exists() else ""

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a program that runs beside the guest."""
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._children.append(child)
        return child

    def start_vmtctl(self, verb: str, *words: str | Path) -> subprocess.Popen[str]:
        """Start vmtctl on the guest."""
        from answers import tools_answer_here

        child = forked.start(
            "vmtctl", verb, "--tools-root", self.root, *words, before=tools_answer_here,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._children.append(child)
        return child

    def until(self, true: Callable[[Any], bool]) -> Any:
        """Wait until the guest's status meets the condition; returns the status."""
        end = time.monotonic() + HANG
        while not true(status := self.status):
            assert time.monotonic() < end, status
            time.sleep(0.02)
        return status

    def until_toolsd(self, *, runs: bool) -> None:
        """Wait until vmtoolsd runs in the guest, or does not."""
        self.until(lambda status: runs == any("vmtoolsd" in c for _, c in status["processes"]))

    def close(self) -> int:
        """End the guest and everything that was started; the exit status of the simulation."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        out, self.errors = self.process.communicate(timeout=HANG)
        self.output += out
        return self.process.returncode

    def kill(self) -> None:
        """End the guest like a power failure."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()
