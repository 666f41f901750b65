"""The command ``vmtctl``: reads the command line, runs the verb, turns errors into statuses.

Only the module of the verb in use is imported.
"""

from __future__ import annotations

import os
import sys

from vmtctl import exits, grammar
from vmtctl.exits import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtctl.context import Context


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``vmtctl`` with ``argv`` (the process's own arguments by default)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_files()
    context: Context | None = None
    try:
        command, values = _parse(arguments)
        if command is None or values.on("help"):
            return _help(command, values)
        from vmtctl.context import Context

        context = Context(values)
        if command.changes:
            context.need_netbsd()
        status = _verb(context)
        _flush(context)
    except Failure as error:
        return _report(error, context, json=_json_requested(arguments, context))
    except BrokenPipeError:
        # The reader of the output has ended, as in `vmtctl status | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.OK
    except KeyboardInterrupt:
        sys.stderr.write("vmtctl: interrupted\n")
        return 130
    except OSError as error:
        where = f"use {error.filename}" if error.filename else "continue"
        return _report(
            exits.from_os_error(error, where), context, json=_json_requested(arguments, context)
        )
    except Exception as error:  # an internal error must not look like an error of the user
        return _internal_error(error)
    return status


def _flush(context: Context) -> None:
    """Flush the output. Raises Failure; its text reports that the changes were made."""
    try:
        sys.stdout.flush()
    except OSError as error:
        context.lose_output(error)
    if context.lost_output is not None:
        done = "; the changes were made" if context.steps and not context.dry_run else ""
        raise Failure(
            f"cannot write to standard output: {context.lost_output.strerror}{done}",
            status=exits.IO_ERROR,
        )


def _json_requested(arguments: list[str], context: Context | None) -> bool:
    """Whether --json is an option of vmtctl; after `run`, options belong to the command."""
    if context is not None:
        return context.json
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours


def _open_standard_files() -> None:
    """Open closed standard files, so that no pipe of vmtctl gets their descriptors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Python sets the stream of a closed file to None.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _parse(arguments: list[str]) -> tuple[grammar.Command | None, grammar.Values]:
    from vmtctl.commands import COMMANDS

    return grammar.parse(COMMANDS, arguments)


def _help(command: grammar.Command | None, values: grammar.Values) -> int:
    if values.on("version"):
        from vmtctl import __version__

        print(f"vmtctl {__version__}")
        return exits.OK
    if command is not None:
        print(grammar.help_of(values.path, command), end="")
        return exits.OK
    from vmtctl import commands

    text = grammar.help_of_all(commands.SUMMARY, commands.COMMANDS, commands.EXAMPLES)
    if values.on("help"):
        print(text, end="")
        return exits.OK
    sys.stderr.write(text)
    return exits.USAGE


def _verb(context: Context) -> int:
    name = context.values.path[0]
    module = __import__(f"vmtctl.verbs.{name}", fromlist=("run",))
    status: int = module.run(context)
    return status


def _report(error: Failure, context: Context | None, *, json: bool) -> int:
    from vmtctl.context import SCHEMA, printable

    sys.stdout.flush()
    sys.stderr.write(f"vmtctl: error: {printable(str(error))}\n")
    if error.hint:
        sys.stderr.write(f"hint: {printable(error.hint)}\n")
    if json:
        from json import dumps

        document = {
            "schema": SCHEMA,
            "verb": " ".join(context.values.path) if context else "",
            "error": {"message": str(error), "hint": error.hint, "status": error.status},
            "steps": context.steps if context else [],
        }
        print(dumps(document, indent=2))
    return error.status


def _internal_error(error: Exception) -> int:
    from vmtctl.context import printable

    text = printable(f"{type(error).__name__}: {error}")
    sys.stderr.write(f"vmtctl: internal error: {text}\n")
    if os.environ.get("VMTCTL_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    else:
        sys.stderr.write("hint: VMTCTL_TRACEBACK=1 in the environment prints the traceback\n")
    return exits.SOFTWARE


if __name__ == "__main__":
    sys.exit(main())
