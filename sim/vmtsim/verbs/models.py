"""``vmtsim models``: what of the kernel is modelled, and what a module needs of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.arguments import read_module

if TYPE_CHECKING:
    import argparse

SUMMARY = "list the kernel functions that are modelled, or what a module lacks"

_EPILOG = """\
examples:
  vmtsim models                                      every function, by subject
  vmtsim models --machine aarch64                    those of another machine
  vmtsim models other.kmod                           what that module needs and is not there

With FILE it ends with 1 when something lacks.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim models``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help="say which imports have no model"
    )
    parser.add_argument("--machine", default="amd64", choices=("amd64", "i386", "aarch64"))
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the prototypes by subject and source; with FILE exit 1 if it needs more."""
    from vmtsim.kernel.subjects import load_subjects  # noqa: PLC0415 - `--help` needs none of it

    if args.file is not None:
        return _missing(args.file, as_json=args.json)
    found: dict[str, dict[str, str]] = {}
    for cls in load_subjects():
        sources = {
            prototype.text: cls.source(prototype.name)
            for prototype, machines, _method in cls.functions()
            if machines is None or args.machine in machines
        }
        if sources:
            found[cls.__name__] = dict(sorted(sources.items()))
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


def _missing(path: Path, *, as_json: bool) -> int:
    """Name the imports of a module that have no model, or that no kernel has."""
    from vmtgen.kobj.exported import exported_names  # noqa: PLC0415

    from vmtsim.core.rng import Rng  # noqa: PLC0415
    from vmtsim.core.trace import Trace  # noqa: PLC0415
    from vmtsim.host import Host, HostOptions  # noqa: PLC0415
    from vmtsim.kernel.kernel import Kernel, KernelOptions  # noqa: PLC0415

    module = read_module(path)
    trace, rng = Trace(), Rng(1)
    host = Host(now=lambda: 0, rng=rng, options=HostOptions(), trace=trace)
    options = KernelOptions(machine=module.machine.value, version=module.modinfo.version)
    modelled = set(Kernel(options, backdoor=host, rng=rng, trace=trace).dispatch.modelled())
    rest = [name for name in module.imports if name not in modelled]
    unmodelled = [name for name in rest if name in exported_names()]
    unknown = [name for name in rest if name not in exported_names()]
    if as_json:
        json.dump({"unmodelled": unmodelled, "unknown": unknown}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for name in unmodelled:
            sys.stdout.write(f"not modelled  {name} (a run that calls it stops there)\n")
        for name in unknown:
            sys.stdout.write(f"not exported  {name} (the module will not load)\n")
        sys.stdout.write(
            f"{len(module.imports) - len(rest)} of {len(module.imports)} imports are modelled\n"
        )
    return 1 if rest else 0
