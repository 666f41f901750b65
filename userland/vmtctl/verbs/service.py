"""``vmtctl service``: makes pkgsrc's rc.d/vmtools use vmtctl."""

from __future__ import annotations

from vmtctl import data
from vmtctl.install import block, hookplan
from vmtctl.install.plan import Plan
from vmtctl.install.tree import Tree
from vmtctl.verbs.powerd import carry_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context
    from vmtctl.install.tree import Snapshot

# load_rc_config reads it after the script has set its start_precmd (NetBSD etc/rc.subr).
FILE = "/etc/rc.conf.d/vmtools"
DIRECTORY = "/etc/rc.conf.d"
SCRIPT = "/etc/rc.d/vmtools"


def run(context: Context) -> int:
    """Install or uninstall the block."""
    tree = Tree(context.files_root)
    if context.values.path[1] == "uninstall":
        return carry_out(context, lambda: _uninstall(tree), f"{FILE} has no block of vmtctl")
    status = carry_out(context, lambda: _install(tree), f"{FILE} has the block of vmtctl")
    if not tree.look(SCRIPT).exists:
        context.warn(
            f"{SCRIPT} does not exist yet; the block waits for it "
            "(pkgsrc's sysutils/open-vm-tools installs it)"
        )
    return status


def _begin(tree: Tree) -> tuple[Plan, Snapshot]:
    plan = Plan(tree)
    plan.sweep(FILE, lambda was: block.without_block(was.data, FILE) is None)
    found = tree.look(FILE)
    found.need_file_or_nothing()
    if found.exists and block.split(found.data, FILE).edited:
        hookplan.keep_edited(plan, found)
    return plan, found


def _install(tree: Tree) -> Plan:
    plan, found = _begin(tree)
    if tree.look(DIRECTORY).kind == "absent":
        plan.make_directory(DIRECTORY)
    inside = data.read("rc.d/vmtools.conf")
    old = found.data if found.exists else None
    plan.put(found, block.with_block(old, inside, FILE, top=False))
    return plan


def _uninstall(tree: Tree) -> Plan:
    plan, found = _begin(tree)
    left = block.without_block(found.data, FILE)
    if found.exists and left is None:
        plan.remove(found)
    elif found.exists and left is not None and left != found.data:
        plan.put(found, left)
    return plan
