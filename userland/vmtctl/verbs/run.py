"""``vmtctl run -- COMMAND``: runs a command that needs the channel."""

from __future__ import annotations

import os
import signal
import sys
import time

from vmtctl import device, guest, settings
from vmtctl.exits import USAGE, Failure
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from vmtctl.context import Context

# Signals that would end vmtctl are passed on to the command, so that vmt0 is attached again in any
# case. Not among them: signals that cannot be caught, that report an error of this process, that
# stop or continue it, and that are ignored by default (NetBSD's signal(7)). PIPE and XFSZ appear
# as errors of a write.
_NOT_PASSED_ON = (
    "KILL", "STOP", "ABRT", "BUS", "EMT", "FPE", "ILL", "SEGV", "SYS", "TRAP", "TSTP", "TTIN",
    "TTOU", "CONT", "CHLD", "URG", "WINCH", "INFO", "IO", "PWR", "PIPE", "XFSZ",
)  # fmt: skip
_SIGNALS = signal.valid_signals() - {getattr(signal, f"SIG{name}", None) for name in _NOT_PASSED_ON}

# These request an action of a program, and often do not end it.
_REQUESTS = (signal.SIGUSR1, signal.SIGUSR2)

# Python ignores these two; the command gets their defaults.
_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ)

GRACE = 10.0

# The statuses of sh(1) and env(1).
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class _Child:
    """The command, and the signals that arrive while it runs."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.pid = 0
        self.signal = 0
        self.deadline = 0.0
        # The terminal sends Ctrl-C to the command as well.
        self.shares_terminal = _in_foreground()
        # Signals that were ignored at the start (nohup) stay ignored.
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take)

    def _take(self, number: int, _: FrameType | None) -> None:
        if not self.signal and not (self.pid and number in _REQUESTS):
            self.signal = number
            self.deadline = time.monotonic() + self.grace
        from_terminal = self.shares_terminal and number in {signal.SIGINT, signal.SIGQUIT}
        if self.pid and not from_terminal:
            self._send(number)

    def _send(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def start(self, words: list[str], *, output: int) -> int | None:
        """Start the command; an exit status when that is not possible.

        Its output goes to the file descriptor ``output``.
        """
        if self.signal:
            return 128 + self.signal
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            # The command gets the caller's environment and signal mask.
            self.pid = os.posix_spawnp(
                words[0],
                words,
                os.environ,
                file_actions=((os.POSIX_SPAWN_DUP2, output, 1),),
                setsigmask=blocked,
                setsigdef=_DEFAULT,
            )
        except FileNotFoundError:
            sys.stderr.write(f"vmtctl: {words[0]}: not found\n")
            return NOT_FOUND
        except OSError as error:
            sys.stderr.write(f"vmtctl: {words[0]}: {error.strerror}\n")
            return NOT_EXECUTABLE
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return None

    def wait(self) -> int:
        """Wait for the command's end; its exit status, 128 + signal when one ended it."""
        pause = 0.005
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.pid = 0
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if self.deadline and time.monotonic() >= self.deadline:
                self._send(signal.SIGKILL)
                self.deadline = 0.0
            # A signal cuts the sleep short; its handler has run by then.
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def run(context: Context) -> int:
    """Detach vmt0, run the command, attach vmt0; the status is the command's."""
    context.no_image()
    words = _below_tools_root(context, context.values.words("command"))
    grace = _grace(context)
    if context.dry_run:
        device.detach(context)
        context.step(f"run {' '.join(words)}")
        context.step(f"attach {guest.DEVICE}")
        context.finish(changed=True)
        return 0
    context.need_root(f"detach {guest.DEVICE}")
    # The messages of vmtctl must not mix with the command's output.
    context.quiet = context.quiet or not context.verbose
    with Lock(context, f"run {words[0]}"):
        child = _Child(grace)
        status = 1
        kept = settings.current(context)
        try:
            device.detach(context)
            # With --json, standard output is for one JSON object alone.
            failed = child.start(words, output=2 if context.json else 1)
            status = child.wait() if failed is None else failed
        finally:
            back = _give_back(context, kept)
    context.finish(changed=True, command=words, status=status, attached=back)
    return status


def _below_tools_root(context: Context, words: list[str]) -> list[str]:
    """Use a program in --tools-root, where it exists, as for the tools."""
    inside = context.tools.root + words[0]
    if context.tools.root and words[0].startswith("/") and os.access(inside, os.X_OK):
        return [inside, *words[1:]]
    return words


def _grace(context: Context) -> float:
    text = context.values.option("grace")
    if text is None:
        return GRACE
    try:
        grace = float(text)
    except ValueError:
        grace = -1.0
    if not 0 <= grace <= 86400:
        raise Failure(f"--grace is {text!r}: give seconds, 0 to 86400", status=USAGE)
    return grace


def _give_back(context: Context, kept: dict[str, str]) -> bool:
    try:
        device.attach(context, kept)
    except Failure as error:
        # The status is the command's; report this anyway.
        context.warn(f"{guest.DEVICE} stays detached: {error}")
        context.warn(f"hint: {error.hint or 'then: ' + context.command('attach')}")
        return False
    return True
