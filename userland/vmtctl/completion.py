"""Completions for shells, made from the tables of the parser."""

from __future__ import annotations

from vmtctl.commands import COMMANDS
from vmtctl.grammar import VERSION, Command, Option, options_of, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _spellings(options: Sequence[Option]) -> list[str]:
    return [spelling for option in options for spelling in option.spellings]


def _words(command: Command) -> list[str]:
    """Return the words that may follow the command, without options."""
    suggested = [word for argument in command.arguments for word in argument.suggested]
    return [part.name for part in command.parts] + suggested


def _single(text: str) -> str:
    """Return ``text`` escaped for single quotes in a shell."""
    return text.replace("'", "'\\''")


def bash() -> str:
    """Return the completions for bash.

    They offer nothing where bash's own completion of commands and files is right: after ``--``,
    for the words of a command that is run, and for the value of an option.
    """
    commands = list(walk(COMMANDS))
    cases = []
    for path, command in commands:
        words = " ".join([*_words(command), *_spellings(options_of(command))])
        cases.append(f'\t"{" ".join(path)}") words="{words}" ;;')
    parts = " ".join(command.name for command in COMMANDS if command.parts)
    rest = " ".join(
        command.name
        for command in COMMANDS
        if any(argument.count == "rest" for argument in command.arguments)
    )
    values = {
        spelling
        for _, command in commands
        for option in options_of(command)
        if option.value
        for spelling in option.spellings
    }
    first = " ".join(
        [*(command.name for command in COMMANDS), "--version", *_spellings(COMMANDS[0].options)]
    )
    return "\n".join([
        "# bash completion for vmtctl",
        "_vmtctl()",
        "{",
        '\tlocal current="${COMP_WORDS[COMP_CWORD]}" path="" skip="" word words',
        "\tCOMPREPLY=()",
        '\tfor word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '\t\tif [ -n "$skip" ]; then skip=""; continue; fi',
        "\t\tcase $word in",
        "\t\t--) return ;;",
        f"\t\t{'|'.join(sorted(values))}) skip=1 ;;",
        "\t\t-*) ;;",
        '\t\t*) if [ -z "$path" ]; then path=$word',
        f'\t\t   elif [[ " {parts} " == *" $path "* ]]; then path="$path $word"',
        f'\t\t   elif [[ " {rest} " == *" $path "* ]]; then return',
        "\t\t   fi ;;",
        "\t\tesac",
        "\tdone",
        '\t[ -z "$skip" ] || return',
        "\tcase $path in",
        f'\t"") words="{first} {" ".join(_spellings(options_of(Command("", ""))))}" ;;',
        *cases,
        '\t*) words="" ;;',
        "\tesac",
        '\tmapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
        "}",
        "complete -o default -F _vmtctl vmtctl",
        "",
    ])  # fmt: skip


def fish() -> str:
    """Return the completions for fish."""
    names = " ".join(command.name for command in COMMANDS)
    lines = ["# fish completion for vmtctl"]
    none = f"not __fish_seen_subcommand_from {names}"
    lines += [
        f"complete -c vmtctl -f -n '{none}' -a {command.name} -d '{_single(command.summary)}'"
        for command in COMMANDS
    ]
    lines.append(_fish_option(none, VERSION))
    for path, command in walk(COMMANDS):
        seen = " ".join(f"__fish_seen_subcommand_from {name};and" for name in path)
        where = seen.removesuffix(";and").replace(";and", "; and")
        lines += [f"complete -c vmtctl -f -n '{where}' -a {word}" for word in _words(command)]
        lines += [_fish_option(where, option) for option in options_of(command)]
    return "\n".join(lines) + "\n"


def _fish_option(where: str, option: Option) -> str:
    spelled = " ".join(
        f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}"
        for spelling in option.spellings
    )
    value = " -r" if option.value else ""
    return f"complete -c vmtctl -n '{where}' {spelled}{value} -d '{_single(option.help)}'"


def zsh() -> str:
    """Return the completions for zsh."""
    lines = [
        "#compdef vmtctl",
        "# zsh completion for vmtctl",
        "_vmtctl() {",
        "  local -a found",
        '  local verb="${${(@)words[2,CURRENT-1]:#-*}[1]}"',
        '  local part="${${(@)words[2,CURRENT-1]:#-*}[2]}"',
        '  case "$verb $part" in',
        "  ' ') found=(" + " ".join(
            f"'{command.name}:{_single(command.summary)}'" for command in COMMANDS
        ) + ") ;;",
    ]  # fmt: skip
    # A part's pattern comes before that of its verb, which matches everything.
    for path, command in sorted(walk(COMMANDS), key=lambda entry: -len(entry[0])):
        pattern = f"'{' '.join(path)}'" if len(path) == 2 else f"'{path[0]} '*"
        rows = [f"'{word}'" for word in _words(command)]
        rows += [
            f"'{spelling}:{_single(option.help)}'"
            for option in options_of(command)
            for spelling in option.spellings
        ]
        lines.append(f"  {pattern}) found=({' '.join(rows)}) ;;")
    lines += ["  esac", "  _describe vmtctl found || _files", "}", '_vmtctl "$@"', ""]
    return "\n".join(lines)


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "fish": fish, "zsh": zsh}
