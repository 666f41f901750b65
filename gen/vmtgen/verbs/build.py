"""``vmtgen build``: compile the module for a NetBSD release and machine."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen import modules
from vmtgen.common.errors import ReportedError, UsageError
from vmtgen.common.files import shown

if TYPE_CHECKING:
    import argparse

    from vmtgen.build.compile import Built
    from vmtgen.targets import MachineTarget, Release, Targets

SUMMARY = "compile a module, with and without debug sections, for a NetBSD release and machine"

_DESCRIPTION = """\
Compile a kernel module. The source is a directory with a Makefile for NetBSD's bsd.kmodule.mk, a
directory of .c files, or one .c file. bmake(1) reads the Makefile, with all that make can do: a
Makefile can run commands of the shell, so build only what you trust. IOCONF= works as with
config(1). The modules of this project compile without a warning; other modules get the warnings of
their WARNS=, which do not end the build.
"""

_EXAMPLES = """\
examples:
  vmtgen build                                     the default module, release and machine
  vmtgen build --module NAME                       another module of specs/
  vmtgen build --release 10.1 --machine i386       another target
  vmtgen build --release 11.99.5                   a current kernel, by its number
  vmtgen build --all                               every target, as a table
  vmtgen build --sys /usr/src/sys                  with the kernel's headers, for its release
  vmtgen build --source DIR                        another module, by its Makefile
  vmtgen build --source DIR --sys /usr/src/sys     one that needs NetBSD's headers or conf/files
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EXAMPLES
    modules.add_argument(parser, "that of specs/netbsd.yaml")
    parser.add_argument("--release", metavar="R", help="NetBSD release (default: 11.0)")
    parser.add_argument("--machine", metavar="M", help="amd64, i386 or aarch64 (default: amd64)")
    parser.add_argument("--all", action="store_true", help="build every release and machine")
    parser.add_argument(
        "--sys", metavar="DIR", type=Path, help="build with the headers of this NetBSD sys/ tree"
    )
    parser.add_argument(
        "--cc",
        choices=("zig", "clang", "gcc"),
        default="zig",
        help="zig: the clang of the ziglang package (default); clang, gcc: the system's",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="write DIR/RELEASE/MACHINE/ (default: build)"
    )
    parser.add_argument(
        "--source", metavar="DIR", type=Path, help="directory of the C files (default: kmod/NAME)"
    )
    parser.add_argument(
        "--diagnostic", action="store_true", help="with -DDIAGNOSTIC, into MACHINE/diagnostic/"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Build, print the result, and return 0; with --all, 65 if a target failed."""
    from vmtgen.targets import load_targets  # noqa: PLC0415 - keeps --help fast

    if args.all and (args.release or args.machine):
        raise UsageError("--all builds every release and machine: omit --release and --machine")
    if args.all and args.sys:
        raise UsageError("--all and --sys: a tree has one release; build its machines one by one")
    if args.module and args.source:
        raise UsageError("--module is of specs/, --source any other: give one of them")
    targets = load_targets()
    if args.all:
        return _all(args, targets)
    result = _one(args, targets, args.release, args.machine)
    if result.warnings:
        print(result.warnings, file=sys.stderr)
    if args.json:
        print(json.dumps(_described(result), indent=2))
    else:
        print(_sentence(result))
    return 0


def _one(
    args: argparse.Namespace, targets: Targets, release_name: str | None, machine_name: str | None
) -> Built:
    from vmtgen.build.compile import (  # noqa: PLC0415
        build_module,
        choose_release,
        default_output,
        module_source,
    )
    from vmtgen.compiler.spec.load import unsupported  # noqa: PLC0415

    release = choose_release(targets, release_name, args.sys)
    machine = targets.machine(machine_name or targets.default.machine)
    source = args.source
    if source is None:
        module = modules.expect(args.module or targets.default.module)
        reason = unsupported(module, release, machine)
        if reason is not None:
            raise ReportedError(
                f"NetBSD {release.name} on {machine.name} is not supported: {reason}",
                hint=f"build for {targets.default.release}",
            )
        source = module_source(module)
    out = (args.out or default_output()) / release.name / machine.name
    return build_module(
        source,
        release=None if args.sys else release.name,
        machine=machine.name,
        out=out / "diagnostic" if args.diagnostic else out,
        compiler=args.cc,
        sys=args.sys,
        diagnostic=args.diagnostic,
        targets=targets,
    )


def _described(built: Built) -> dict[str, Any]:
    module = built.module
    return {
        "path": str(built.path),
        "debug": str(built.debug),
        "release": built.release,
        "machine": built.machine,
        "compiler": built.compiler,
        "size": built.size,
        "regions": dict(module.sizes),
        "imports": list(module.imports),
        "compiled": built.compiled,
        "reused": built.reused,
        "written": built.written,
        "warnings": built.warnings.splitlines(),
    }


def _sentence(built: Built) -> str:
    sizes = built.module.sizes
    memory = ", ".join(f"{region} {size}" for region, size in sizes.items())
    state = "" if built.written else " (unchanged)"
    return (
        f"{shown(built.path)}: {built.size} bytes for NetBSD {built.release}/"
        f"{built.machine}{state}\n  in memory: {memory} bytes; {len(built.module.imports)} imports"
    )


def _all(args: argparse.Namespace, targets: Targets) -> int:
    """Build every target, several at a time; one that fails does not hide the others."""
    selected = [(release, machine) for release in targets.releases for machine in targets.machines]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        rows = list(pool.map(lambda target: _row(args, targets, *target), selected))
    failed = [row for row in rows if "error" in row]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _table(rows)
        for row in failed:
            print(f"\n{row['release']}/{row['machine']}: {row['error']}", file=sys.stderr)
    bad = bool(failed) or any(row.get("lint", {}).get("errors") for row in rows)
    return ReportedError.exit_status if bad else 0


def _row(
    args: argparse.Namespace, targets: Targets, release: Release, machine: MachineTarget
) -> dict[str, Any]:
    """Build and lint one target; return its line of the table."""
    row: dict[str, Any] = {"release": release.name, "machine": machine.name}
    from vmtgen.compiler.spec.load import unsupported  # noqa: PLC0415

    reason = None
    if args.source is None:
        module = modules.expect(args.module or targets.default.module)
        reason = unsupported(module, release, machine)
    if reason is not None:
        return row | {"unsupported": reason}
    if not args.json:
        print(f"building {release.name}/{machine.name} ...", file=sys.stderr)
    started = time.perf_counter()
    try:
        built = _one(args, targets, release.name, machine.name)
        row |= _described(built) | {"lint": _lint(built, targets)}
    except ReportedError as error:
        return row | {"error": str(error)}
    return row | {"seconds": round(time.perf_counter() - started, 2)}


def _lint(built: Built, targets: Targets) -> dict[str, int]:
    from vmtgen.lint.check import lint_file  # noqa: PLC0415

    findings = lint_file(built.path, targets=targets, release=built.release)
    counts = Counter(finding.severity for finding in findings)
    return {"errors": counts["error"], "warnings": counts["warning"]}


def _table(rows: list[dict[str, Any]]) -> None:
    print(f"{'release':<10}{'machine':<10}{'bytes':>8}{'imports':>9}  {'lint':<12}{'seconds':>7}")
    for row in rows:
        target = f"{row['release']:<10}{row['machine']:<10}"
        if "unsupported" in row:
            print(f"{target} unsupported: {row['unsupported']}")
        elif "error" in row:
            print(f"{target} failed: {row['error'].splitlines()[0]}")
        else:
            lint = row["lint"]
            clean = not lint["errors"] and not lint["warnings"]
            state = "clean" if clean else f"{lint['errors']} E, {lint['warnings']} W"
            print(
                f"{target}{row['size']:>8}{len(row['imports']):>9}  {state:<12}{row['seconds']:>7}"
            )
