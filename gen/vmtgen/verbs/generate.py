"""``vmtgen generate``: the modules' sources and documents from specs/ and templates/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import modules
from vmtgen.common.errors import UsageError
from vmtgen.common.files import shown
from vmtgen.resources import directory, root

if TYPE_CHECKING:
    import argparse

    from vmtgen.compiler.generate import Change

SUMMARY = "write the C, the manuals and the protocol pages from the specs and templates"

_EPILOGUE = """\
examples:
  vmtgen generate                 bring this checkout up to date
  vmtgen generate --module NAME   one module alone
  vmtgen generate --check         print what would change; status 1 if anything would
  vmtgen generate --out /tmp/new  write /tmp/new/kmod and /tmp/new/docs instead, and copy
                                  the modules' handwritten C there if it is missing

Files that need no change keep their time stamp. A generated file without a
template is removed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtgen generate``."""
    parser.epilog = _EPILOGUE
    modules.add_argument(parser, "all")
    parser.add_argument("--check", action="store_true", help="change nothing, print a diff")
    parser.add_argument(
        "--json", action="store_true", help="print what changed, or would change, as JSON"
    )
    parser.add_argument("--quiet", action="store_true", help="print only what changed")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write below DIR (default: this checkout)"
    )
    parser.add_argument(
        "--specs", type=Path, metavar="DIR", help="read the specs in DIR (default: specs)"
    )
    parser.add_argument(
        "--templates",
        type=Path,
        metavar="DIR",
        help="render the templates in DIR (default: templates)",
    )


def run(args: argparse.Namespace) -> int:
    """Write or check; return 0, or 1 where --check found something stale."""
    from vmtgen.compiler import generate  # noqa: PLC0415 - jinja2 and ruamel.yaml are slow to import

    out: Path | None = args.out or root()
    if out is None:
        raise UsageError(
            "there is no checkout here to write to",
            hint="vmtgen generate --out . writes kmod/ and docs/ here",
        )
    names = modules.chosen(args.module, args.specs)
    expected = generate.outputs(
        args.templates or directory("templates"), args.specs or directory("specs"), names
    )
    if args.templates is None and out != root() and not args.check:
        # The other files of each module, where they are missing.
        there = [o for name in names for o in generate.sources(directory("kmod") / name)]
        expected += [output for output in there if not (out / output.place).exists()]
    found = generate.changes(expected, out, names)
    if not args.check:
        generate.apply(found, out)
    if args.json:
        print(_json(found, len(expected), check=args.check))
        return 1 if args.check and found else 0
    if args.check:
        return _report(found, len(expected), args)
    for change in found:
        print(f"{_done(change):8} {shown(out / change.place)}")
    same = len(expected) - sum(change.after is not None for change in found)
    if not args.quiet:
        print(f"{len(expected)} files: {len(expected) - same} written, {same} unchanged")
    return 0


def _report(found: list[Change], total: int, args: argparse.Namespace) -> int:
    if not found:
        if not args.quiet:
            print(f"{total} files: all up to date")
        return 0
    for change in found:
        sys.stdout.write(change.diff())
    sys.stdout.flush()
    names = ", ".join(change.place for change in found)
    stale = "1 file is" if len(found) == 1 else f"{len(found)} files are"
    sys.stderr.write(f"vmtgen: {stale} stale: {names}\nhint: {_command(args)}\n")
    return 1


def _json(found: list[Change], total: int, *, check: bool) -> str:
    """Return what changed as JSON: version 1 of the format."""
    import json  # noqa: PLC0415 - not needed elsewhere here

    changed = [{"path": change.place, "state": _done(change)} for change in found]
    return json.dumps({"version": 1, "check": check, "files": total, "changed": changed}, indent=2)


def _command(args: argparse.Namespace) -> str:
    """Return the command that brings everything up to date."""
    given = {name: getattr(args, name) for name in ("module", "out", "specs", "templates")}
    options = [f"--{name} {value}" for name, value in given.items() if value is not None]
    if options:
        return f"run vmtgen generate {' '.join(options)}"
    return "run make generate (or vmtgen generate)"


def _done(change: Change) -> str:
    if change.after is None:
        return "removed"
    return "created" if change.before is None else "updated"
