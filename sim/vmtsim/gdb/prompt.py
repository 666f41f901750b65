"""The user's commands while a guest is served, typed at a prompt or piped in."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from vmtsim.gdb.session import Session

PROMPT = "vmtsim> "


class CommandError(Exception):
    """A command that is none, or with arguments that make no sense."""


@dataclass(frozen=True)
class Command:
    """One command: its arguments in words, what it does in words, and what it does."""

    usage: str
    text: str
    run: Callable[[Session, str], str]


def _power(operation: str) -> Callable[[Session, str], str]:
    def run(session: Session, argument: str) -> str:
        _none(argument)
        if not session.host.power.request(operation):
            return (
                f"{operation} is not offered: the guest has not registered "
                "tools.capability.statechange (yet)"
            )
        return f"asked the guest: {operation}"

    return run


def _none(argument: str) -> None:
    if argument:
        raise CommandError(f"no arguments here, not {argument!r}")


def _ping(session: Session, argument: str) -> str:
    _none(argument)
    session.host.send("ping")
    return "sent ping"


def _send(session: Session, argument: str) -> str:
    if not argument:
        raise CommandError("send MESSAGE")
    session.host.send(argument)
    return f"sent {argument}"


def _set(session: Session, argument: str) -> str:
    key, _, value = argument.partition(" ")
    if not key or not value:
        raise CommandError("set KEY VALUE")
    if key.startswith("guestinfo."):
        name = key.removeprefix("guestinfo.")
        if not session.host.guestinfo.set_variable(name, value.encode()):
            return f"no room for {key}: the host limits all variables together"
        return f"{key} is {value!r} for whoever asks with info-get"
    session.host.tclo.set_option(key, value)
    return f"sent Set_Option {key} {value}"


def _time(session: Session, argument: str) -> str:
    try:
        seconds = float(argument)
    except ValueError:
        raise CommandError("time +SECONDS or time -SECONDS") from None
    if not abs(seconds) < 1e10:
        raise CommandError("time +SECONDS or time -SECONDS, within three centuries")
    session.host.clock.jump(round(seconds * 1e9))
    return f"the host's clock jumped by {seconds:+g} s"


def _drop(session: Session, argument: str) -> str:
    which = argument or "tclo"
    if which not in {"tclo", "rpci", "all"}:
        raise CommandError("drop, drop rpci or drop all")
    count = session.host.lose_channel(which)
    return f"the host forgot {count} channel{'s' if count != 1 else ''}"


def _no_high_bandwidth(session: Session, argument: str) -> str:
    _none(argument)
    on = not session.host.context.options.high_bandwidth

    def change(session: Session) -> None:
        channels = session.host.transport.channels.values()
        if any(each.sending is not None or each.reading is not None for each in channels):
            # A message was offered the other way: it has to end first.
            session.commands.append(change)
            return
        context = session.host.context
        session.host.options = replace(context.options, high_bandwidth=on)
        context.options = session.host.options

    change(session)
    return f"high bandwidth is {'offered again' if on else 'not offered any more'}"


def _checkpoint(session: Session, argument: str) -> str:
    _none(argument)
    session.host.faults.arm("checkpoint")
    session.host.checkpoint()
    return "a checkpoint strikes the next payload"


def _status(session: Session, argument: str) -> str:
    _none(argument)
    host, server = session.host, session.server
    told = host.summary()
    where = ", ".join(site.text() for site in server.armed.values()) or "nowhere"
    lines = [
        f"guest      {'runs' if server.client.running else 'stands'}; breakpoints {where}",
        f"calls      {told['calls']} served, {server.served['foreign']} passed on",
        f"tools      {told['tools']}, {told['resets']} resets, {told['channels']} channels open",
        f"told       {', '.join(sorted(told['capabilities'])) or 'no capabilities'}",
        f"violations {told['violations']}",
    ]
    return "\n".join(lines)


def _help(session: Session, argument: str) -> str:
    del session, argument
    width = max(len(command.usage) for command in COMMANDS.values())
    return "\n".join(f"{c.usage:<{width}}  {c.text}" for c in COMMANDS.values())


def _quit(session: Session, argument: str) -> str:
    _none(argument)
    session.end("leaving; the guest goes on without a host")
    return ""


COMMANDS: dict[str, Command] = {
    "halt": Command("halt", "ask the guest to shut down", _power("halt")),
    "reboot": Command("reboot", "ask the guest to reboot", _power("reboot")),
    "suspend": Command("suspend", "tell the guest that it will be suspended", _power("suspend")),
    "resume": Command("resume", "tell the guest that it was resumed", _power("resume")),
    "ping": Command("ping", "send a ping", _ping),
    "send": Command("send MESSAGE", "send any TCLO message", _send),
    "set": Command(
        "set KEY VALUE", "send Set_Option, or set the variable where KEY is guestinfo.*", _set
    ),
    "time": Command("time +SECONDS", "let the host's clock jump (-SECONDS: back)", _time),
    "drop": Command("drop [rpci|all]", "forget the TCLO channel (or others) without a word", _drop),
    "nohb": Command("nohb", "stop offering high bandwidth, or offer it again", _no_high_bandwidth),
    "checkpoint": Command("checkpoint", "let a checkpoint strike a message half way", _checkpoint),
    "status": Command("status", "say how things stand", _status),
    "help": Command("help", "list the commands", _help),
    "quit": Command("quit", "leave; the guest runs on", _quit),
}


def execute(session: Session, line: str) -> str:
    """Carry out one line and return what to say; raises CommandError."""
    name, _, argument = line.strip().partition(" ")
    if not name:
        return ""
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise CommandError(f"no command {name!r}{meant}: there are {', '.join(COMMANDS)}")
    session.trace.emit("operator", command=line.strip())
    return command.run(session, argument.strip())


def deed(line: str) -> Callable[[Session], None]:
    """Return what the session's loop does for one line: carry it out and say what came of it."""

    def act(session: Session) -> None:
        try:
            said = execute(session, line)
        except CommandError as error:
            said = str(error)
        for text in said.splitlines():
            session.say(text)

    return act


class Prompt:
    """Reads lines beside the loop: with history and completion on a terminal, else as they come.

    The end of the input leaves on a terminal; a pipe that has ended just says no more.
    """

    def __init__(self, session: Session, source: TextIO) -> None:
        self._session = session
        self._source = source
        self.terminal = source.isatty()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Begin to read."""
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
        # The thread may still sit in input() when we leave: give the terminal back as it was.
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
                        self._session.commands.append(deed("quit"))
                        return
                if not self.terminal and not line:
                    return
                self._session.commands.append(deed(line))

    @property
    def above(self) -> str:
        """What clears the prompt, so that text can be printed in its place."""
        return "\r\033[K" if self.terminal else ""

    def show(self, line: str) -> None:
        """Print a line; on a terminal above what is being typed."""
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
