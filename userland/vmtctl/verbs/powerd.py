"""``vmtctl powerd``: hooks for powerd(8)."""

from __future__ import annotations

from vmtctl import guest, hooks
from vmtctl.exits import OK, Failure
from vmtctl.install import hookplan
from vmtctl.install.tree import Tree
from vmtctl.lock import FilesLock, first_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtctl.context import Context
    from vmtctl.install.plan import Plan

# The status of `powerd status` and `powerd diff` when not everything is in place.
INCOMPLETE = 1


def run(context: Context) -> int:
    """Install, uninstall, status or diff."""
    verb = context.values.path[1]
    tree = Tree(context.files_root)
    if verb == "status":
        return _status(context, tree)
    force = context.values.on("force")
    if verb == "uninstall":
        return carry_out(
            context, lambda: hookplan.uninstall(tree, force=force), "the hooks are not installed"
        )
    typed = _typed(context)
    if verb == "diff":
        return _diff(context, hookplan.install(tree, typed=typed, force=True))
    status = carry_out(
        context,
        lambda: hookplan.install(tree, typed=typed, force=force),
        "the hooks are installed and up to date",
    )
    if not context.dry_run and not context.image:
        _warn_without_powerd(context)
    return status


def _typed(context: Context) -> bool:
    """Return whether powerd searches the directory for ACPI."""
    if context.values.on("no-acpi"):
        return False
    if context.image:
        return True
    values, complaint = guest.sysctls(context, "hw.acpi.root")
    # Only the error "no such name" of sysctl proves that there is no ACPI.
    return bool(values) or "is invalid" not in complaint


def carry_out(context: Context, make: Callable[[], Plan], nothing: str) -> int:
    """Show the plan that ``make`` returns, or carry it out, and report."""
    plan = first_look(context, make)
    if not plan:
        return _unchanged(context, nothing)
    if context.dry_run:
        if context.json:
            for change in plan.changes:
                context.step(change.what)
        else:
            context.print(plan.diff().rstrip("\n"))
        context.finish(changed=True, diff=plan.diff())
        return OK
    context.need_root(f"change files in {context.file('/etc')}")
    with FilesLock(plan.tree):
        # Another run may have changed the files since: plan again from their current state.
        plan = make()
        plan.carry_out()
    if not plan:
        return _unchanged(context, nothing)
    for change in plan.changes:
        context.step(change.what, state="done")
    context.finish(changed=True)
    return OK


def _unchanged(context: Context, nothing: str) -> int:
    context.step(nothing, state="unchanged")
    context.finish(changed=False)
    return OK


def _diff(context: Context, plan: Plan) -> int:
    text = plan.diff()
    if text:
        context.print(text.rstrip("\n"))
    context.print_json({"changed": bool(plan), "diff": text})
    return INCOMPLETE if plan else OK


def _warn_without_powerd(context: Context) -> None:
    running, complaint = guest.processes(context)
    if not complaint and not any(process.name == "powerd" for process in running):
        context.warn("powerd does not run; without it the hooks have no effect")
        context.warn("hint: put powerd=YES into /etc/rc.conf, then: service powerd start")


def _status(context: Context, tree: Tree) -> int:
    found = {hooks.HANDLER: _state(tree, hooks.HANDLER, "vmt-event")}
    for name in hooks.SCRIPTS:
        for path in hookplan.places(name):
            found[path] = _state(tree, path, "hook")
    state = _overall(found)
    site = []
    if tree.look(hooks.SITE).kind == "directory":
        site = [name for name in tree.names(hooks.SITE) if not name.startswith(".")]
    elif tree.look(hooks.SITE).exists:
        found[hooks.SITE] = "not a directory"
        state = "partial" if state == "installed" else state
    context.print_json({"state": state, "files": found, "site_scripts": site})
    context.print(f"hooks {state}")
    for path, kind in found.items():
        context.print(f"  {path:<44} {kind}")
    for name in site:
        context.print(f"  {hooks.SITE}/{name}")
    return OK if state == "installed" else INCOMPLETE


def _state(tree: Tree, path: str, name: str) -> str:
    snapshot = tree.look(path)
    try:
        kind = hookplan.classify(snapshot, name)
    except Failure:
        return "damaged block"
    if kind in {"current", "block"} and not snapshot.mode & 0o111:
        return "not executable"
    return kind


def _overall(found: dict[str, str]) -> str:
    """Return the state of all files: powerd runs the first executable script of a name."""
    of_names = [[found[path] for path in hookplan.places(name)] for name in hooks.SCRIPTS]
    good = [
        states[0] in {"current", "block"}
        or (states[0] == "absent" and states[1] in {"current", "block"})
        for states in of_names
    ]
    if all(good) and found[hooks.HANDLER] == "current":
        return "installed"
    states = set(found.values())
    if states <= {"absent", "foreign"}:
        return "absent"
    if states & {"edited", "edited block", "damaged block"}:
        return "edited"
    return "outdated" if states & {"other version", "block of another version"} else "partial"
