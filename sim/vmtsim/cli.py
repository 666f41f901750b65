"""The command ``vmtsim``: finds the verb, runs it, and turns errors into exit statuses.

Each verb is a module in vmtsim.verbs with ``SUMMARY``, ``add_arguments(parser)`` and
``run(args) -> int``.  Only the chosen one is imported.

The exit statuses are told by ``vmtsim --help``; those from 64 on are sysexits.h's.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from vmtsim import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE, DATA, NO_INPUT, UNAVAILABLE, SOFTWARE = 64, 65, 66, 69, 70
IO_ERROR, NO_PERMISSION = 74, 77

_EPILOGUE = """\
examples:
  vmtsim run build/11.0/amd64/vmt.kmod             boot, attach, talk, detach; print everything
  vmtsim run FILE --seed 7 --scenario lost-channel another order of threads, another host
  vmtsim run FILE --kernel builtin --summary       on a kernel that has its own vmt(4)
  vmtsim scenarios                                 what can happen to a guest

exit statuses:
  0  fine                         66  no such input
  1  a property did not hold      69  no such package, or no cluster
  2  the guest hangs              70  a fault of vmtsim's own, or no model of a function
  3  the kernel would panic       73  an output file cannot be created
  64 wrong usage                  74  an error while reading or writing
  65 input that makes no sense    77  permission denied
                                  130 interrupted

`vmtsim VERB --help` tells more about a verb.
"""

# Packages that the extra [sim] brings, by the name under which they are imported.
_EXTRA_PACKAGES = frozenset({"unicorn", "elftools", "pexpect", "ruamel"})


class Verb(Protocol):
    """What a module in vmtsim.verbs offers."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to learn more, then leave with 64."""
        sys.stderr.write(f"{self.prog}: error: {message}\n{self.prog}: see {self.prog} --help\n")
        raise SystemExit(USAGE)


def verb_names() -> tuple[str, ...]:
    """Return the verbs that there are: the modules of vmtsim.verbs."""
    from vmtsim import verbs  # noqa: PLC0415 - a verb may itself need this module

    names = (module.name.replace("_", "-") for module in pkgutil.iter_modules(verbs.__path__))
    return tuple(sorted(names))


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``vmtsim`` with ``argv`` (the process's own arguments by default)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("vmtsim: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `vmtsim run FILE | head`.
        _forget_output()
        return 0
    except Exception as error:  # the last net
        status = _failed(error)
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()
    return status


def _open_standard_streams() -> None:
    """Put /dev/null where the shell closed a standard stream, as with ``>&-``.

    Python has None there, and the next file that is opened would take the number.
    """
    # The lowest free number is what open() returns: above 2, all three are there.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _forget_output() -> None:
    """Let what cannot be written vanish, or Python complains about it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    names = verb_names()
    parser = _Parser(
        prog="vmtsim",
        description="Run a NetBSD kernel module inside a simulated kernel and VMware host.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vmtsim {__version__}")
    if chosen is not None and chosen not in names:
        import difflib  # noqa: PLC0415 - only on the way to an error

        near = difflib.get_close_matches(chosen, names, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        parser.error(f"no verb {chosen!r}{meant}: there are {', '.join(names)}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    modules = {
        name: cast("Verb", importlib.import_module(f"vmtsim.verbs.{name.replace('-', '_')}"))
        for name in names
        if chosen in {None, name}
    }
    for name, module in modules.items():
        verb = verbs.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[:1].upper() + module.SUMMARY[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        # argparse would tell of the program's options, not of the verb's.
        (verbs.choices.get(args.verb) or parser).error(
            f"unrecognized arguments: {' '.join(unknown)}"
        )
    if args.verb is None:
        parser.print_help(sys.stderr)
        return USAGE
    return modules[args.verb].run(args)


def _failed(error: Exception) -> int:
    """Print an error in one or two lines and return its exit status."""
    status = getattr(error, "exit_status", None)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in _EXTRA_PACKAGES:
            sys.stderr.write(
                f"vmtsim: error: the Python package {package!r} is not installed\n"
                "hint: pip install 'netbsd-vmt[sim]'\n"
            )
            return UNAVAILABLE
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"vmtsim: error: {where}{error.strerror or error}\n")
        if isinstance(error, FileNotFoundError):
            return NO_INPUT
        return NO_PERMISSION if isinstance(error, PermissionError) else IO_ERROR
    elif type(error).__name__ in {"KobjError", "KobjCorruptionError", "LocatedErrors"}:
        status = DATA
    elif type(error).__name__ == "Unmodelled":
        sys.stderr.write(
            f"vmtsim: error: {error}\n"
            "hint: docs/kernel-models.md tells how to add a model of a kernel function\n"
        )
        return SOFTWARE
    if isinstance(status, int):
        sys.stderr.write(f"vmtsim: error: {error}\n")
        hint = getattr(error, "hint", None)
        if hint:
            sys.stderr.write(f"hint: {hint}\n")
        return status
    if os.environ.get("VMTSIM_TRACEBACK"):
        import traceback  # noqa: PLC0415 - only on the way to an error

        traceback.print_exception(error)
    else:
        sys.stderr.write("hint: VMTSIM_TRACEBACK=1 in the environment shows where\n")
    sys.stderr.write(f"vmtsim: internal error: {type(error).__name__}: {error}\n")
    return SOFTWARE


if __name__ == "__main__":
    sys.exit(main())
