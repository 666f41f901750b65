"""``vmtsim models``: the modelled kernel functions, and the functions that a module needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import ReportedError

from vmtsim.arguments import read_module

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from vmtgen.kobj import Module

    from vmtsim.run.needs import Needs

_SHOWN = 4  # names of modules beside a missing function
_MANUAL = "the processor's manual"
SUMMARY = "list the modelled kernel functions, or those that a module needs and lacks"

_EPILOG = """\
examples:
  vmtsim models                                      every function, by subject
  vmtsim models --machine aarch64                    the same for another machine
  vmtsim models other.kmod                           functions of that module without a model
  vmtsim models *.kmod                               the same for a set of modules, with counts

With FILE the exit status is 1 if something is missing. With several files, a name that one module
defines and another imports is not missing.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim models``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "files", metavar="FILE", nargs="*", type=Path, help="report the imports that have no model"
    )
    parser.add_argument("--machine", default="amd64", choices=("amd64", "i386", "aarch64"),
                        help="without FILE: the kernel's machine (amd64)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the prototypes by subject and source; with FILE return 1 if something is missing."""
    from vmtsim.kernel.instructions import Instructions  # noqa: PLC0415
    from vmtsim.kernel.subjects import load_subjects  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.run.needs import bare_kernel  # noqa: PLC0415

    if args.files:
        return _of(args.files, as_json=args.json)
    found: dict[str, dict[str, str]] = {}
    for cls in load_subjects():
        sources = {
            prototype.text: cls.source(prototype.name)
            for prototype, machines, _method in cls.functions()
            if machines is None or args.machine in machines
        }
        if sources:
            found[cls.__name__] = dict(sorted(sources.items()))
    found["Instructions"] = {
        **found.get("Instructions", {}),
        **dict.fromkeys(bare_kernel(args.machine).subject(Instructions).names(), _MANUAL),
    }
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return 0
    for name, texts in found.items():
        sys.stdout.write(f"{name}\n")
        for source in dict.fromkeys(texts.values()):
            sys.stdout.write(f"  after {source}:\n")
            sys.stdout.writelines(f"    {text}\n" for text in texts if texts[text] == source)
    count = sum(len(texts) for texts in found.values())
    sys.stdout.write(f"{count} functions of {len(found)} subjects on {args.machine}\n")
    return 0


def _of(paths: list[Path], *, as_json: bool) -> int:
    """Print the functions without a model; for several modules, count those that need each."""
    from vmtsim.run.needs import needs  # noqa: PLC0415 - `--help` needs none of it

    modules: dict[Path, Module] = {}
    status = 0
    for path in paths:
        status = _take(path, modules, alone=len(paths) == 1) or status
    found = dict(zip(modules, needs(list(modules.values())), strict=True))
    if as_json:
        listed = [{"file": str(path), **_described(each)} for path, each in found.items()]
        json.dump(listed if len(paths) > 1 else _described(*found.values()), sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif len(paths) == 1:
        _one(*found.values())
    else:
        _table(found)
    return status or int(any(each.missing for each in found.values()))


def _take(path: Path, modules: dict[Path, Module], *, alone: bool) -> int:
    """Read the modules; a bad one does not hide what the others need."""
    from vmtgen.kobj import KobjError  # noqa: PLC0415 - `--help` needs none of it

    try:
        module = read_module(path)
        try:
            module.modinfo  # noqa: B018 - reads the link set
        except KobjError as error:
            raise ReportedError(f"{path}: {error}") from error
    except ReportedError as error:
        if alone:
            raise
        print(f"vmtsim: error: {error}", file=sys.stderr)
        return error.exit_status
    modules[path] = module
    return 0


def _described(found: Needs) -> dict[str, Any]:
    return {
        "unmodelled": list(found.unmodelled),
        "unknown": list(found.unknown),
        "instructions": [
            {"name": each.name, "text": each.text, "where": each.where,
             "modelled": each not in found.unserved}
            for each in found.instructions
        ],
    }  # fmt: skip


def _one(found: Needs) -> None:
    for name in found.unmodelled:
        sys.stdout.write(f"not modelled  {name} (a run that calls it stops there)\n")
    for name in found.unknown:
        sys.stdout.write(f"not exported  {name} (the module will not load)\n")
    for each in found.unserved:
        sys.stdout.write(
            f"not modelled  {each.text} in {each.where} (a run that executes it stops there)\n"
        )
    if found.instructions:
        names = ", ".join(dict.fromkeys(each.name for each in found.instructions))
        sys.stdout.write(
            f"{len(found.instructions) - len(found.unserved)} of {len(found.instructions)} "
            f"system instructions are modelled: {names}\n"
        )
    there = found.imports - len(found.unmodelled) - len(found.unknown)
    sys.stdout.write(f"{there} of {found.imports} imports are modelled\n")


def _table(found: Mapping[Path, Needs]) -> None:
    """Print missing functions by the number of modules, and the modules that lack none."""
    users: dict[str, list[str]] = {}
    for path, each in found.items():
        for name in dict.fromkeys(each.missing):
            users.setdefault(name, []).append(path.stem)
    for name, modules in sorted(users.items(), key=lambda item: (-len(item[1]), item[0])):
        more = ", ..." if len(modules) > _SHOWN else ""
        sys.stdout.write(f"{len(modules):5}  {name:<32} {', '.join(modules[:_SHOWN])}{more}\n")
    whole = [path.stem for path, each in found.items() if not each.missing]
    sys.stdout.write(f"{len(whole)} of {len(found)} modules lack nothing")
    sys.stdout.write(f": {', '.join(whole)}\n" if whole else "\n")
