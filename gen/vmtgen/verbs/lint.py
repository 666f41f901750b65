"""``vmtgen lint``: check a module for load errors and likely problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import DATA, ReportedError, UsageError
from vmtgen.common.files import expect_file, shown

if TYPE_CHECKING:
    import argparse

    from vmtgen.kobj.known import KernelSymbols
    from vmtgen.lint.check import Finding
    from vmtgen.targets import Targets

SUMMARY = "check a module for load errors and likely problems"

_EXAMPLES = """\
examples:
  vmtgen lint build/11.0/amd64/NAME.kmod
  vmtgen lint --module NAME                the file that vmtgen build --module NAME makes
  vmtgen lint --release 10.1 --machine i386 NAME.kmod
                                           does that kernel load it?
  vmtgen lint --release "$(uname -r)" NAME.kmod
                                           does this kernel load it?
  nm /netbsd > symbols; vmtgen lint --symbols symbols NAME.kmod
                                           does this kernel export all its imports?
  vmtgen lint --explain relocation-type    explain a rule
  vmtgen lint --explain all                every rule

The exit status is 0 if no file has an error (with --strict: nor a warning), else 65. A note is
information and never counts.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = _EXAMPLES
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="a .kmod")
    parser.add_argument(
        "--module",
        metavar="NAME",
        help="build/RELEASE/MACHINE/NAME.kmod, of --release and --machine or the defaults",
    )
    parser.add_argument(
        "--release", metavar="R", help="the kernel's release, in any form of uname -r"
    )
    parser.add_argument(
        "--symbols", metavar="FILE", type=Path, help="the kernel's symbols, printed by nm"
    )
    parser.add_argument("--machine", metavar="M", help="the kernel's machine")
    parser.add_argument("--strict", action="store_true", help="count a warning as an error")
    parser.add_argument("--explain", metavar="ID", help="explain a rule; all: every rule")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Lint the files; return 0, or 65 where one has an error."""
    if args.explain:
        return _explain(args.explain, as_json=args.json)
    if args.module and args.files:
        raise UsageError("--module and FILE: give one of them")
    if not args.files and not args.module:
        raise UsageError(
            "no FILE to lint", hint="vmtgen lint build/11.0/amd64/NAME.kmod, or --module NAME"
        )
    from vmtgen.kobj import Machine  # noqa: PLC0415 - keeps --help fast
    from vmtgen.lint.check import lint_file  # noqa: PLC0415
    from vmtgen.targets import load_targets  # noqa: PLC0415

    targets = load_targets()
    if args.module:
        args.files = [_built(args, targets)]
    machine = Machine(targets.machine(args.machine).name) if args.machine else None
    kernel = {
        "release": args.release,
        "machine": machine,
        "symbols": _symbols(args.symbols) if args.symbols else None,
    }
    results = [(path, lint_file(path, targets=targets, **kernel)) for path in args.files]
    if args.json:
        print(json.dumps([_described(path, found) for path, found in results], indent=2))
    else:
        for path, found in results:
            _print(path, found)
    worst = {finding.severity for _, found in results for finding in found}
    return DATA if "error" in worst or (args.strict and "warning" in worst) else 0


def _built(args: argparse.Namespace, targets: Targets) -> Path:
    """Return the place of the module that `vmtgen build` makes for the release and machine."""
    from vmtgen import modules  # noqa: PLC0415
    from vmtgen.build.compile import default_output  # noqa: PLC0415

    name = modules.expect(args.module)
    release = targets.release(args.release or targets.default.release)
    machine = targets.machine(args.machine or targets.default.machine)
    path = default_output() / release.name / machine.name / f"{name}.kmod"
    options = f" --release {args.release}" if args.release else ""
    options += f" --machine {args.machine}" if args.machine else ""
    expect_file(path, hint=f"vmtgen build --module {name}{options}")
    return path


def _symbols(path: Path) -> KernelSymbols:
    from vmtgen.kobj.known import read_symbols  # noqa: PLC0415

    hint = "on NetBSD, nm /netbsd > FILE writes it"
    expect_file(path, hint=hint)
    try:
        return read_symbols(path)
    except ValueError as error:
        raise ReportedError(f"{shown(path)}: {error}", hint=hint) from error


def _accepted(path: Path) -> str | None:
    """Return which kernels load the module, None where its modinfo cannot be read."""
    from vmtgen.kobj import KobjError, read_module  # noqa: PLC0415
    from vmtgen.lint.check import accepting_kernels  # noqa: PLC0415

    try:
        return accepting_kernels(read_module(path))
    except KobjError:
        return None


def _described(path: Path, found: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "path": str(path),
        "accepted_by": _accepted(path),
        "findings": [finding.as_dict() for finding in found],
    }


def _print(path: Path, found: tuple[Finding, ...]) -> None:
    name = shown(path)
    for finding in found:
        where = f" {finding.where}:" if finding.where else ""
        print(f"{name}:{where} {finding.severity}: {finding.message} [{finding.rule}]")
        if finding.kernel:
            for line in finding.kernel.splitlines():
                print(f"    the kernel says: {line}")
        print(f"    {finding.remedy}")
    accepted = _accepted(path)
    taken = f"; for {accepted}" if accepted else ""
    errors = sum(finding.severity == "error" for finding in found)
    warnings = sum(finding.severity == "warning" for finding in found)
    if errors or warnings:
        print(f"{name}: {_count(errors, 'error')}, {_count(warnings, 'warning')}{taken}")
    else:
        print(f"{name}: clean{taken}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _explain(name: str, *, as_json: bool) -> int:
    from vmtgen.common.located import listed, nearest  # noqa: PLC0415
    from vmtgen.lint.rules import BY_ID, RULES  # noqa: PLC0415

    rules = RULES if name == "all" else tuple(rule for rule in RULES if rule.id == name)
    if not rules:
        near = nearest(name, BY_ID)
        raise UsageError(
            f"no rule {name!r}: there are {listed(BY_ID, limit=len(BY_ID))}",
            hint=f"did you mean {near}?" if near else None,
        )
    if as_json:
        facts = ("id", "severity", "why", "remedy", "source", "kernel")
        print(json.dumps([{fact: getattr(r, fact) for fact in facts} for r in rules], indent=2))
        return 0
    for rule in rules:
        print(f"{rule.id} ({rule.severity})\n    {rule.why}\n    What to do: {rule.remedy}.")
        print(f"    Source: {rule.source}")
    return 0
