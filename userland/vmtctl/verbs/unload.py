"""``vmtctl unload``: returns to the driver of the kernel."""

from __future__ import annotations

from vmtctl import balloon, balloonload, device, guest, modulefile, record, settings
from vmtctl.exits import OK, Failure
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Unload the module, enable the built-in driver where there is one, attach vmt0.

    This also completes an earlier run that was interrupted.
    """
    context.no_image()
    if context.values.word("driver") == balloon.MODULE:
        return balloonload.unload(context)
    state = _State(context)
    if not state.loaded:
        running, _ = guest.processes(context)
        # vmt0 is correctly detached while vmtoolsd uses the channel.
        detached = state.has_builtin and not device.is_attached(context)
        if not state.disabled and not (detached and not guest.tools_daemons(running)):
            what = (
                "the kernel's own driver is in charge"
                if state.has_builtin
                else "no module vmt is loaded"
            )
            context.step(f"nothing to change: {what}", state="unchanged")
            context.finish(changed=False)
            return OK
    device.refuse_beside_daemon(context)
    if context.dry_run:
        if state.loaded:
            context.step("unload the module vmt")
        if state.disabled:
            context.step("enable the built-in driver")
        context.step(f"attach {guest.DEVICE} to the built-in driver, where there is one")
        context.finish(changed=True)
        return OK
    context.need_root("unload modules")
    with Lock(context, "unload"):
        _unload(context, _State(context))
    context.finish(changed=True)
    return OK


class _State:
    """The kernel's vmt: a module, a built-in driver, and whether that is disabled."""

    def __init__(self, context: Context) -> None:
        found, complaint = guest.modules(context)
        if complaint:
            raise Failure(f"cannot determine which modules are loaded: {complaint}")
        self.loaded = any(not each.builtin for each in found)
        self.has_builtin = any(each.builtin for each in found)
        self.disabled = any(each.disabled for each in found)


def _unload(context: Context, state: _State) -> None:
    if state.loaded:
        result = context.tools.run("modunload", "vmt")
        if not result.ok:
            raise modulefile.not_unloaded(context, result)
        left, _ = guest.module(context)
        if left is not None and not left.builtin:
            raise Failure("modunload reports that it unloaded vmt, but modstat still shows it")
        context.step("unloaded the module vmt")
    record.forget(context, guest.MODULE)
    if state.disabled:
        result = context.tools.run("modload", "-f", "vmt")
        if result.ok:
            context.step("enabled the built-in driver")
        else:
            context.warn(f"the built-in driver stays disabled: {result.complaint}")
    if not device.is_attached(context):
        # Also where the driver has attached already: a rescan then finds nothing new.
        context.tools.run("drvctl", "-r", "-a", guest.ATTRIBUTE, guest.BUS)
    if device.is_attached(context):
        context.step(f"attached {guest.DEVICE} to the built-in driver")
        settings.apply(context)
    elif state.has_builtin:
        raise Failure(
            f"the module is unloaded, but {guest.DEVICE} did not attach to the built-in driver",
            hint=f"see why: {context.command('attach')}",
        )
    else:
        context.step(f"{guest.DEVICE} is gone: this kernel has no driver of its own")
