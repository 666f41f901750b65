"""Checks of files, which work on an image as well."""

from __future__ import annotations

import os
import stat

from vmtctl import device, elf, guest, hooks
from vmtctl.checks import BETTER, BROKEN, FINE, Finding
from vmtctl.checks.rcconf import RcConf, boot_modules
from vmtctl.exits import Failure
from vmtctl.install import block, hookplan
from vmtctl.install.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtctl.context import Context

_MODULES = "/usr/pkg/stand"


def check(context: Context) -> Iterator[Finding]:
    """Yield the findings."""
    yield from _hooks(context)
    yield from _permissions(context)
    yield from _site_scripts(context)
    yield from _boot(context)
    yield from _modules(context)
    yield from _services(context)


def _hooks(context: Context) -> Iterator[Finding]:
    try:
        plan = hookplan.install(Tree(context.files_root), typed=_typed(context), force=True)
    except Failure as error:
        yield Finding(BROKEN, str(error), "the hooks for powerd cannot be installed", error.hint)
        return
    state = hooks.state(context)
    if state == "absent":
        yield Finding(
            BETTER,
            "the hooks for powerd are not installed",
            "after a resume only dhcpcd is restarted; site scripts are not run",
            "vmtctl powerd install",
        )
    elif plan:
        yield Finding(
            BROKEN if state == "partial" else BETTER,
            "the hooks for powerd are not complete, not up to date, or were edited",
            "see `vmtctl powerd diff`",
            "vmtctl powerd install",
        )
    else:
        yield Finding(FINE, "the hooks for powerd are installed")
    for name in hooks.SCRIPTS:
        if hooks.chosen(context, name) is None:
            yield Finding(
                BROKEN,
                f"powerd has no script {name} that it can run",
                "what the host asks for is then only logged",
                f"chmod 555 {hooks.DIRECTORY}/{name}"
                if os.path.exists(context.file(f"{hooks.DIRECTORY}/{name}"))
                else "vmtctl powerd install",
            )


def _typed(context: Context) -> bool:
    """Tell which kind of hooks to compare with: the one that is there, else that for ACPI."""
    path = context.file(f"{hooks.DIRECTORY}/{hooks.SCRIPTS[0]}")
    try:
        with open(path, "rb") as stream:
            return block.split(stream.read(), path).inside is None
    except (OSError, Failure):
        return True


def _permissions(context: Context) -> Iterator[Finding]:
    names = [f"{place}/{name}" for place in (hooks.DIRECTORY, hooks.TYPED)
             for name in hooks.SCRIPTS]  # fmt: skip
    for path in ("/etc/powerd", hooks.DIRECTORY, hooks.TYPED, hooks.HANDLER, hooks.SITE, *names):
        try:
            found = os.lstat(context.file(path))
        except OSError:
            continue
        if stat.S_ISLNK(found.st_mode):
            continue  # the hooks' own check tells of it
        if found.st_mode & 0o022:
            yield Finding(
                BROKEN,
                f"{path} may be written by others than root",
                "whoever may write to it is root: powerd runs it as root",
                f"chmod go-w {path}",
            )
        if found.st_uid != 0 and not context.values.option("tools-root"):
            yield Finding(
                BROKEN,
                f"{path} belongs to user {found.st_uid}, not to root",
                "its owner can change what root runs",
                f"chown root:wheel {path}",
            )


def _site_scripts(context: Context) -> Iterator[Finding]:
    try:
        names = sorted(os.listdir(context.file(hooks.SITE)))
    except OSError:
        return
    for name in names:
        path = f"{hooks.SITE}/{name}"
        mode = os.lstat(context.file(path)).st_mode
        if stat.S_ISREG(mode) and not mode & 0o100:
            yield Finding(BETTER, f"{path} is not executable", "it is not run", f"chmod 755 {path}")
        if stat.S_ISREG(mode) and mode & 0o002:
            yield Finding(
                BROKEN, f"{path} may be written by everybody", "it is not run", f"chmod o-w {path}"
            )


def _boot(context: Context) -> Iterator[Finding]:
    line = device.userconf_line(context)
    if line:
        yield Finding(
            BETTER,
            f"/boot.cfg says `{line}`",
            "the built-in driver does not attach; right if vmtoolsd shall have the channel alone",
            "take the line out of /boot.cfg if vmt0 is wanted",
        )
    for name in boot_modules(context):
        if name == "vmt":
            yield Finding(
                BETTER,
                "/etc/modules.conf names vmt",
                "by its bare name the built-in driver wins, and the module is never loaded",
                "take it out, and put vmtctl=YES into /etc/rc.conf",
            )


def _modules(context: Context) -> Iterator[Finding]:
    if context.image:
        return
    kernel = guest.kernel(context)
    path = kernel.own_module
    if os.path.exists(context.file(path)):
        try:
            found = elf.read_module(context.file(path))
        except Failure as error:
            yield Finding(BROKEN, str(error), "it cannot be loaded", "install the package again")
            return
        if kernel.version and not elf.compatible(found.version, kernel.version):
            yield Finding(
                BROKEN,
                f"{path} was built for NetBSD {found.release}",
                f"this kernel is {elf.release_of(kernel.version)} and refuses it",
                "install the module for this release",
            )
        return
    base = f"{_MODULES}/{kernel.machine}"
    try:
        others = [
            release
            for release in sorted(os.listdir(context.file(base)))
            if os.path.exists(context.file(f"{base}/{release}/modules/vmt/vmt.kmod"))
        ]
    except OSError:
        return
    if others:
        yield Finding(
            BETTER,
            f"there are modules for NetBSD {', '.join(others)}, but none for this kernel "
            f"({kernel.module_release})",
            "the kernel was upgraded, the module was not",
            f"install the module as {path}",
        )


def _services(context: Context) -> Iterator[Finding]:
    rc = RcConf(context)
    if rc.enabled("vmtctl") and not os.access(context.file("/etc/rc.d/vmtctl"), os.X_OK):
        yield Finding(
            BROKEN,
            "rc.conf says vmtctl=YES, but /etc/rc.d/vmtctl cannot be run",
            "the module is not loaded at boot",
            "cp /usr/pkg/share/examples/rc.d/vmtctl /etc/rc.d/ && chmod 555 /etc/rc.d/vmtctl",
        )
    if not os.path.exists(context.file("/etc/rc.d/vmtools")):
        return
    path = "/etc/rc.conf.d/vmtools"
    text = context.read(path) or ""
    try:
        installed = block.split(text.encode("utf-8", "surrogateescape"), path).inside is not None
    except Failure as error:
        yield Finding(BROKEN, str(error), "the file is left alone", error.hint)
        return
    if rc.enabled("vmtools") and not installed:
        yield Finding(
            BETTER,
            "rc.d/vmtools does not go through vmtctl",
            "when it stops, it attaches vmt0 while vmtoolsd still runs: they fight for a moment",
            "vmtctl service install",
        )
