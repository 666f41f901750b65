"""Checks of files, which work on an image as well."""

from __future__ import annotations

import os
import stat

from vmtctl import clocks, elf, guest, hooks
from vmtctl.checks import ERROR, OK, WARNING, Finding, bootcfg
from vmtctl.checks.rcconf import boot_modules, install_script, load_at_boot
from vmtctl.exits import Failure
from vmtctl.install import block, hookplan
from vmtctl.install.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtctl.checks.rcconf import RcConf
    from vmtctl.context import Context

_MODULES = "/usr/pkg/stand"
_ROOT = 0  # the only user who may own the files that powerd runs


def check(context: Context, rc: RcConf, *, powerd_down: bool) -> Iterator[Finding]:
    """Yield the findings; ``powerd_down`` if another finding reports that powerd does not run."""
    yield from _hooks(context)
    yield from _permissions(context)
    yield from _site_scripts(context)
    if not powerd_down:
        yield from _powerd(rc)
    yield from _clock(context, rc)
    yield from _boot(context, rc)
    yield from _modules(context)
    yield from _services(context, rc)


def _hooks(context: Context) -> Iterator[Finding]:
    tree, typed = Tree(context.files_root), _typed(context)
    force = ""
    try:
        plan = hookplan.install(tree, typed=typed, force=True)
    except Failure as error:
        yield Finding(
            ERROR,
            "hooks-impossible",
            str(error),
            "the hooks for powerd cannot be installed",
            advice=error.hint,
        )
        return
    try:
        hookplan.install(tree, typed=typed, force=False)
    except Failure:
        force = " --force"
    state = hooks.state(context)
    install = context.command(f"powerd install{force}{'' if typed else ' --no-acpi'}")
    if state == "absent":
        yield Finding(
            WARNING,
            "hooks-absent",
            "the hooks for powerd are not installed",
            "after a resume only dhcpcd is restarted; site scripts are not run",
            fix=install,
        )
    elif plan:
        yield Finding(
            ERROR if state == "partial" else WARNING,
            "hooks-differ",
            "the hooks for powerd are not complete, not up to date, or were edited",
            f"`{context.command('powerd diff')}` shows it",
            fix=install,
        )
    else:
        yield Finding(OK, "hooks", "the hooks for powerd are installed")
    for name in hooks.SCRIPTS:
        yield from _script(context, name, install)
    if state == "installed":
        for name in ("power_button", "reset_button"):
            yield from _last_script(context, name)


def _script(context: Context, name: str, install: str) -> Iterator[Finding]:
    """Check the script that powerd would run for the event ``name``."""
    there = [
        path
        for path in (f"{hooks.TYPED}/{name}", f"{hooks.DIRECTORY}/{name}")
        if os.path.exists(context.file(path))
    ]
    chosen = hooks.chosen(context, name)
    if chosen is None:
        yield Finding(
            ERROR,
            "script-missing",
            f"powerd has no script {name} that it can run",
            "powerd then only logs the host's request",
            fix=f"chmod 555 {context.shown(there[0])}" if there else install,
        )
    elif chosen != there[0]:
        yield Finding(
            WARNING,
            "script-passed-over",
            f"{there[0]} cannot be run, so powerd takes {chosen}",
            "the first script is not run",
            fix=f"chmod 555 {context.shown(there[0])}",
        )


def _typed(context: Context) -> bool:
    """Return whether to compare with the hooks for ACPI: as installed, else True."""
    tree = Tree(context.files_root)
    there = dict.fromkeys((hooks.TYPED, hooks.DIRECTORY), False)
    for directory in there:
        for name in hooks.SCRIPTS:
            try:
                kind = hookplan.classify(tree.look(f"{directory}/{name}"), "hook")
            except Failure:
                continue  # the check of the installation reports it
            there[directory] |= kind in hookplan.OURS | hookplan.BLOCKS
    return there[hooks.TYPED] or not there[hooks.DIRECTORY]


# Commands that shut the machine down.
_DOWN = ("shutdown", "poweroff", "halt", "reboot", "init ")


def _last_script(context: Context, name: str) -> Iterator[Finding]:
    """Check the script that ends the host's shutdown: NetBSD's, or the site's version of it."""
    tree = Tree(context.files_root)
    for path in hookplan.places(name):
        try:
            found = tree.look(path)
            kind = hookplan.classify(found, "hook")
        except Failure:
            return
        if kind in hookplan.OURS or kind == "absent" or not found.mode & 0o111:
            continue  # powerd or the hook continues with the next script
        text = found.data.decode("utf-8", "replace")
        commands = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        if found.kind == "file" and not any(word in line for line in commands for word in _DOWN):
            yield Finding(
                WARNING,
                "no-shutdown",
                f"{path} does not seem to bring the machine down",
                "vmt-event runs it last when the host requests the event, as powerd would",
                advice=f"let {path} call shutdown(8) for vmt0 as well",
            )
        return


def _permissions(context: Context) -> Iterator[Finding]:
    names = [f"{place}/{name}" for place in (hooks.DIRECTORY, hooks.TYPED)
             for name in hooks.SCRIPTS]  # fmt: skip
    for path in ("/etc/powerd", hooks.DIRECTORY, hooks.TYPED, hooks.HANDLER, hooks.SITE, *names):
        try:
            found = os.lstat(context.file(path))
        except OSError:
            continue
        if stat.S_ISLNK(found.st_mode):
            continue  # the hooks' own check reports it
        yield from _only_roots(
            context,
            path,
            found,
            "powerd runs it as root, so a user who can write to it can become root",
        )


def _only_roots(context: Context, path: str, found: os.stat_result, why: str) -> Iterator[Finding]:
    """Yield findings unless only root may write to ``path``."""
    if found.st_mode & 0o022:
        yield Finding(
            ERROR,
            "others-may-write",
            f"{path} may be written by users other than root",
            why,
            fix=f"chmod go-w {context.shown(path)}",
        )
    if found.st_uid != _ROOT and (context.image or not context.values.option("tools-root")):
        yield Finding(
            ERROR,
            "owner",
            f"{path} belongs to user {found.st_uid}, not to root",
            why,
            fix=f"chown 0:0 {context.shown(path)}",
        )


def _site_scripts(context: Context) -> Iterator[Finding]:
    try:
        names = sorted(os.listdir(context.file(hooks.SITE)))
    except OSError:
        return
    seen: set[str] = set()
    for name in names:
        path = f"{hooks.SITE}/{name}"
        target = _target(context, path)
        try:
            found = os.stat(context.file(target))
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            continue
        if not found.st_mode & 0o100:
            yield Finding(
                WARNING,
                "site-script-mode",
                f"{target} is not executable",
                f"{path} is not run",
                fix=f"chmod 755 {context.shown(target)}",
            )
        # A user who can change a directory above the script can replace the script.
        while target and target not in seen and not hooks.SITE.startswith(target):
            seen.add(target)
            found = os.stat(context.file(target))
            yield from _only_roots(context, target, found, f"{path} is not run")
            target = target.rpartition("/")[0]


def _target(context: Context, path: str) -> str:
    """Return the target of the system's file ``path``, as a path of that system.

    An absolute link in an image refers to a file of the image.
    """
    if not context.image:
        real, root = os.path.realpath(context.file(path)), os.path.realpath(context.files_root)
        return real.removeprefix(root) if context.files_root else real
    todo, done = path.split("/"), [""]
    for _ in range(200):
        if not todo:
            break
        part = todo.pop(0)
        if part == "..":
            done = done[:-1] or [""]
        if part in {"", ".", ".."}:
            continue
        try:
            link = os.readlink(context.file("/".join([*done, part])))
        except OSError:
            done.append(part)
            continue
        done = [""] if link.startswith("/") else done
        todo = [*link.split("/"), *todo]
    return "/".join(done)


def _powerd(rc: RcConf) -> Iterator[Finding]:
    enabled = rc.enabled("powerd")
    if enabled is None:
        yield Finding(
            WARNING,
            "powerd-unclear",
            f"unknown whether powerd is started at boot: check {rc.file('powerd')}",
            "without it the host's shutdown cuts the power",
            fix=rc.enable("powerd"),
        )
    elif not enabled:
        yield Finding(
            ERROR,
            "powerd-disabled",
            "powerd is not started at boot: rc.conf does not say powerd=YES, and NetBSD's default "
            "is NO",
            "without it the host's shutdown cuts the power: no rc.d script is run",
            fix=rc.enable("powerd"),
        )


def _clock(context: Context, rc: RcConf) -> Iterator[Finding]:
    """Check the clock of an image: the driver sets it unless sysctl.conf disables that."""
    if not context.image:
        return
    saved = clocks.persisted(context)
    if saved["period"] != 0:
        from vmtctl.checks.live import clock_daemons

        yield from clock_daemons(context, rc, set())


def _boot(context: Context, rc: RcConf) -> Iterator[Finding]:
    text = context.read(bootcfg.PATH) or ""
    line = bootcfg.disabling_line(text)
    if line:
        yield Finding(
            WARNING,
            "boot-cfg-disables",
            f"{bootcfg.PATH} says `{line}`",
            "the built-in driver does not attach; right if only vmtoolsd is to use the channel",
            advice=f"remove that line from {bootcfg.PATH} to use vmt0",
        )
    line = bootcfg.loading_line(text)
    if line:
        yield Finding(
            WARNING,
            "boot-cfg-loads",
            f"{bootcfg.PATH} says `{line}`",
            "a kernel with a built-in vmt, such as GENERIC, refuses a module of that name at boot",
            advice=f"remove that line from {bootcfg.PATH}{_way(context, rc)}",
        )
    for name in boot_modules(context):
        if name == "vmt":
            yield Finding(
                WARNING,
                "modules-conf",
                "/etc/modules.conf names vmt",
                "with the bare name the kernel keeps its built-in driver and loads no module",
                advice=f"remove it from /etc/modules.conf{_way(context, rc)}",
            )


def _way(context: Context, rc: RcConf) -> str:
    """Return how to load the module with rc.d/vmtctl, as the end of an advice."""
    command = load_at_boot(context, rc)
    if not command:
        return "; rc.d/vmtctl loads the module"
    return f", and let rc.d/vmtctl load the module: {command}"


def _modules(context: Context) -> Iterator[Finding]:
    if context.image:
        return
    kernel = guest.kernel(context)
    path = kernel.own_module
    if os.path.exists(context.file(path)):
        try:
            found = elf.read_module(context.file(path))
        except Failure as error:
            yield Finding(
                ERROR,
                "module-damaged",
                str(error),
                "it cannot be loaded",
                advice="install the package again",
            )
            return
        if kernel.version and not elf.compatible(found.version, kernel.version):
            yield Finding(
                ERROR,
                "module-release",
                f"{path} was built for NetBSD {found.release}",
                f"this kernel is {elf.release_of(kernel.version)} and refuses it",
                advice="install the module for this release",
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
            WARNING,
            "module-other-release",
            f"there are modules for NetBSD {', '.join(others)}, but none for this kernel "
            f"({kernel.module_release})",
            "the kernel was upgraded, the module was not",
            advice=f"install the module as {path}",
        )


def _services(context: Context, rc: RcConf) -> Iterator[Finding]:
    enabled = rc.enabled("vmtctl")
    if enabled and not os.access(context.file("/etc/rc.d/vmtctl"), os.X_OK):
        yield Finding(
            ERROR,
            "script-vmtctl",
            "rc.conf says vmtctl=YES, but /etc/rc.d/vmtctl cannot be run",
            "the module is not loaded at boot",
            fix=install_script(context),
        )
    elif enabled is None:
        yield Finding(
            OK,
            "vmtctl-unclear",
            f"unknown whether rc.d/vmtctl loads the module at boot: check {rc.file('vmtctl')}",
        )
    if not os.path.exists(context.file("/etc/rc.d/vmtools")):
        return
    path = "/etc/rc.conf.d/vmtools"
    text = context.read(path) or ""
    try:
        parts = block.split(text.encode("utf-8", "surrogateescape"), path)
        installed = parts.inside is not None
    except Failure as error:
        yield Finding(
            ERROR, "vmtools-block", str(error), "the file is not changed", advice=error.hint
        )
        return
    if rc.enabled("vmtools") and not installed:
        yield Finding(
            WARNING,
            "vmtools-alone",
            "rc.d/vmtools does not use vmtctl",
            "when it stops, it attaches vmt0 while vmtoolsd still runs: both use the channel",
            fix=context.command("service install"),
        )
    for word in ("start_precmd", "stop_precmd", "stop_postcmd"):
        lines = parts.after.decode("utf-8", "replace").splitlines()
        if any(line.lstrip().startswith(f"{word}=") for line in lines):
            yield Finding(
                WARNING,
                "vmtools-overridden",
                f"{path} sets {word} again below vmtctl's block",
                "vmt0 and vmtoolsd may then use the channel at the same time",
                advice="move the line above the block, which runs the commands that it sets",
            )
