"""``vmtctl rpctool``: replacements for programs of open-vm-tools, where it is not installed."""

from __future__ import annotations

from vmtctl import lookalike
from vmtctl.exits import DATA, Failure
from vmtctl.install import block
from vmtctl.install.plan import Plan
from vmtctl.install.tree import Tree
from vmtctl.verbs.powerd import carry_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context
    from vmtctl.install.tree import Snapshot

# The directory of pkgsrc's open-vm-tools.
DIRECTORY = "/usr/pkg/bin"
_MARK = b"# vmtctl: part of netbsd-vmt;"
SCRIPT = block.sealed(
    b"""#!/bin/sh
#
# vmtctl: part of netbsd-vmt; `vmtctl rpctool uninstall` removes it.
# Sends a command to the host as the program of open-vm-tools does.

exec /usr/pkg/bin/vmtctl rpctool as -- "$0" "$@"
"""
)


def run(context: Context) -> int:
    """Install or uninstall the programs, or act as one of them."""
    verb = context.values.path[1]
    if verb == "as":
        context.no_image()
        command, *arguments = context.values.words("command")
        return lookalike.act(context, command, arguments)
    tree = Tree(context.files_root)
    names = ", ".join(f"{DIRECTORY}/{name}" for name in lookalike.PROGRAMS)
    if verb == "uninstall":
        return carry_out(context, lambda: _uninstall(tree), f"{names}: none is vmtctl's")
    return carry_out(context, lambda: _install(tree), f"{names} are installed")


def _begin(tree: Tree) -> tuple[Plan, list[Snapshot]]:
    plan = Plan(tree)
    found = []
    for name in lookalike.PROGRAMS:
        path = f"{DIRECTORY}/{name}"
        plan.sweep(path, lambda was: _MARK in was.data)
        found.append(tree.look(path))
    return plan, found


def _is_ours(found: Snapshot) -> bool:
    return found.kind == "file" and _MARK in found.data


def _install(tree: Tree) -> Plan:
    plan, programs = _begin(tree)
    for found in programs:
        if found.exists and not _is_ours(found):
            raise Failure(
                f"{found.path} exists, and is not vmtctl's",
                hint="with open-vm-tools itself these programs are not needed: it has its own",
                status=DATA,
            )
    if tree.look(DIRECTORY).kind == "absent":
        raise Failure(f"{DIRECTORY} does not exist", status=DATA)
    for found in programs:
        plan.put(found, SCRIPT, mode=0o755, keep=bool(found.mode & 0o100))
    return plan


def _uninstall(tree: Tree) -> Plan:
    plan, programs = _begin(tree)
    for found in programs:
        if _is_ours(found):
            plan.remove(found)
    return plan
