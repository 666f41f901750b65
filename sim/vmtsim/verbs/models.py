"""``vmtsim models``: what of the kernel is modelled, and what a module needs of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.arguments import read_module

if TYPE_CHECKING:
    import argparse

    from vmtsim.kernel.kernel import Kernel

_MANUAL = "the processor's manual"
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
    from vmtsim.kernel.instructions import Instructions  # noqa: PLC0415
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
    found["Instructions"] = {
        **found.get("Instructions", {}),
        **dict.fromkeys(_kernel(args.machine).subject(Instructions).names(), _MANUAL),
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


def _kernel(machine: str, version: int = 1_100_000_000) -> Kernel:
    from vmtsim.core.rng import Rng  # noqa: PLC0415
    from vmtsim.core.trace import Trace  # noqa: PLC0415
    from vmtsim.host import Host, HostOptions  # noqa: PLC0415
    from vmtsim.kernel.kernel import Kernel, KernelOptions  # noqa: PLC0415

    trace, rng = Trace(), Rng(1)
    host = Host(now=lambda: 0, rng=rng, options=HostOptions(), trace=trace)
    return Kernel(
        KernelOptions(machine=machine, version=version), backdoor=host, rng=rng, trace=trace
    )


def _missing(path: Path, *, as_json: bool) -> int:
    """Name the imports and instructions of a module without a model, and what no kernel has."""
    from vmtgen.kobj.exported import exported_names  # noqa: PLC0415
    from vmtgen.kobj.instructions import system_instructions  # noqa: PLC0415

    from vmtsim.kernel.instructions import Instructions  # noqa: PLC0415

    module = read_module(path)
    kernel = _kernel(module.machine.value, module.modinfo.version)
    serves = kernel.subject(Instructions).serves
    instructions = system_instructions(module)
    unserved = [each for each in instructions if not serves(each.name)]
    modelled = set(kernel.dispatch.modelled())
    rest = [name for name in module.imports if name not in modelled]
    unmodelled = [name for name in rest if name in exported_names()]
    unknown = [name for name in rest if name not in exported_names()]
    if as_json:
        listed = {
            "unmodelled": unmodelled,
            "unknown": unknown,
            "instructions": [
                {"name": each.name, "text": each.text, "where": each.where,
                 "modelled": serves(each.name)}
                for each in instructions
            ],
        }  # fmt: skip
        json.dump(listed, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for name in unmodelled:
            sys.stdout.write(f"not modelled  {name} (a run that calls it stops there)\n")
        for name in unknown:
            sys.stdout.write(f"not exported  {name} (the module will not load)\n")
        for each in unserved:
            sys.stdout.write(
                f"not modelled  {each.text} in {each.where} (a run that executes it stops there)\n"
            )
        if instructions:
            sys.stdout.write(
                f"{len(instructions) - len(unserved)} of {len(instructions)} system instructions "
                f"are modelled: {', '.join(dict.fromkeys(each.name for each in instructions))}\n"
            )
        sys.stdout.write(
            f"{len(module.imports) - len(rest)} of {len(module.imports)} imports are modelled\n"
        )
    return 1 if rest or unserved else 0
