"""The guest's console as a conversation: wait for texts, type, and detect a crash at once.

pexpect reads and matches.  Input is first cleaned of carriage returns, NULs and terminal escape
sequences: SeaBIOS's serial console (QEMU's -nographic) draws with those.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any

import pexpect
from pexpect import fdpexpect
from vmtgen.common.errors import UNAVAILABLE, ReportedError

from vmtsim.accept.texts import CRASHES, DDB, DDB_MORE, Text

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

_ESCAPE = re.compile(r"\x1b(?:\[([0-9;?]*)[ -/]*([@-~])|[()][A-Za-z0-9]|[=>78cMDE])|[\r\0]")
_PARTIAL = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|[()])?\Z")
_SCREEN_LINES = 24
_SEARCH_WINDOW = 8192
_PROGRESS = 5.0
# Seconds within which a crashed kernel has printed its report.
_REPORT, _REPORT_QUIET = 30.0, 3.0
_REPORT_LINES, _REPORT_BEFORE = 80, 6


class ConsoleError(ReportedError):
    """The console did not do what was expected; the message ends with the screen's content."""

    exit_status = UNAVAILABLE


class ConsoleTimeoutError(ConsoleError):
    """None of the expected texts came in time."""


class ConsoleClosedError(ConsoleError):
    """The other end is gone: the virtual machine or ssh has exited."""


class GuestCrashError(ConsoleError):
    """The guest's kernel panicked or reported an error.

    ``kind`` names it as texts.CRASHES does, ``report`` is its text.
    """

    exit_status = 3

    def __init__(self, kind: str, report: str) -> None:
        super().__init__(f"{kind} in the guest:\n{report}")
        self.kind = kind
        self.report = report


def cleaned(text: str) -> str:
    """Return ``text`` without escape sequences; a cursor movement starts a line."""

    def plain(match: re.Match[str]) -> str:
        if match.group(2) in {"H", "f"}:
            return "\n"
        if match.group(2) == "C":
            return " " * int(match.group(1) or "1")
        return ""

    return _ESCAPE.sub(plain, text)


class _Cleaned:
    """A pexpect spawn whose text is cleaned, and kept whole in ``seen``."""

    seen: str
    _rest: str

    def _begin(self) -> None:
        self.seen = ""
        self._rest = ""

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str:
        text = self._rest + super().read_nonblocking(size, timeout)  # type: ignore[misc]
        partial = _PARTIAL.search(text)
        self._rest = partial.group() if partial else ""
        if partial:
            text = text[: partial.start()]
        text = cleaned(text)
        self.seen += text
        return text


class _Socket(_Cleaned, fdpexpect.fdspawn):  # type: ignore[misc]
    """The serial line of a virtual machine."""


class _Command(_Cleaned, pexpect.spawn):  # type: ignore[misc]
    """A command on its own terminal: ssh, or a program that reaches a serial line."""


class Console:
    """One console.

    ``progress`` prints a line for the user every few seconds of waiting.  Time-outs are seconds.
    """

    def __init__(self, spawn: Any, *, progress: Callable[[str], None] | None = None) -> None:
        self._spawn = spawn
        self._spawn._begin()  # noqa: SLF001 - of this file, see _Cleaned
        self._progress = progress or (lambda _line: None)

    @classmethod
    def of_socket(
        cls, line: socket.socket, *, progress: Callable[[str], None] | None = None
    ) -> Console:
        """Return the console behind a socket; reads block in pexpect's select only."""
        spawn = _Socket(
            line,
            timeout=30,
            maxread=4096,
            searchwindowsize=_SEARCH_WINDOW,
            encoding="latin-1",
            use_poll=True,
        )
        return cls(spawn, progress=progress)

    @classmethod
    def of_command(
        cls,
        command: str,
        arguments: Sequence[str],
        *,
        progress: Callable[[str], None] | None = None,
    ) -> Console:
        """Return the console behind a command; raises pexpect.ExceptionPexpect if there is none."""
        if shutil.which(command) is None:
            raise pexpect.ExceptionPexpect(f"{command}: no such command")
        # pexpect encodes the words as it decodes the output.  Latin-1 preserves the bytes of the
        # output, but is not the encoding of file names: the shell gets their exact bytes.
        words = [os.fsencode(word).decode("latin-1") for word in (command, *arguments)]
        spawn = _Command(
            "/bin/sh",
            ["-c", 'exec "$@"', "sh", *words],
            timeout=30,
            maxread=4096,
            searchwindowsize=_SEARCH_WINDOW,
            encoding="latin-1",
            echo=False,
            use_poll=True,
        )
        return cls(spawn, progress=progress)

    @property
    def seen(self) -> str:
        """All that was printed, cleaned."""
        return str(self._spawn.seen)

    def screen(self) -> str:
        """Return the last lines."""
        return "\n".join(self.seen.splitlines()[-_SCREEN_LINES:])

    def type(self, text: str) -> None:
        """Type ``text`` as it is; a line ends with a carriage return.

        Raises ConsoleClosedError.
        """
        try:
            self._spawn.send(text)
        except OSError as error:
            raise self._closed() from error

    def expect(self, texts: Sequence[Text | str], *, timeout: float, what: str) -> int:
        """Wait until one of ``texts`` came, and return which; the rest stays for the next call.

        A str is a pattern.  Raises GuestCrashError for anything in CRASHES at any time,
        ConsoleTimeoutError, ConsoleClosedError.
        """
        patterns = [re.compile(each if isinstance(each, str) else each.pattern) for each in texts]
        crashes = [re.compile(crash.pattern) for crash in CRASHES]
        everything = [*crashes, *patterns, pexpect.TIMEOUT, pexpect.EOF]
        deadline = time.monotonic() + timeout
        reported = time.monotonic()
        while True:
            left = deadline - time.monotonic()
            pause = max(0.0, min(left, _PROGRESS))
            try:
                index: int = self._spawn.expect_list(everything, timeout=pause)
            except OSError as error:
                raise self._closed(what) from error
            if index < len(crashes):
                raise self._crash(CRASHES[index])
            index -= len(crashes)
            if index < len(patterns):
                return index
            if index == len(patterns) + 1:
                raise self._closed(what)
            if time.monotonic() >= deadline:
                raise ConsoleTimeoutError(
                    f"waited {timeout:g} s for {what}; the screen shows:\n{self.screen()}"
                )
            if time.monotonic() - reported >= _PROGRESS:
                reported = time.monotonic()
                self._progress(f"waiting for {what}: {self._last()}")

    @property
    def before(self) -> str:
        """The text before the last match."""
        return str(self._spawn.before or "")

    @property
    def match(self) -> re.Match[str]:
        """The last match."""
        found: re.Match[str] = self._spawn.match
        return found

    def idle(self, seconds: float) -> None:
        """Read for that long; raises GuestCrashError, ConsoleClosedError."""
        try:
            self.expect((), timeout=seconds, what="the guest to be quiet")
        except ConsoleTimeoutError:
            return

    def close(self) -> None:
        """Close the console."""
        self._spawn.close()

    def _last(self) -> str:
        lines = [line for line in self.seen[-2000:].splitlines() if line.strip()]
        return lines[-1].strip()[:72] if lines else "nothing was printed yet"

    def _closed(self, what: str = "") -> ConsoleClosedError:
        waited = f" while waiting for {what}" if what else ""
        return ConsoleClosedError(f"the console is gone{waited}; it ended with:\n{self.screen()}")

    def _crash(self, crash: Text) -> GuestCrashError:
        """Collect the crash report: read to its end, and ask ddb for the stack."""
        start = len(self.seen) - len(str(self._spawn.buffer)) - len(str(self._spawn.after or ""))
        deadline = time.monotonic() + _REPORT
        asked = crash is DDB
        if asked:
            self._spawn.send("bt\r")
        while time.monotonic() < deadline:
            index = self._spawn.expect(
                [DDB.pattern, DDB_MORE.pattern, pexpect.TIMEOUT, pexpect.EOF],
                timeout=_REPORT_QUIET,
            )
            if index == 1:
                self._spawn.send(" ")
            elif index == 0 and not asked:
                asked = True
                self._spawn.send("bt\r")
            else:
                break
        before = self.seen[: max(start, 0)].splitlines()[-_REPORT_BEFORE:]
        lines = [*before, *self.seen[max(start, 0) :].strip("\n").splitlines()]
        return GuestCrashError(crash.name, "\n".join(lines[:_REPORT_LINES]))
