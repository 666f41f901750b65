"""The file of a module: its place, whether it fits this kernel, and why modload refused it."""

from __future__ import annotations

import os

from vmtctl import elf, guest
from vmtctl.exits import DATA, NO_INPUT, NO_PERMISSION, TEMPORARY, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context
    from vmtctl.system import Result

# The meaning of modload(8)'s errors (NetBSD sys/kern/kern_module.c, kobj(9)).
_MEANINGS = (
    ("Exec format error", "the kernel's linker refused it", DATA),
    ("Program version wrong", "it was built for another release", DATA),
    ("File exists", "a module of that name is loaded already", TEMPORARY),
    ("No such file", "it, or a module that it needs, was not found", DATA),
    ("Device busy", "another detach of the device is still in progress", TEMPORARY),
    ("Operation not permitted", "securelevel is above 0, or you are not root", NO_PERMISSION),
)


def chosen(context: Context, name: str) -> str:
    """Return the file of the module ``name``: that of --module, or the package's.

    Raises Failure unless it is there, is that module, and fits this kernel.
    """
    kernel = guest.kernel(context)
    path = context.values.option("module")
    if not path and not (kernel.machine and kernel.module_release):
        raise Failure(
            "cannot determine where this kernel's module is: "
            f"{kernel.complaint or 'hw.machine or kern.osrelease is empty'}",
            hint="run vmtctl load on the NetBSD guest; there --module FILE names another module",
        )
    if path:
        path = os.path.abspath(path)
    else:
        path = context.file(kernel.module_file(name))
        _need_package(path, name, kernel)
    _check_fit(context, name, elf.read_module(path), kernel)
    return path


def _need_package(path: str, name: str, kernel: guest.Kernel) -> None:
    """Refuse where the package of this release is missing; list those that are installed."""
    if os.path.exists(path):
        return
    suffix = f"/{kernel.module_release}/modules/{name}/{name}.kmod"
    place = path.removesuffix(suffix)
    try:
        others = sorted(
            release
            for release in os.listdir(place)
            if os.path.exists(f"{place}/{release}/modules/{name}")
        )
    except OSError:
        others = []
    found = f" (the one for {', '.join(others)} is)" if others else ""
    raise Failure(
        f"the module for NetBSD {kernel.module_release} does not exist: {path}{found}",
        hint=f"add the package netbsd-{name} for this release, made by: vmtgen dist "
        f"--module {name} --release {kernel.module_release}; another file: --module FILE",
        status=NO_INPUT,
    )


def _check_fit(context: Context, name: str, file: elf.ModuleFile, kernel: guest.Kernel) -> None:
    if file.name != name:
        raise Failure(f"{file.path} is the module {file.name!r}, not {name}", status=DATA)
    if kernel.machine_arch and file.machine_arch != kernel.machine_arch:
        raise Failure(
            f"{file.path} is for {file.machine_arch}; this machine is {kernel.machine_arch}",
            hint=f"build it for this machine: vmtgen build --machine {kernel.machine}",
            status=DATA,
        )
    if not kernel.version or elf.compatible(file.version, kernel.version):
        return
    message = (
        f"{file.path} was built for NetBSD {file.release}; this kernel is {kernel.release} "
        f"({elf.release_of(kernel.version)})"
    )
    if not context.values.on("force"):
        raise Failure(
            message,
            hint="get the module for this release; --force loads it anyway, at your risk",
            status=DATA,
        )
    context.warn(f"{message}; loaded because of --force")


def refused(context: Context, path: str, result: Result) -> Failure:
    """Return why modload(8) did not load ``path``, with the kernel's message."""
    complaint = result.complaint
    level = guest.securelevel(context)
    if "Operation not permitted" in complaint and level > 0:
        return Failure(
            f"{path} was not loaded: kern.securelevel is {level}, which forbids it",
            hint="rc.d/vmtctl can load it earlier, at boot: `vmtctl doctor` shows how",
            status=NO_PERMISSION,
        )
    lines = [line for line in guest.messages(context)[-4:] if "error" in line.lower()]
    for text, meaning, status in _MEANINGS:
        if text in complaint:
            words = f"; the kernel reported: {' / '.join(lines)}" if lines else ""
            return Failure(f"{path} was not loaded: {meaning}{words}", status=status)
    return Failure(f"{path} was not loaded: {complaint}")


def not_unloaded(context: Context, result: Result) -> Failure:
    """Return why modunload(8) did not unload a module."""
    level = guest.securelevel(context)
    if level > 0:
        return Failure(
            f"the module is not unloaded: kern.securelevel is {level}, which forbids it",
            hint="it stays until the next boot; to prevent loading then: vmtctl=NO in /etc/rc.conf",
            status=NO_PERMISSION,
        )
    hint = ""
    if "Device busy" in result.complaint:
        hint = "a request to the host may be in progress; try again in a few seconds"
    return Failure(f"the module is not unloaded: {result.complaint}", hint=hint)
