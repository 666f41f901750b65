"""The command ``vmtgen``; vmtgen.common.cli is its frame, and vmtgen.verbs has its verbs."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import cast

from vmtgen import __version__, verbs
from vmtgen.common.cli import Program, Verb
from vmtgen.common.cli import main as run

PROGRAM = Program(
    name="vmtgen",
    version=__version__,
    description="Generate, build, check and package NetBSD kernel modules from protocol specs.",
    epilog="""\
examples:
  vmtgen generate            write kmod/ and docs/PROTOCOL.md from specs/ and templates/
  vmtgen generate --check    list what is stale, change nothing
  vmtgen build               compile build/11.0/amd64/NAME.kmod
  vmtgen lint FILE           report load errors and likely problems
  vmtgen show FILE           print modinfo, sections, imports and relocations
  vmtgen kpi check           compare the project's kernel headers with NetBSD's
  vmtgen dist                make the archives and packages of a release
  vmtgen upstream            create the driver's files for NetBSD's source tree
""",
    path=verbs.__path__,
    load=lambda name: cast("Verb", importlib.import_module(f"vmtgen.verbs.{name}")),
    extra="gen",
    packages=frozenset({"capstone", "jinja2", "elftools", "ruamel", "rich", "ziglang"}),
    statuses={0: "ok", 1: "a check found a difference"},
)


main = partial(run, PROGRAM)
"""Run ``vmtgen`` with arguments (the process's own by default); return its exit status."""


if __name__ == "__main__":
    sys.exit(main())
