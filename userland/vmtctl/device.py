"""Detaches and attaches vmt0, verifies the result, and reports the reason of a failure."""

from __future__ import annotations

from vmtctl import guest, resolver, settings
from vmtctl.checks import bootcfg
from vmtctl.exits import CONFIG, NO_PERMISSION, TEMPORARY, UNAVAILABLE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtctl.context import Context
    from vmtctl.system import Result

# Texts of strerror(3) at the end of drvctl(8)'s messages (sbin/drvctl, sys/kern/kern_drvctl.c).
NO_DEVICE = "Device not configured"
NO_DETACH = "Operation not supported"
NO_RESCAN = "Operation not supported by device"
NO_BUS_CHILD = "Not supported"
BUSY = "Device busy"
BAD_ATTRIBUTE = "Invalid argument"
DENIED = "Permission denied"
FORBIDDEN = "Operation not permitted"


def is_attached(context: Context) -> bool:
    """Whether vmt0 is attached. Raises Failure when the state is unknown."""
    found = guest.attachment(context)
    if found.attached is None:
        raise Failure(
            f"cannot determine whether {guest.DEVICE} is attached: {found.problem}",
            hint="`vmtctl doctor` checks the system",
            status=NO_PERMISSION if DENIED in found.problem else UNAVAILABLE,
        )
    return found.attached


def detach(context: Context) -> bool:
    """Detach vmt0 and verify that it is detached.

    Returns whether the state changed. Raises Failure with the reason.
    """
    if not is_attached(context):
        context.step(f"{guest.DEVICE} is unchanged: not attached", state="unchanged")
        return False
    if context.dry_run:
        context.step(f"detach {guest.DEVICE} (drvctl -d {guest.DEVICE})")
        return True
    context.need_root(f"detach {guest.DEVICE}")
    result = context.tools.run("drvctl", "-d", guest.DEVICE)
    if not result.ok and NO_DEVICE not in result.errors:
        raise _not_detached(result)
    if is_attached(context):
        raise Failure(
            f"drvctl reports that it detached {guest.DEVICE}, but it is attached",
            hint="another program attached it again at once: look for a second vmtctl, or vmtools",
            status=TEMPORARY,
        )
    context.step(f"detached {guest.DEVICE}")
    return True


def _not_detached(result: Result) -> Failure:
    complaint = result.complaint
    if DENIED in complaint or FORBIDDEN in complaint:
        return Failure(
            f"{guest.DEVICE} is not detached: {complaint}",
            hint="become root first",
            status=NO_PERMISSION,
        )
    if BUSY in complaint:
        return Failure(
            f"{guest.DEVICE} is busy and not detached",
            hint="a request to the host is in progress; try again in a few seconds",
            status=TEMPORARY,
        )
    if NO_DETACH in complaint or NO_BUS_CHILD in complaint:
        return Failure(
            f"this kernel's driver cannot detach {guest.DEVICE}",
            hint="as on NetBSD 10/aarch64: put `userconf=disable vmt` into /boot.cfg and reboot",
        )
    return Failure(f"{guest.DEVICE} is not detached: {complaint}")


def refuse_beside_daemon(context: Context) -> None:
    """Refuse to attach while vmtoolsd runs: both would use the same channel. Raises Failure."""
    if context.values.on("force"):
        return
    running, _ = guest.processes(context)
    daemons = guest.tools_daemons(running)
    if daemons:
        raise Failure(
            f"{guest.TOOLS_DAEMON} runs (pid {daemons[0].pid}) and uses the channel that "
            f"{guest.DEVICE} needs",
            hint=f"stop it first: service vmtools stop, or kill {daemons[0].pid}; or use --force",
            status=TEMPORARY,
        )


def attach(context: Context, kept: Mapping[str, str] | None = None) -> bool:
    """Attach vmt0, verify that it is attached, and restore its settings: see settings.apply.

    Returns whether the state changed. Raises Failure with the reason.
    """
    if is_attached(context):
        context.step(f"{guest.DEVICE} is unchanged: attached", state="unchanged")
        return False
    refuse_beside_daemon(context)
    command = f"drvctl -r -a {guest.ATTRIBUTE} {guest.BUS}"
    if context.dry_run:
        context.step(f"attach {guest.DEVICE} ({command})")
        settings.apply(context, kept)
        resolver.apply(context)
        return True
    context.need_root(f"attach {guest.DEVICE}")
    before = guest.messages(context)
    result = context.tools.run("drvctl", "-r", "-a", guest.ATTRIBUTE, guest.BUS)
    if not result.ok:
        raise _no_rescan(context, result)
    # drvctl exits with 0 even if nothing attached.
    if not is_attached(context):
        raise _not_attached(context, before)
    context.step(f"attached {guest.DEVICE}")
    settings.apply(context, kept)
    resolver.apply(context)
    return True


def _no_rescan(context: Context, result: Result) -> Failure:
    complaint = result.complaint
    what = f"{guest.DEVICE} is not attached"
    if DENIED in complaint or FORBIDDEN in complaint:
        return Failure(f"{what}: {complaint}", hint="become root first", status=NO_PERMISSION)
    if NO_RESCAN in complaint or BAD_ATTRIBUTE in complaint:
        kernel = guest.kernel(context)
        return Failure(
            f"{what}: {guest.BUS} of this kernel (NetBSD {kernel.release} {kernel.machine_arch}) "
            f"has no {guest.ATTRIBUTE}",
            hint="the driver attaches at boot only: reboot; on aarch64 this needs NetBSD 11",
        )
    if NO_DEVICE in complaint:
        return Failure(f"{what}: there is no {guest.BUS} ({complaint})")
    return Failure(f"{what}: {complaint}")


def _not_attached(context: Context, before: list[str]) -> Failure:
    what = f"the bus was searched, but {guest.DEVICE} did not attach"
    name, source = guest.hypervisor(context, {})
    if name not in {"VMware", "unknown"}:
        return Failure(f"{what}: this is not a VMware machine ({source})")
    siblings = guest.attachment(context).siblings
    rival = next((sibling for sibling in siblings if sibling.startswith("hyperv")), None)
    if rival:
        return Failure(f"{what}: {rival} has its place on {guest.BUS}")
    disabled = bootcfg.disabling_line(context.read(bootcfg.PATH) or "")
    if disabled:
        return Failure(
            f"{what}: /boot.cfg says `{disabled}`",
            hint=f"remove that line and reboot; or load the module: {context.command('load')}",
            status=CONFIG,
        )
    loaded, complaint = guest.module(context)
    if loaded is None and not complaint:
        return Failure(
            f"{what}: the kernel has no vmt driver, and no module is loaded",
            hint=f"load one: {context.command('load')}",
        )
    after = guest.messages(context)
    new = after[len(before) :] if after[: len(before)] == before else after[-3:]
    if new:
        return Failure(f"{what}; the kernel reported: {'; '.join(new)}")
    if name == "unknown":
        return Failure(
            f"{what}: the driver did not find VMware's backdoor, so this is not a VMware machine",
            hint=f"{source}; if this is certainly a VMware machine, look into dmesg(8)",
        )
    return Failure(
        f"{what}, and the kernel does not report why",
        hint="the kernel may have been booted with vmt disabled; `vmtctl doctor` checks more",
    )
