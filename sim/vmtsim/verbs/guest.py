"""``vmtsim guest``: a directory of stub tools that talk to a running simulation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

SUMMARY = "run a simulated guest rooted in a directory of stub tools"

_EPILOGUE = """\
vmtsim writes stubs of drvctl, sysctl, modload, modunload, modstat, dmesg, ps, logger, shutdown,
powerd and vmtoolsd, rc.d scripts and /dev/power into the directory.  The stubs talk to this
process, which runs the real module until it gets a signal or `vmtsim guest-control DIR stop`.
DIR/usr/pkg/bin/vmtctl is vmtctl for this guest: with that directory first in PATH, type as you
would on a guest.

A plain kernel loads the module at boot.  On a kernel with a built-in vmt the module is only
installed where its package installs it (usr/pkg/stand in DIR).

examples:
  vmtsim guest --root /tmp/guest build/11.0/amd64/vmt.kmod &
  PATH=/tmp/guest/usr/pkg/bin:$PATH; vmtctl status
  vmtsim guest-control /tmp/guest advance 5
  vmtsim guest-control /tmp/guest host power halt
  tail -f /tmp/guest/var/log/messages
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim guest``."""
    parser.epilog = _EPILOGUE
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, vmt.kmod")
    parser.add_argument(
        "--root", metavar="DIR", type=Path, required=True, help="root directory of the guest"
    )
    parser.add_argument(
        "--kernel",
        choices=("plain", "builtin"),
        default="plain",
        help="without a built-in vmt(4), or with one, like GENERIC (plain)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="random seed; also selects the thread schedule (1)",
    )
    parser.add_argument(
        "--realtime", action="store_true", help="advance virtual time with real time"
    )
    parser.add_argument("--no-load", action="store_true", help="do not load the module at boot")
    parser.add_argument("--no-powerd", action="store_true", help="do not start powerd")
    parser.add_argument("--no-acpi", action="store_true", help="simulate a machine without acpi(4)")


def run(args: argparse.Namespace) -> int:
    """Run the guest until a client stops it."""
    from vmtsim.fakeguest.call import strerror  # noqa: PLC0415
    from vmtsim.fakeguest.machine import Machine  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.fakeguest.server import Server  # noqa: PLC0415
    from vmtsim.fakeguest.tree import Tree  # noqa: PLC0415

    builtin = args.kernel == "builtin"
    machine = Machine(
        args.file, builtin=builtin, seed=args.seed, acpi=False if args.no_acpi else None
    )
    tree = Tree(args.root)
    try:
        installed = tree.fill(machine.simulation.module, machine.kernel.port)
        machine.simulation.admin.module = installed
        load = not builtin and not args.no_load
        tree.load_at_boot(installed if load else None)
        error = machine.boot(load=load)
        if error:
            sys.stderr.write(f"vmtsim: modload {args.file}: {strerror(error)}; see dmesg\n")
        server = Server(machine, tree, realtime=args.realtime)

        def ready() -> None:
            release, port = machine.kernel.options.release, machine.kernel.port
            sys.stdout.write(
                f"guest  NetBSD {release}/{port}, {args.kernel} kernel, seed {args.seed}\n"
                f"root   {tree.root}\n"
                f"module {installed}, {'loaded' if load and not error else 'not loaded'}\n"
                "ready\n"
            )
            sys.stdout.flush()

        status = server.serve(ready, powerd=not args.no_powerd)
    finally:
        tree.close()
    for text in machine.broken:
        sys.stderr.write(f"vmtsim: rule broken: {text}\n")
    if machine.ended:
        sys.stdout.write(f"ended  {machine.ended}\n")
    return status
