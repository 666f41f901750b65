"""The command ``vmtgen``: finds the verb, runs it, and turns errors into exit statuses.

Each verb is a module in vmtgen.verbs with ``SUMMARY``, ``add_arguments(parser)`` and
``run(args) -> int``. Only the chosen one is imported, so that a verb starts fast and does not
need the packages of the others.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO, cast

from vmtgen import __version__
from vmtgen.common import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import SupportsWrite

# In the order in which a person meets them.
VERBS = ("generate", "build", "lint", "show", "kpi", "dist", "upstream")

_EPILOGUE = """\
examples:
  vmtgen generate            write kmod/ and docs/PROTOCOL.md from specs/ and templates/
  vmtgen generate --check    say what is stale, change nothing
  vmtgen build               compile build/11.0/amd64/vmt.kmod
  vmtgen lint FILE           say what the kernel would refuse
  vmtgen show FILE           print modinfo, sections, imports and relocations
  vmtgen kpi check           hold our kernel headers against NetBSD's
  vmtgen dist                make the archives of a release
  vmtgen upstream            lay the driver out for NetBSD's own source tree

`vmtgen VERB --help` tells more about a verb.
"""

# Packages that the extras bring, by the name under which they are imported.
_EXTRA_PACKAGES = frozenset({"capstone", "jinja2", "elftools", "ruamel", "rich", "ziglang"})


class Verb(Protocol):
    """What a module in vmtgen.verbs offers."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status."""


class _Parser(argparse.ArgumentParser):
    """argparse with the usage status of sysexits(3) and a pointer to the help."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to learn more, then leave with 64."""
        _say(f"{self.prog}: error: {message}\n{self.prog}: see {self.prog} --help\n")
        raise SystemExit(errors.USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print a help text; argparse would keep to itself that it cannot be written."""
        (file or sys.stderr).write(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``vmtgen`` with ``argv`` (the process's own arguments by default)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    try:
        try:
            status = _dispatch(arguments)
        except SystemExit:  # after a help text, or a wrong command line
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except errors.VmtgenError as error:
        _report(error)
        return error.exit_status
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_PACKAGES:
            return _own_fault(error)
        _say(
            f"vmtgen: error: the Python package {package!r} is not installed\n"
            "hint: pip install 'netbsd-vmt[gen]'\n"
        )
        return errors.UNAVAILABLE
    except KeyboardInterrupt:
        _say("vmtgen: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `vmtgen show FILE | head`.
        _settle(sys.stdout)
        return 0
    except OSError as error:
        _settle(sys.stdout)
        where = f"{error.filename}: " if error.filename else ""
        _say(f"vmtgen: error: {where}{error.strerror or error}\n")
        return errors.from_os_error(error, "").exit_status
    except Exception as error:  # the last net: a fault of our own must not look like the user's
        return _own_fault(error)
    return status


def _open_closed_streams() -> None:
    """Let what goes to a closed stream go nowhere, as in `vmtgen lint FILE >&-`.

    Python has None for such a stream. Its number must not go to the next file that is opened:
    a tool that we run would write there.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - till the end
            setattr(sys, name, nowhere)


def _settle(stream: TextIO) -> None:
    """Write what is left for a stream, or drop it: Python would try again, and fail, at the end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(text: str) -> None:
    """Write to stderr; where nobody can be told, the exit status has to do."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    _settle(sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = _Parser(
        prog="vmtgen",
        description="From protocol specs to a vmt.kmod that the NetBSD kernel takes.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vmtgen {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    if chosen is not None and chosen not in VERBS:
        import difflib  # noqa: PLC0415 - only on the way to an error

        near = difflib.get_close_matches(chosen, VERBS, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        parser.error(f"no verb {chosen!r}{meant}: there are {', '.join(VERBS)}")
    # Only the help needs the others, for their summaries.
    wanted = {chosen} if chosen or "--version" in arguments else set(VERBS)
    modules = {name: _verb(name) for name in VERBS if name in wanted}
    for name, module in modules.items():
        verb_parser = verbs.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[:1].upper() + module.SUMMARY[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb_parser)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        # argparse would tell of the program's options, not of the verb's.
        (verbs.choices.get(args.verb) or parser).error(
            f"unrecognized arguments: {' '.join(unknown)}"
        )
    if args.verb is None:
        parser.print_help(sys.stderr)
        return errors.USAGE
    return modules[args.verb].run(args)


def _verb(name: str) -> Verb:
    return cast("Verb", importlib.import_module(f"vmtgen.verbs.{name}"))


def _report(error: errors.VmtgenError) -> None:
    _settle(sys.stdout)
    problems = getattr(error, "problems", None)
    if problems:
        # Each on a line that begins with FILE:LINE, as editors look for it.
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        _say(f"{error}\nvmtgen: {count}\n")
    else:
        _say(f"vmtgen: error: {error}\n")
    if error.hint:
        _say(f"hint: {error.hint}\n")


def _own_fault(error: Exception) -> int:
    _say(f"vmtgen: internal error: {type(error).__name__}: {error}\n")
    if os.environ.get("VMTGEN_TRACEBACK"):
        import traceback  # noqa: PLC0415 - only on the way to an error

        traceback.print_exception(error)
    else:
        _say("hint: VMTGEN_TRACEBACK=1 in the environment shows where\n")
    return errors.SOFTWARE


if __name__ == "__main__":
    sys.exit(main())
