"""The user's commands while a guest is served, typed at a prompt or piped in."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import sys
import threading
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.core.verb import ArgumentError
from vmtsim.host.operator import OPERATIONS, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from vmtsim.gdb.session import Session
    from vmtsim.host.operator import Operation

PROMPT = "vmtsim> "


@dataclass(frozen=True)
class Command:
    """One command: its arguments, its description, and its function."""

    usage: str
    text: str
    run: Callable[[Session, str], str]


def _none(argument: str) -> None:
    if argument:
        raise ArgumentError(f"expected no arguments, not {argument!r}")


def _operate(operation: Operation) -> Callable[[Session, str], str]:
    def run(session: Session, argument: str) -> str:
        try:
            return operation.carry_out(session.host, operation.parse(argument))
        except RefusedError as refusal:
            return str(refusal)

    return run


def _status(session: Session, argument: str) -> str:
    _none(argument)
    host, server = session.host, session.server
    summary = host.summary()
    where = ", ".join(site.text() for site in server.armed.values()) or "nowhere"
    lines = [
        f"guest      {'running' if server.client.running else 'stopped'}; breakpoints {where}",
        f"calls      {summary['calls']} served, {server.served['foreign']} passed on",
        (
            f"tools      {summary['tools']}, {summary['resets']} resets, "
            f"{summary['channels']} channels open"
        ),
        f"capable    {', '.join(sorted(summary['capabilities'])) or 'no capabilities'}",
        f"violations {summary['violations']}",
    ]
    return "\n".join(lines)


def _help(session: Session, argument: str) -> str:
    del session, argument
    width = max(len(command.usage) for command in COMMANDS.values())
    return "\n".join(f"{c.usage:<{width}}  {c.text}" for c in COMMANDS.values())


def _quit(session: Session, argument: str) -> str:
    _none(argument)
    session.end("leaving; the guest continues without a host")
    return ""


COMMANDS: dict[str, Command] = {
    **{each.name: Command(each.usage, each.text, _operate(each)) for each in OPERATIONS.values()},
    "status": Command("status", "print the status", _status),
    "help": Command("help", "list the commands", _help),
    "quit": Command("quit", "exit; the guest continues", _quit),
}


def execute(session: Session, line: str) -> str:
    """Execute one line and return the output; raises ArgumentError."""
    name, _, argument = line.strip().partition(" ")
    if not name:
        return ""
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ArgumentError(
            f"unknown command {name!r}{meant}: expected one of {', '.join(COMMANDS)}"
        )
    session.trace.emit("operator", command=line.strip())
    return command.run(session, argument.strip())


def action_of(line: str) -> Callable[[Session], None]:
    """Return the function for the session's loop that executes a line and prints the output."""

    def act(session: Session) -> None:
        try:
            answer = execute(session, line)
        except ArgumentError as error:
            answer = str(error)
        for text in answer.splitlines():
            session.print_line(text)

    return act


class Prompt:
    """Reads lines concurrently with the loop: on a terminal with history and completion.

    On a terminal the end of the input ends the session; the end of a pipe does not.
    """

    def __init__(self, session: Session, source: TextIO) -> None:
        self._session = session
        self._source = source
        self.terminal = source.isatty()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Start reading."""
        if self.terminal:
            self._prepare()
        self._thread.start()

    def _prepare(self) -> None:
        try:
            import readline  # noqa: PLC0415 - not on every system
            import termios  # noqa: PLC0415
        except ImportError:
            return
        readline.parse_and_bind("tab: complete")
        readline.set_completer(_complete)
        # The thread may still be in input() at exit: restore the terminal.
        with contextlib.suppress(termios.error):
            before = termios.tcgetattr(self._source)
            atexit.register(termios.tcsetattr, self._source, termios.TCSADRAIN, before)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                try:
                    line = input(PROMPT) if self.terminal else self._source.readline()
                except EOFError:
                    line = ""
                    if self.terminal:
                        self._session.commands.append(action_of("quit"))
                        return
                if not self.terminal and not line:
                    return
                self._session.commands.append(action_of(line))

    @property
    def above(self) -> str:
        """The sequence that clears the prompt, so that text can be printed in its place."""
        return "\r\033[K" if self.terminal else ""

    def show(self, line: str) -> None:
        """Print a line; on a terminal above the line being typed."""
        if not self.terminal:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            return
        typed = ""
        with contextlib.suppress(ImportError):
            import readline  # noqa: PLC0415

            typed = readline.get_line_buffer()
        sys.stdout.write(f"{self.above}{line}\n{PROMPT}{typed}")
        sys.stdout.flush()


def _complete(text: str, state: int) -> str | None:
    found = [name for name in COMMANDS if name.startswith(text)]
    return found[state] if state < len(found) else None
