"""``vmtctl dns``: sets the name servers of resolv.conf(5) in the driver, for the host."""

from __future__ import annotations

from vmtctl import resolver
from vmtctl.exits import DATA, OK, Failure
from vmtctl.install.plan import Plan
from vmtctl.install.tree import Tree
from vmtctl.verbs.powerd import carry_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

# resolvconf(8) runs the scripts here after it has written resolv.conf(5): openresolv's libc.in, and
# NetBSD's external/bsd/openresolv/libexec/libc.d/Makefile for the place.
DIRECTORY = "/libexec/resolvconf/libc.d"
HOOK = f"{DIRECTORY}/vmtctl"
SCRIPT = b"""#!/bin/sh
#
# vmtctl: part of netbsd-vmt; `vmtctl dns uninstall` removes it.
# resolvconf(8) runs it after a change of /etc/resolv.conf.

if [ -x /usr/pkg/bin/vmtctl ]; then
	/usr/pkg/bin/vmtctl -q dns update
fi
exit 0
"""
_MARK = b"# vmtctl: part of netbsd-vmt;"


def run(context: Context) -> int:
    """Update the driver, or install or uninstall the hook."""
    verb = context.values.path[1]
    if verb == "update":
        context.no_image()
        return _update(context)
    tree = Tree(context.files_root)
    if verb == "uninstall":
        return carry_out(context, lambda: _uninstall(tree), f"{HOOK} is not installed")
    return carry_out(context, lambda: _install(tree), f"{HOOK} is installed")


def _update(context: Context) -> int:
    now, value = resolver.current(context), resolver.found(context)
    shown = value or "none"
    if now == value:
        context.step(f"leave the name servers: {shown}", state="unchanged")
        context.finish(changed=False, dns=value)
        return OK
    if not context.dry_run:
        context.need_root("set the name servers")
        resolver.put(context, value)
    context.step(f"set the name servers: {shown}")
    context.finish(changed=True, dns=value)
    return OK


def _begin(tree: Tree) -> Plan:
    plan = Plan(tree)
    plan.sweep(HOOK, lambda was: _MARK in was.data)
    found = tree.look(HOOK)
    found.need_file_or_nothing()
    if found.exists and _MARK not in found.data:
        raise Failure(
            f"{HOOK} is not vmtctl's file, and vmtctl needs the name",
            hint=f"move it away: mv {HOOK} {HOOK}.orig",
            status=DATA,
        )
    return plan


def _install(tree: Tree) -> Plan:
    plan = _begin(tree)
    if tree.look(DIRECTORY).kind == "absent":
        raise Failure(
            f"{DIRECTORY} does not exist: this system has no resolvconf(8)",
            hint="run `vmtctl dns update` after each change of /etc/resolv.conf",
            status=DATA,
        )
    plan.put(tree.look(HOOK), SCRIPT, mode=0o755)
    return plan


def _uninstall(tree: Tree) -> Plan:
    plan = _begin(tree)
    found = tree.look(HOOK)
    if found.exists:
        plan.remove(found)
    return plan
