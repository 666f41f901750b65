"""A root shell on a console: commands with their exit status and output.

Each command is between two marks that the shell prints.  The typed line does not contain the marks
as they are printed, so that the echo of a terminal does not match them.  The kernel and syslogd may
write into the middle of everything; their lines are removed from the output, and a damaged mark is
requested again.
"""

from __future__ import annotations

import re
import secrets
import time

from vmtgen.common.dataclass import dataclass

from vmtsim.accept.console import Console, ConsoleTimeoutError
from vmtsim.accept.texts import NOISE

# Seconds without the closing mark after which vmtsim requests the mark again.
_AGAIN = 15.0
# Longer lines may not fit a terminal's input queue: TTYHOG, 1024, in NetBSD's sys/sys/tty.h.
LONGEST = 500
_READY = 30.0


@dataclass(frozen=True)
class Result:
    """The result of a command: exit status and output, without the last newline."""

    command: str
    status: int
    output: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0


class Shell:
    """Runs commands on a console whose foreground is a POSIX shell."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.prompt = f"vmt-accept-{secrets.token_hex(3)}# "
        self.log: list[Result] = []
        self._token = secrets.token_hex(4)
        self._number = 0

    def begin(self) -> None:
        """Replace the current shell by sh(1) with a known prompt, and without echo.

        Raises ConsoleTimeoutError if no shell answers.
        """
        self.console.type("exec /bin/sh\r")
        for attempt in range(4):
            self.console.type(
                f"stty -echo; PS1='{self.prompt}'; echo VMT\"\"-{self._token}-ready\r"
            )
            try:
                self.console.expect(
                    [rf"VMT-{self._token}-ready\n"],
                    timeout=_READY / 4,
                    what="the shell's first answer",
                )
                break
            except ConsoleTimeoutError:
                if attempt == 3:
                    raise
        self._prompted()
        self.run("PATH=/sbin:/usr/sbin:/bin:/usr/bin:/usr/pkg/sbin:/usr/pkg/bin; export PATH")

    def run(self, command: str, *, timeout: float = 120.0, quiet: bool = False) -> Result:
        """Run one line and wait for its end.

        With ``quiet`` it is not kept in ``log``.  Raises ValueError for a line that a terminal may
        truncate, ConsoleTimeoutError, ConsoleClosedError, GuestCrashError.
        """
        self._number += 1
        mark = f"{self._token}-{self._number}"
        line = (
            f'echo VMT"":{mark}:begin; {{ {command}; }} </dev/null; r=$?; echo VMT"":{mark}:$r:end'
        )
        if len(line) > LONGEST:
            raise ValueError(f"a line of {len(line)} characters is too long for a terminal: {line}")
        start = len(self.console.seen)
        self.console.type(line + "\r")
        status = self._status(command, mark, time.monotonic() + timeout, timeout)
        self._prompted()
        result = Result(command, status, self._output(start, mark))
        if not quiet:
            self.log.append(result)
        return result

    def _status(self, command: str, mark: str, deadline: float, timeout: float) -> int:
        what = f"the end of {command!r}"
        while True:
            left = deadline - time.monotonic()
            try:
                self.console.expect(
                    [rf"VMT:{mark}:(\d+):end"], timeout=max(0.0, min(left, _AGAIN)), what=what
                )
            except ConsoleTimeoutError as error:
                if time.monotonic() >= deadline:
                    raise ConsoleTimeoutError(
                        f"{command!r} has not ended after {timeout:g} s; the screen shows:\n"
                        f"{self.console.screen()}"
                    ) from error
                # Typed ahead if the command still runs; an answer if its mark was damaged.
                self.console.type(f'echo VMT"":{mark}:$r:end\r')
                continue
            return int(self.console.match.group(1))

    def _prompted(self) -> None:
        """Wait for the prompt; an empty line brings back a damaged one."""
        for _ in range(2):
            if self._sees_prompt():
                return
            self.console.type("\r")
        self.console.expect([re.escape(self.prompt)], timeout=_AGAIN, what="the shell's prompt")

    def _sees_prompt(self) -> bool:
        try:
            self.console.expect([re.escape(self.prompt)], timeout=_AGAIN, what="the shell's prompt")
        except ConsoleTimeoutError:
            return False
        return True

    def _output(self, start: int, mark: str) -> str:
        text = self.console.seen[start:]
        for noise in NOISE:
            text = re.sub(noise, "", text)
        begin = text.rfind(f"VMT:{mark}:begin\n")
        end = re.search(rf"VMT:{mark}:\d+:end", text)
        first = begin + len(f"VMT:{mark}:begin\n") if begin >= 0 else 0
        output = text[first : end.start() if end else len(text)]
        return output.replace(self.prompt, "").rstrip("\n")
