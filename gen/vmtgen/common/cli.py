"""The frame of a command: finds the verb, runs it, and turns errors into exit statuses.

Each verb is a module of one package with ``SUMMARY``, ``add_arguments(parser)`` and
``run(args) -> int``; each module there is a verb, without a list of them.  Only the chosen one is
imported, so that a verb starts fast and does not need the packages of the others.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from vmtgen.common import errors
from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from _typeshed import SupportsWrite


# Objects allocated and not freed between two collections; a short run allocates fewer.
_GARBAGE = 200_000


class Verb(Protocol):
    """The interface of a verb's module."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the verb and return the exit status."""


@dataclass(frozen=True)
class Program:
    """A command and its verbs.

    ``path`` is where the modules of the verbs are, and ``load`` imports one by its module's name.
    ``packages`` are those that ``pip install 'netbsd-vmt[EXTRA]'`` installs, by their import
    names.  ``statuses`` are the command's own exit statuses, below 64.
    """

    name: str
    version: str
    description: str
    epilog: str
    path: Iterable[str]
    load: Callable[[str], Verb]
    extra: str
    packages: frozenset[str]
    statuses: Mapping[int, str]

    @property
    def verbs(self) -> tuple[str, ...]:
        """The verbs as the user writes them, sorted."""
        # pkgutil.iter_modules() would import inspect first, which costs more than argparse.
        files = (file for path in self.path for file in Path(path).iterdir())
        return tuple(
            sorted(
                file.stem.replace("_", "-")
                for file in files
                if file.suffix == ".py" and not file.name.startswith("_")
            )
        )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's formatter with a given width: to find the width it would import shutil."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Return the width of the terminal, as shutil.get_terminal_size() does."""
    with contextlib.suppress(ValueError):
        given = int(os.environ.get("COLUMNS", ""))
        if given > 0:
            return given
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # no standard output, or no terminal
        return 80


class _Parser(argparse.ArgumentParser):
    """argparse with the usage status of sysexits(3) and a pointer to the help."""

    def error(self, message: str) -> NoReturn:
        """Print the error and where the help is, then exit with 64."""
        _write_stderr(f"{self.prog}: error: {message}\n{self.prog}: see {self.prog} --help\n")
        raise SystemExit(errors.USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print a help text; report a failed write, which argparse would hide."""
        (file or sys.stderr).write(message)


def main(program: Program, argv: Sequence[str] | None = None) -> int:
    """Run ``program`` with ``argv`` (the process's own arguments by default)."""
    # What a start imports and builds is never freed: a collection every 700 objects would take a
    # twentieth of the time of a short run.
    gc.set_threshold(_GARBAGE, *gc.get_threshold()[1:])
    # The process returns all memory at its end; Python would collect twice before that, a tenth of
    # the time of a short run.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    try:
        try:
            status = _dispatch(program, arguments)
        except SystemExit:  # after a help text, or a wrong command line
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        # A command that handles other signals, too, puts the signal's name into the error.
        _write_stderr(f"{program.name}: {str(error) or 'interrupted'}\n")
        return getattr(error, "exit_status", errors.INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output has ended, as in `vmtgen show FILE | head`.
        _settle(sys.stdout)
        return 0
    except Exception as error:  # an internal error must not look like an error of the user
        _settle(sys.stdout)
        return _report(program, error)
    return status


def _open_standard_streams() -> None:
    """Put /dev/null where the shell closed a standard stream, as with ``>&-``.

    Python sets the stream to None, and the next opened file would get its descriptor: a tool that
    the command runs would then write into that file.
    """
    # open() returns the lowest free descriptor: above 2, all three streams are open.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _settle(stream: SupportsWrite[str]) -> None:
    """Flush a stream, or drop its buffer: Python would try again, and fail, at exit."""
    try:
        stream.flush()  # type: ignore[attr-defined]
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]


def _write_stderr(text: str) -> None:
    """Write to stderr; if that fails, only the exit status reports the error."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    _settle(sys.stderr)


def _statuses(program: Program) -> str:
    rows = {**program.statuses, **errors.STATUSES}
    lines = [f"  {number:<4}{text}" for number, text in rows.items()]
    return "\n".join(["exit statuses:", *lines])


def _dispatch(program: Program, arguments: list[str]) -> int:
    name, names = program.name, program.verbs
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = _Parser(
        prog=name,
        description=program.description,
        epilog=f"{program.epilog}\n{_statuses(program)}\n\n`{name} VERB --help` explains a verb.\n",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"{name} {program.version}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    if chosen is not None and chosen not in names:
        import difflib  # noqa: PLC0415 - only on the way to an error

        near = difflib.get_close_matches(chosen, names, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        parser.error(f"unknown command {chosen!r}{meant}: choose from {', '.join(names)}")
    # Only the help needs the other verbs, for their summaries.
    needed = {chosen} if chosen or "--version" in arguments else set(names)
    modules = {each: program.load(each.replace("-", "_")) for each in names if each in needed}
    for each, module in modules.items():
        verb_parser = verbs.add_parser(
            each,
            help=module.SUMMARY,
            description=module.SUMMARY[:1].upper() + module.SUMMARY[1:] + ".",
            formatter_class=_Formatter,
        )
        module.add_arguments(verb_parser)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        # argparse would list the program's options, not the verb's.
        (verbs.choices.get(args.verb) or parser).error(
            f"unrecognized arguments: {' '.join(unknown)}"
        )
    if args.verb is None:
        parser.print_help(sys.stderr)
        return errors.USAGE
    return modules[args.verb].run(args)


def _report(program: Program, error: Exception) -> int:
    """Print an error, then what to do next, and return its exit status."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in program.packages:
            error = errors.UnavailableError(
                f"the Python package {package!r} is not installed",
                hint=f"pip install 'netbsd-vmt[{program.extra}]'",
            )
    elif isinstance(error, OSError):
        error = errors.from_os_error(error)
    if not isinstance(error, errors.ReportedError):
        return _internal_error(program, error)
    problems = getattr(error, "problems", None)
    if problems:
        # Each error is on a line that begins with FILE:LINE, which editors recognize.
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        _write_stderr(f"{error}\n{program.name}: {count}\n")
    else:
        _write_stderr(f"{program.name}: error: {error}\n")
    if error.hint:
        _write_stderr(f"hint: {error.hint}\n")
    return error.exit_status


def _internal_error(program: Program, error: Exception) -> int:
    _write_stderr(f"{program.name}: internal error: {type(error).__name__}: {error}\n")
    variable = f"{program.name.upper()}_TRACEBACK"
    if os.environ.get(variable):
        import traceback  # noqa: PLC0415 - only on the way to an error

        traceback.print_exception(error)
    else:
        _write_stderr(f"hint: {variable}=1 in the environment prints the traceback\n")
    return errors.SOFTWARE
