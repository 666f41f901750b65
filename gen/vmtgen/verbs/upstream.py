"""``vmtgen upstream``: create a driver's files for NetBSD's source tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import modules
from vmtgen.common.files import shown
from vmtgen.resources import root

if TYPE_CHECKING:
    import argparse

SUMMARY = "create the files of a driver for NetBSD's source tree, sys/dev/NAME"

_EXAMPLES = """\
examples:
  vmtgen upstream                        build/upstream: sys/, share/, EDITS and MANIFEST
  vmtgen upstream --out /tmp/new         elsewhere
  vmtgen upstream --sys /usr/src/sys     and report what does not fit that tree, with status 1

Then remove the driver that NetBSD has (EDITS lists the changes) and run:
  cp -R build/upstream/sys build/upstream/share /usr/src

vmtgen replaces DIR as a whole, and refuses a directory with changed files.
docs/upstream.md has all steps, and what has not been tried.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = _EXAMPLES
    modules.add_argument(parser, "that of specs/netbsd.yaml")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="write there (default: build/upstream)"
    )
    parser.add_argument(
        "--sys", metavar="DIR", type=Path, help="compare it with the NetBSD sys/ tree at DIR"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Write the files; return 1 where they do not fit a given tree."""
    from vmtgen.package import upstream  # noqa: PLC0415 - keeps --help fast
    from vmtgen.targets import load_targets  # noqa: PLC0415

    texts = upstream.files(modules.expect(args.module or load_targets().default.module))
    found = (
        upstream.edit_mismatches(texts[upstream.EDITS], args.sys) if args.sys is not None else []
    )
    out: Path = args.out or (root() or Path()) / "build" / "upstream"
    changed = upstream.lay_out(texts, out)
    if args.json:
        names = {"version": 1, "out": str(out), "changed": changed}
        print(json.dumps({**names, "files": list(texts), "findings": found}, indent=2))
        return 1 if found else 0
    print(f"{shown(out)}: {len(texts)} files and MANIFEST, {'written' if changed else 'unchanged'}")
    for finding in found:
        print(finding)
    if args.sys is not None and not found:
        print(f"{shown(args.sys)}: fits {upstream.EDITS}")
    return 1 if found else 0
