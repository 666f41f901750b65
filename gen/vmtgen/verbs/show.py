"""``vmtgen show``: print the contents of a module."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import ReportedError
from vmtgen.common.files import expect_file, shown

if TYPE_CHECKING:
    import argparse

    from vmtgen.kobj import Module

SUMMARY = "print a module's modinfo, sections, imports and relocations"

_EXAMPLES = """\
examples:
  vmtgen show build/11.0/amd64/NAME.kmod
  vmtgen show --json NAME.kmod
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = _EXAMPLES
    parser.add_argument("file", metavar="FILE", type=Path, help="a .kmod")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the module and return 0."""
    from vmtgen.kobj import KobjError, read_module  # noqa: PLC0415 - keeps --help fast

    expect_file(args.file, hint="vmtgen show takes a .kmod, as vmtgen build makes it")
    try:
        facts = _facts(read_module(args.file))
    except KobjError as error:
        name = shown(args.file)
        raise ReportedError(
            f"{name}: the kernel would refuse it: {error}", hint=f"vmtgen lint {name} explains it"
        ) from error
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        from vmtgen.lint.findings import printable  # noqa: PLC0415

        print("\n".join(printable(line) for line in _lines(facts)))
    return 0


def _facts(module: Module) -> dict[str, Any]:
    from vmtgen.lint.check import accepting_kernels  # noqa: PLC0415

    info = module.modinfo
    relocations = Counter(
        (module.sections[r.section].name, r.type_name) for r in module.relocations
    )
    return {
        "path": str(module.path),
        "machine": module.machine.value,
        "modinfo": {
            "name": info.name,
            "class": info.class_name,
            "version": info.version,
            "release": info.version_text,
            "accepted_by": accepting_kernels(module),
            "required": list(info.required),
        },
        "regions": dict(module.sizes),
        "sections": [
            {
                "name": section.name,
                "type": section.type,
                "size": section.size,
                "align": section.align,
                "region": section.region,
                "offset": section.offset,
            }
            for section in module.sections
            if section.loaded
        ],
        "imports": list(module.imports),
        "globals": list(module.globals),
        "relocations": [
            {"section": section, "type": kind, "count": count}
            for (section, kind), count in sorted(relocations.items())
        ],
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    info = facts["modinfo"]
    lines = [
        f"{shown(Path(facts['path']))}: NetBSD/{facts['machine']} kernel module",
        "",
        f"module    {info['name']}, class {info['class']}",
        f"built for {info['release']} ({info['version']}): taken by {info['accepted_by']}",
        f"requires  {', '.join(info['required']) or 'nothing'}",
        "",
        f"{'section':<22}{'region':<8}{'offset':>8}{'size':>8}{'align':>7}",
    ]
    lines += [
        f"{s['name']:<22}{s['region']:<8}{s['offset']:>8}{s['size']:>8}{s['align']:>7}"
        for s in facts["sections"]
    ]
    sizes = ", ".join(f"{region} {size}" for region, size in facts["regions"].items())
    lines += [f"in memory: {sizes} bytes", "", f"imports ({len(facts['imports'])}):"]
    lines += [f"  {name}" for name in facts["imports"]]
    lines += ["", f"global names of its own ({len(facts['globals'])}):"]
    lines += [f"  {name}" for name in facts["globals"]]
    lines += ["", "relocations:"]
    lines += [f"  {r['count']:>5} {r['type']:<30} in {r['section']}" for r in facts["relocations"]]
    return lines
