"""Loading and unloading the memory balloon, vmmemctl(4), beside vmt(4).

No kernel has this driver built in: the module attaches by itself where the host has a balloon, and
there is nothing to hand over.
"""

from __future__ import annotations

from vmtctl import balloon, guest, modulefile, record, settings
from vmtctl.checks.rcconf import BALLOON, balloon_at_boot
from vmtctl.exits import OK, UNAVAILABLE, Failure
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def load(context: Context, path: str) -> int:
    """Load the module in ``path``, or attach its device, or replace an older file of it."""
    loaded, current = _state(context, path)
    if current and _is_attached(context):
        context.step(f"the module is unchanged: {path} is loaded", state="unchanged")
        context.finish(changed=False, module=path)
        return OK
    if context.dry_run:
        if loaded and not current:
            context.step("unload the old module")
        if not current:
            context.step(f"load {path}")
        context.step(f"attach {balloon.DEVICE}, where the host has a balloon")
        context.finish(changed=True, module=path)
        return OK
    context.need_root("load modules")
    with Lock(context, "load"):
        # Another vmtctl may have changed it meanwhile.
        loaded, current = _state(context, path)
        _load(context, path, loaded=loaded, current=current)
    if not balloon_at_boot(context):
        context.warn(
            f"hint: this lasts until the next boot; vmtctl=YES and {BALLOON}=YES in /etc/rc.conf "
            "load it at boot"
        )
    context.finish(changed=True, module=path)
    return OK


def _state(context: Context, path: str) -> tuple[bool, bool]:
    """Return whether the module is loaded, and whether it is the file ``path`` as it is now."""
    loaded = _is_loaded(context)
    return loaded, loaded and record.is_current(context, balloon.MODULE, path)


def _load(context: Context, path: str, *, loaded: bool, current: bool) -> None:
    old = ""
    if loaded and not current:
        old = str((record.read(context, balloon.MODULE) or {}).get("path") or "")
        _unload(context)
        context.step("unloaded the old module")
    if not current:
        options = ("-f",) if context.values.on("force") else ()
        result = context.tools.run("modload", *options, path)
        if not result.ok:
            failure = modulefile.refused(context, path, result)
            if old:
                back = context.tools.run("modload", old)
                failure.args = (f"{failure}; {_put_back(old, ok=back.ok)}",)
            raise failure
        if not _is_loaded(context):
            raise Failure(f"modload reports that it loaded {path}, but modstat does not show it")
        context.step(f"loaded {path}")
    if not _is_attached(context):
        # It was detached by hand, or an earlier run was interrupted.
        context.tools.run("drvctl", "-r", "-a", guest.ATTRIBUTE, guest.BUS)
    if not _is_attached(context):
        undone = not current and context.tools.run("modunload", balloon.MODULE).ok
        raise Failure(
            f"{balloon.DEVICE} did not attach{'; the module is unloaded again' if undone else ''}",
            hint="the host has no balloon for this guest, or this is no VMware machine: "
            "see dmesg(8)",
            status=UNAVAILABLE,
        )
    context.step(f"attached {balloon.DEVICE}")
    record.write(context, balloon.MODULE, path)
    settings.apply(context, tree=balloon.TREE)


def _put_back(path: str, *, ok: bool) -> str:
    return f"{path} is loaded again" if ok else f"{path} could not be loaded again"


def unload(context: Context) -> int:
    """Unload the module: the driver gives all pages back."""
    if not _is_loaded(context):
        context.step(f"nothing to change: no module {balloon.MODULE} is loaded", state="unchanged")
        context.finish(changed=False)
        return OK
    if context.dry_run:
        context.step(f"unload the module {balloon.MODULE}")
        context.finish(changed=True)
        return OK
    context.need_root("unload modules")
    with Lock(context, "unload"):
        _unload(context)
        context.step(f"unloaded the module {balloon.MODULE}: the host has no page of this guest")
    context.finish(changed=True)
    return OK


def _unload(context: Context) -> None:
    result = context.tools.run("modunload", balloon.MODULE)
    if not result.ok:
        raise modulefile.not_unloaded(context, result)
    if _is_loaded(context):
        raise Failure(
            f"modunload reports that it unloaded {balloon.MODULE}, but modstat still shows it"
        )
    record.forget(context, balloon.MODULE)


def _is_loaded(context: Context) -> bool:
    found, complaint = guest.module(context, balloon.MODULE)
    if complaint:
        raise Failure(f"cannot determine which modules are loaded: {complaint}")
    return found is not None


def _is_attached(context: Context) -> bool:
    return balloon.DEVICE in guest.attachment(context).siblings
