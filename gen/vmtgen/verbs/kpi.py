"""``vmtgen kpi check``: compare the project's kernel headers with NetBSD's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import DATA, UnavailableError, UsageError

if TYPE_CHECKING:
    import argparse

    from vmtgen.build.kpi import Comparison
    from vmtgen.build.kpi_code import CodeComparison
    from vmtgen.targets import MachineTarget, Release, Targets

SUMMARY = "compare the project's kernel headers with NetBSD's"

_EXAMPLES = """\
examples:
  vmtgen kpi check                          with the headers that NetBSD 11.0 installs
  vmtgen kpi check --sys /usr/src/sys       with a kernel tree: layouts, constants
  vmtgen kpi check --sys /usr/src/sys --code
                                            and the driver's machine code, by function
  vmtgen kpi check --release 10.1 --installed DIR
                                            DIR is lib/libc/include of a zig with 10.1's headers

The exit status is 0 if nothing differs, else 65.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = _EXAMPLES
    parser.add_argument("action", choices=("check",), help="what to do")
    parser.add_argument(
        "--sys",
        metavar="DIR",
        type=Path,
        help="a NetBSD sys/ tree (default: the headers that NetBSD installs)",
    )
    parser.add_argument("--release", metavar="R", help="NetBSD release (default: 11.0, or SYS's)")
    parser.add_argument("--machine", metavar="M", help="only this machine (default: all)")
    parser.add_argument(
        "--code", action="store_true", help="with --sys: also compare the driver's machine code"
    )
    parser.add_argument(
        "--source", metavar="DIR", type=Path, help="with --code: the C files (default: kmod)"
    )
    parser.add_argument(
        "--installed",
        metavar="DIR",
        type=Path,
        help="zig's lib/libc/include (default: that of the ziglang package)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare, print each difference, and return 0, or 65 where there is one."""
    from vmtgen.build.compile import choose_release  # noqa: PLC0415 - keeps --help fast
    from vmtgen.targets import load_targets  # noqa: PLC0415

    if args.code and args.sys is None:
        raise UsageError("--code needs --sys DIR: installed headers cannot compile kernel code")
    if args.source is not None and not args.code:
        raise UsageError("--source needs --code")
    if args.installed is not None and args.sys is not None:
        raise UsageError("--installed and --sys: give one of them")
    targets = load_targets()
    release = choose_release(targets, args.release, args.sys)
    machines = [targets.machine(args.machine)] if args.machine else list(targets.machines)
    rows = [_machine(args, targets, release, machine) for machine in machines]
    if args.json:
        print(json.dumps({"release": release.name, "machines": rows}, indent=2))
    else:
        for row in rows:
            _print(release, row)
    different = any(row["messages"] or row.get("code", {}).get("differences") for row in rows)
    return DATA if different else 0


def _machine(
    args: argparse.Namespace, targets: Targets, release: Release, machine: MachineTarget
) -> dict[str, Any]:
    from vmtgen.build.kpi import compare_installed, compare_tree  # noqa: PLC0415

    found: Comparison
    if args.sys is not None:
        found = compare_tree(targets, release, machine, args.sys)
    else:
        include = _installed(args, targets, release)
        found = compare_installed(targets, release, machine, include)
    row: dict[str, Any] = {
        "machine": machine.name,
        "compared": found.compared,
        "differences": [difference.as_dict() for difference in found.differences],
        "messages": [str(difference) for difference in found.differences],
    }
    if args.code:
        row["code"] = _code(args, targets, release, machine)
    return row


def _code(
    args: argparse.Namespace, targets: Targets, release: Release, machine: MachineTarget
) -> dict[str, Any]:
    from vmtgen.build.compile import module_source  # noqa: PLC0415
    from vmtgen.build.kpi_code import compare_code  # noqa: PLC0415

    reason = None if args.source else machine.unsupported(release.version)
    if reason is not None:
        return {"unsupported": reason}
    source = args.source or module_source(targets.default.module)
    found: CodeComparison = compare_code(targets, release, machine, args.sys, source)
    return {
        "functions": found.functions,
        "bytes": found.bytes,
        "differences": [difference.as_dict() for difference in found.differences],
    }


def _installed(args: argparse.Namespace, targets: Targets, release: Release) -> Path:
    """Return the directory with the installed headers of the release."""
    from importlib import metadata  # noqa: PLC0415

    from vmtgen.build.toolchain import zig_headers  # noqa: PLC0415

    if args.installed is not None:
        include: Path = args.installed
        if not (include / "generic-netbsd" / "sys" / "param.h").is_file():
            raise UsageError(
                f"{include}: no directory generic-netbsd with NetBSD's headers",
                hint="give lib/libc/include of an unpacked zig",
            )
        return include
    if release.headers == f"ziglang=={metadata.version('ziglang')}":
        return zig_headers().parent
    if release.headers is None:
        having = [known.name for known in targets.releases if known.headers]
        raise UnavailableError(
            f"no package carries the headers that NetBSD {release.name} installs",
            hint=f"give its kernel tree with --sys; there are packages for {', '.join(having)}",
        )
    raise UnavailableError(
        f"the headers that NetBSD {release.name} installs come with {release.headers}, "
        "which is not installed",
        hint=f"pip install --no-deps --target DIR {release.headers}, then "
        "--installed DIR/ziglang/lib/libc/include",
    )


def _print(release: Release, row: dict[str, Any]) -> None:
    target = f"{release.name}/{row['machine']}"
    for text in row["messages"]:
        print(f"{target}: {text}")
    print(
        f"{target}: {row['compared']} sizes, offsets and constants, {len(row['messages'])} differ"
    )
    code = row.get("code")
    if code is None:
        return
    if "unsupported" in code:
        print(f"{target}: code not compared: {code['unsupported']}")
        return
    for difference in code["differences"]:
        print(f"{target}: {difference['name']}: {difference['reason']}")
    count = len(code["differences"])
    print(f"{target}: {code['functions']} functions, {code['bytes']} bytes of code, {count} differ")
