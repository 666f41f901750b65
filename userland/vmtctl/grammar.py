"""The command line as data: commands, options, arguments, and the parser that reads them.

argparse would take more time than the whole command.  Measured with twelve commands, Python 3.11,
and the time of a bare interpreter as 1: ``vmtctl status`` takes 1.5; the import of argparse and
subprocess alone takes 2.3 to 2.7, and with a parser of these tables 3.4, above the goal of 2.5
(bench/startup.py).  The manual page and the completions need the same tables anyway.
"""

from __future__ import annotations

from vmtctl.exits import USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Option:
    """An option: its spellings, and the name of its value unless it is a switch."""

    def __init__(self, *spellings: str, help: str, value: str = "") -> None:  # noqa: A002
        self.spellings = spellings
        self.help = help
        self.value = value

    @property
    def name(self) -> str:
        """The long spelling without its dashes."""
        return self.spellings[-1].lstrip("-")


class Argument:
    """A word after the verb. ``count`` is "1", "?", "*" or "rest" (everything that follows).

    ``choices`` are the only valid words, ``suggested`` words that completions offer.
    """

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002
        *,
        count: str = "1",
        choices: Sequence[str] = (),
        suggested: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.help = help
        self.count = count
        self.choices = tuple(choices)
        self.suggested = (*choices, *suggested)

    @property
    def shown(self) -> str:
        """The argument as a usage line shows it."""
        name = self.name.upper()
        return {"1": name, "?": f"[{name}]", "*": f"[{name} ...]", "rest": f"-- {name} ..."}[
            self.count
        ]


class Command:
    """A verb, or a part of one. ``changes`` is whether it changes the system."""

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        text: str = "",
        options: Sequence[Option] = (),
        arguments: Sequence[Argument] = (),
        parts: Sequence[Command] = (),
        examples: Sequence[tuple[str, str]] = (),
        changes: bool = False,
    ) -> None:
        self.name = name
        self.summary = summary
        self.text = text
        self.options = tuple(options)
        self.arguments = tuple(arguments)
        self.parts = tuple(parts)
        self.examples = tuple(examples)
        self.changes = changes

    def part(self, name: str) -> Command | None:
        """Return the part of that name."""
        return next((part for part in self.parts if part.name == name), None)


DRY_RUN = Option("-n", "--dry-run", help="Print the steps, and change nothing.")

COMMON = (
    Option("-h", "--help", help="Print this help."),
    Option("-q", "--quiet", help="Print errors only."),
    Option("-v", "--verbose", help="Print each tool that is run, and its output."),
    Option("--json", help="Print one JSON object instead of text."),
    Option("-R", "--root", value="DIR", help="Work on the files of the system image in DIR."),
    Option(
        "--tools-root",
        value="DIR",
        help="Use the system's tools, and without -R its files, below DIR; for tests.",
    ),
)
VERSION = Option("--version", help="Print the version.")


class Values:
    """The parsed command line: switches, options with values, and arguments."""

    def __init__(self) -> None:
        self.path: tuple[str, ...] = ()
        self.typed: tuple[str, ...] = ()  # the whole command line
        self.switches: dict[str, int] = {}
        self.options: dict[str, str] = {}
        self.arguments: dict[str, list[str]] = {}

    def on(self, name: str) -> bool:
        """Whether the switch was given."""
        return name in self.switches

    def option(self, name: str) -> str | None:
        """Return the value of an option, or None."""
        return self.options.get(name)

    def word(self, name: str) -> str | None:
        """Return the value of a single argument, or None."""
        words = self.arguments.get(name)
        return words[0] if words else None

    def words(self, name: str) -> list[str]:
        """Return all words of an argument."""
        return self.arguments.get(name, [])


class UsageError(Failure):
    """The command line is wrong."""

    def __init__(self, message: str, path: Sequence[str] = ()) -> None:
        hint = f"see {' '.join(('vmtctl', *path))} --help"
        super().__init__(message, hint=hint, status=USAGE)


def options_of(command: Command) -> tuple[Option, ...]:
    """Return all options of ``command``, its own first."""
    return (*command.options, *((DRY_RUN,) if command.changes else ()), *COMMON)


def walk(commands: Sequence[Command]) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield every command with its path, a verb before its parts."""
    for command in commands:
        yield (command.name,), command
        for path, part in walk(command.parts):
            yield (command.name, *path), part


def quoted(word: str) -> str:
    """Return ``word`` quoted for sh(1); shlex takes more time than the whole parser."""
    plain = "%+,-./:=@_"
    if word and all(c in plain or (c.isascii() and c.isalnum()) for c in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def closest(word: str, words: Sequence[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` or an empty string."""
    import difflib

    near = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def parse(commands: Sequence[Command], argv: Sequence[str]) -> tuple[Command | None, Values]:
    """Read ``argv``.

    Returns the command (None when argv has no command) and the values. Raises UsageError; with
    ``--help`` or ``--version``, missing arguments are not an error.
    """
    values = Values()
    values.typed = tuple(argv)
    command: Command | None = None
    words: list[str] = []
    rest: list[str] | None = None
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word == "--":
            rest = list(argv[index:])
            break
        if word.startswith("-") and word != "-" and not _is_number(word):
            index = _read_option(command, word, argv, index, values)
            continue
        choices = commands if command is None else command.parts
        if choices:
            found = next((entry for entry in choices if entry.name == word), None)
            if found is None:
                there = [entry.name for entry in choices]
                what = " ".join(("unknown command", *values.path))
                raise UsageError(
                    f"{what} {word!r}{closest(word, there)}: choose from {', '.join(there)}",
                    values.path,
                )
            command = found
            values.path = (*values.path, word)
            continue
        words.append(word)
        if command is not None and command.arguments and command.arguments[-1].count == "rest":
            # `vmtctl run CMD -x` without the dashes: what follows belongs to CMD.
            words.extend(argv[index:])
            break
    if command is None or values.on("help") or values.on("version"):
        return command, values
    if rest is not None:
        words += rest
    if command.parts:
        names = ", ".join(part.name for part in command.parts)
        raise UsageError(f"{' '.join(values.path)} needs a command: {names}", values.path)
    _place(command, words, values)
    return command, values


def _is_number(word: str) -> bool:
    return word[1:].isdigit()


def _read_option(
    command: Command | None, word: str, argv: Sequence[str], index: int, values: Values
) -> int:
    known = options_of(command) if command is not None else (VERSION, DRY_RUN, *COMMON)
    name, equals, attached = word.partition("=")
    if not word.startswith("--") and len(word) > 2:
        # -nv is -n -v, and -R/mnt is -R /mnt.
        first = next((entry for entry in known if word[:2] in entry.spellings), None)
        if first is not None and first.value:
            name, equals, attached = word[:2], "=", word[2:]
        else:
            for letter in word[1:]:
                _read_option(command, f"-{letter}", (), 0, values)
            return index
    option = next((entry for entry in known if name in entry.spellings), None)
    if option is None:
        spellings = [spelling for entry in known for spelling in entry.spellings]
        where = f" of {' '.join(values.path)}" if values.path else ""
        raise UsageError(f"no option {name}{where}{closest(name, spellings)}", values.path)
    if not option.value:
        if equals:
            raise UsageError(f"{name} takes no value", values.path)
        values.switches[option.name] = values.switches.get(option.name, 0) + 1
        return index
    if not equals:
        if index >= len(argv):
            raise UsageError(f"{name} needs a value: {name} {option.value}", values.path)
        attached = argv[index]
        index += 1
    if not attached:
        # Most likely an unset shell variable; vmtctl must not use another directory instead.
        raise UsageError(f"{name} is empty: {name} {option.value}", values.path)
    values.options[option.name] = attached
    return index


def _place(command: Command, words: list[str], values: Values) -> None:
    for argument in command.arguments:
        if argument.count in {"*", "rest"}:
            taken = words
            words = []
        else:
            taken = words[:1]
            words = words[1:]
        if not taken and argument.count in {"1", "rest"}:
            raise UsageError(
                f"{' '.join(values.path)}: {argument.name.upper()} is missing", values.path
            )
        if argument.choices and taken and taken[0] not in argument.choices:
            raise UsageError(
                f"{argument.name.upper()} is {taken[0]!r}{closest(taken[0], argument.choices)}: "
                f"there are {', '.join(argument.choices)}",
                values.path,
            )
        values.arguments[argument.name] = taken
    if words:
        raise UsageError(f"{' '.join(values.path)}: unexpected argument: {words[0]!r}", values.path)


def usage(path: Sequence[str], command: Command) -> str:
    """Return the usage line of a command."""
    pieces = ["vmtctl", *path]
    for option in (*command.options, *((DRY_RUN,) if command.changes else ())):
        shown = f"{option.spellings[0]} {option.value}" if option.value else option.spellings[0]
        pieces.append(f"[{shown}]")
    if command.parts:
        pieces.append("|".join(part.name for part in command.parts))
    pieces += [argument.shown for argument in command.arguments]
    return " ".join(pieces)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    width = min(max((len(left) for left, _ in rows), default=0), 24)
    lines = []
    for left, right in rows:
        if len(left) > width:
            lines.append(f"  {left}")
            left = ""  # noqa: PLW2901
        lines.append(f"  {left:<{width}}  {right}")
    return "\n".join(lines) + "\n"


def _option_rows(options: Sequence[Option]) -> list[tuple[str, str]]:
    return [
        (
            ", ".join(option.spellings) + (f" {option.value}" if option.value else ""),
            option.help,
        )
        for option in options
    ]


def help_of(path: Sequence[str], command: Command) -> str:
    """Return the help text of one command."""
    sections = [f"usage: {usage(path, command)}\n", f"{command.summary}.\n"]
    if command.text:
        sections.append(command.text.strip() + "\n")
    if command.parts:
        sections.append(
            "parts:\n" + _table([(part.name, part.summary + ".") for part in command.parts])
        )
    if command.arguments:
        sections.append(
            "arguments:\n" + _table([(word.name.upper(), word.help) for word in command.arguments])
        )
    sections.append("options:\n" + _table(_option_rows(options_of(command))))
    if command.examples:
        sections.append("examples:\n" + _table(command.examples))
    return "\n".join(sections)


def help_of_all(
    summary: str, commands: Sequence[Command], examples: Sequence[tuple[str, str]]
) -> str:
    """Return the help text of the whole command."""
    return "\n".join(
        [
            "usage: vmtctl VERB [options] [arguments]\n",
            summary + "\n",
            "verbs:\n" + _table([(entry.name, entry.summary + ".") for entry in commands]),
            "options:\n" + _table(_option_rows((VERSION, *COMMON))),
            "examples:\n" + _table(examples),
            "`vmtctl VERB --help` describes a verb; vmtctl(8) is the manual.\n",
        ]
    )
