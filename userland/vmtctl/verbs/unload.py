"""``vmtctl unload``: back to the driver of the kernel."""

from __future__ import annotations

from vmtctl import clocks, device, guest, record
from vmtctl.exits import OK, Failure
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Unload the module, enable the built-in driver where there is one, attach vmt0."""
    context.no_image()
    found, complaint = guest.modules(context)
    if complaint:
        raise Failure(f"cannot find out which modules are loaded: {complaint}")
    loaded = next((each for each in found if not each.disabled), None)
    if loaded is None or loaded.builtin:
        what = "the kernel's own driver is in charge" if loaded else "no module vmt is loaded"
        context.step(f"leave everything as it is: {what}", state="unchanged")
        context.finish(changed=False)
        return OK
    builtin = any(each.disabled for each in found)
    device.refuse_beside_daemon(context)
    if context.dry_run:
        context.step("unload the module vmt")
        if builtin:
            context.step("enable the built-in driver")
        context.step(f"attach {guest.DEVICE} to the built-in driver, where there is one")
        context.finish(changed=True)
        return OK
    context.need_root("unload modules")
    with Lock(context, "unload"):
        _unload(context, builtin=builtin)
    context.finish(changed=True)
    return OK


def _unload(context: Context, *, builtin: bool) -> None:
    result = context.tools.run("modunload", "vmt")
    if not result.ok:
        raise Failure(
            f"the module is not unloaded: {result.complaint}",
            hint="a request to the host may be under way; try again in a few seconds",
        )
    left, _ = guest.module(context)
    if left is not None and not left.builtin:
        raise Failure("modunload says that it unloaded vmt, but modstat still shows it")
    context.step("unloaded the module vmt")
    record.forget(context)
    if builtin:
        result = context.tools.run("modload", "-f", "vmt")
        if result.ok:
            context.step("enabled the built-in driver")
        else:
            context.warn(f"the built-in driver stays disabled: {result.complaint}")
    if device.is_attached(context):
        context.step(f"attached {guest.DEVICE}")
        clocks.apply_persisted(context)
        return
    context.tools.run("drvctl", "-r", "-a", guest.ATTRIBUTE, guest.BUS)
    if device.is_attached(context):
        context.step(f"attached {guest.DEVICE} to the built-in driver")
        clocks.apply_persisted(context)
    elif builtin:
        raise Failure(
            f"the module is unloaded, but {guest.DEVICE} did not attach to the built-in driver",
            hint="vmtctl attach tells more",
        )
    else:
        context.step(f"{guest.DEVICE} is gone: this kernel has no driver of its own")
