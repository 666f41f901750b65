"""``vmtctl clock``: shows and sets how the driver adjusts the clock."""

from __future__ import annotations

from vmtctl import clocks, guest
from vmtctl.exits import OK, Failure
from vmtctl.lock import FilesLock, first_look
from vmtctl.settings import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtctl.context import Context
    from vmtctl.install.plan import Plan


def run(context: Context) -> int:
    """Show the clock, change its settings, or synchronise it now."""
    word = context.values.word("period")
    switch = context.values.option("follow-host")
    persist = context.values.on("persist")
    if word == "sync" and switch is None and not persist:
        context.no_image()
        return _synchronise(context)
    if word is None and switch is None and not persist:
        context.no_image()
        return _show(context)
    if word == "sync" or (word is None and switch is None):
        from vmtctl.grammar import UsageError

        raise UsageError("clock --persist: PERIOD or --follow-host is missing", context.values.path)
    settings = {}
    if word is not None:
        settings["period"] = clocks.parse_period(word)
    if switch is not None:
        settings["follow_host"] = clocks.parse_switch(switch)
    if context.image and not persist:
        context.no_image()
    return _set(context, settings, persist=persist)


def _show(context: Context) -> int:
    from vmtctl import survey
    from vmtctl.verbs import status

    nodes, complaint = guest.driver_nodes(context)
    if not nodes:
        raise Failure(f"{guest.DEVICE} is not attached ({complaint})", hint="vmtctl attach")
    found = survey.clock(context, nodes)
    context.print_json({"clock": found})
    context.print(status.clock_line(found, attached=True))
    if found["state"] is None:
        context.print("this driver reports nothing else; that of netbsd-vmt does: vmtctl load")
    return OK


def _synchronise(context: Context) -> int:
    if context.dry_run:
        context.step(f"set the clock once ({clocks.NOW}=1)")
        context.finish(changed=True)
        return OK
    context.need_root("set the clock")
    clocks.synchronise(context)
    context.step("requested that the driver sets the clock now")
    nodes, _ = guest.driver_nodes(context)
    state = nodes.get(f"{clocks.BRANCH}.state")
    if state:
        context.print(f"the clock: {state}")
    context.finish(changed=True, state=state)
    return OK


def _set(context: Context, settings: dict[str, int], *, persist: bool) -> int:
    # -R with --persist prepares an image; the running clock is not touched.
    live = {} if context.image else _differing(context, settings, persist=persist)
    make = _planner(context, settings) if persist else None
    plan = first_look(context, make) if make else None
    if context.dry_run:
        for name, value in live.items():
            context.step(f"set {clocks.described(name, value)}")
        for change in plan.changes if plan else ():
            context.step(change.what)
            context.print(change.diff.rstrip("\n"))
    elif live or plan:
        context.need_root("set the clock")
        for name, value in live.items():
            clocks.apply(context, name, value)
            context.step(f"set {clocks.described(name, value)}")
        if make and plan:
            with FilesLock(plan.tree):
                plan = make()
                plan.carry_out()
            for change in plan.changes:
                context.step(change.what, state="done")
    if not live and not plan:
        for name, value in settings.items():
            context.step(f"leave {clocks.described(name, value)}", state="unchanged")
    context.finish(changed=bool(live or plan), **settings)
    return OK


def _differing(context: Context, settings: dict[str, int], *, persist: bool) -> dict[str, int]:
    """Return the settings that differ from the driver's. Raises Failure."""
    nodes, complaint = guest.driver_nodes(context)
    if not nodes:
        if not persist:
            raise Failure(f"{guest.DEVICE} is not attached ({complaint})", hint="vmtctl attach")
        context.warn(f"{guest.DEVICE} is not attached; the setting takes effect at the next attach")
        return {}
    return {
        name: value
        for name, value in settings.items()
        if nodes.get(f"{clocks.BRANCH}.{name}") != str(value)
    }


def _planner(context: Context, settings: dict[str, int]) -> Callable[[], Plan]:
    from vmtctl.install.plan import Plan
    from vmtctl.install.tree import Tree

    tree = Tree(context.files_root)

    def make() -> Plan:
        plan = Plan(tree)
        plan.sweep(FILE)
        found = tree.look(FILE)
        text = found.data if found.exists else b""
        for name, value in settings.items():
            text = clocks.with_setting(text, name, value)
        plan.put(found, text)
        return plan

    return make
