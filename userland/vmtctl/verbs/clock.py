"""``vmtctl clock``: how the clock follows the host."""

from __future__ import annotations

from vmtctl import clocks, guest
from vmtctl.exits import OK, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Show the clock, set its period, or synchronise it now."""
    word = context.values.word("period")
    persist = context.values.on("persist")
    if word is None and not persist:
        context.no_image()
        return _show(context)
    if word == "sync":
        context.no_image()
        return _synchronise(context)
    if word is None:
        from vmtctl.grammar import UsageError

        raise UsageError("clock --persist: PERIOD is missing", context.values.path)
    return _set(context, clocks.parse_period(word), persist=persist)


def _show(context: Context) -> int:
    from vmtctl import survey
    from vmtctl.verbs import status

    nodes, complaint = guest.driver_nodes(context)
    if not nodes:
        raise Failure(f"{guest.DEVICE} is not attached ({complaint})", hint="vmtctl attach")
    found = survey.clock(context, nodes)
    context.print_json({"clock": found})
    context.say(status.clock_line(found, attached=True))
    if found["state"] is None:
        context.say("this driver tells no more; that of netbsd-vmt does: vmtctl load")
    return OK


def _synchronise(context: Context) -> int:
    if context.dry_run:
        context.step(f"set the clock once ({clocks.NOW}=1)")
        context.finish(changed=True)
        return OK
    context.need_root("set the clock")
    clocks.synchronise(context)
    context.step("asked the driver to set the clock now")
    nodes, _ = guest.driver_nodes(context)
    state = nodes.get(f"{clocks.BRANCH}.state")
    if state:
        context.say(f"the clock: {state}")
    context.finish(changed=True, state=state)
    return OK


def _set(context: Context, seconds: int, *, persist: bool) -> int:
    from vmtctl.install.plan import Plan
    from vmtctl.install.tree import Tree

    tree = Tree(context.files_root)
    plan = Plan(tree)
    if persist:
        found = tree.look(clocks.PERSISTENT_FILE)
        old = found.data if found.exists else b""
        plan.put(found, clocks.with_period(old, seconds))
    changed = bool(plan)
    what = f"set the clock's period: {clocks.in_words(seconds)}"
    # -R with --persist prepares an image; the running clock is not touched.
    live = not context.image
    if context.image and not persist:
        context.no_image()
    if live:
        nodes, complaint = guest.driver_nodes(context)
        now = nodes.get(f"{clocks.BRANCH}.period")
        if now is None and not persist:
            raise Failure(f"{guest.DEVICE} is not attached ({complaint})", hint="vmtctl attach")
        live = now is not None and now != str(seconds)
        if now is None:
            context.warn(f"{guest.DEVICE} is not attached; the period counts from the next boot")
    if context.dry_run:
        if live:
            context.step(what)
        for change in plan.changes:
            context.step(change.what)
            context.say(change.diff.rstrip("\n"))
    else:
        context.need_root("set the clock")
        if live:
            clocks.set_period(context, seconds)
            context.step(what)
        plan.carry_out(lambda done: context.step(done, state="done"))
    changed = changed or live
    if not changed:
        context.step(f"leave the period as it is: {clocks.in_words(seconds)}", state="unchanged")
    context.finish(changed=changed, period=seconds)
    return OK
