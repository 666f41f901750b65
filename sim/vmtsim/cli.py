"""The command ``vmtsim``; vmtgen.common.cli is its framework, vmtsim.verbs has its verbs."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import cast

from vmtgen.common.cli import Program, Verb
from vmtgen.common.cli import main as run

from vmtsim import __version__, verbs

PROGRAM = Program(
    name="vmtsim",
    version=__version__,
    description="Run a NetBSD kernel module inside a simulated kernel and VMware host.",
    epilog="""\
examples:
  vmtsim run build/11.0/amd64/vmt.kmod             boot, attach, run, detach; print everything
  vmtsim run FILE --seed 7 --scenario lost-channel another thread schedule and scenario
  vmtsim run FILE --kernel builtin --summary       on a kernel that has its own vmt(4)
  vmtsim scenarios                                 list the scenarios
  vmtsim rules --explain ID                        what a finding means and how to fix it
""",
    path=verbs.__path__,
    load=lambda name: cast("Verb", importlib.import_module(f"vmtsim.verbs.{name}")),
    extra="sim",
    packages=frozenset({"capstone", "unicorn", "elftools", "msgspec", "pexpect", "ruamel"}),
    statuses={
        0: "ok: every property held",
        1: "a property did not hold",
        2: "the guest hangs",
        3: "the kernel would panic",
    },
)


main = partial(run, PROGRAM)
"""Run ``vmtsim`` with arguments (the process's own by default); return its exit status."""


if __name__ == "__main__":
    sys.exit(main())
