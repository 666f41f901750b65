"""The state of the running guest: sysctl, autoconf, modules, processes, messages.

Each function returns a result even on a damaged system. It reports an unknown value as a
``problem``, and never guesses.
"""

from __future__ import annotations

import os

from vmtctl.exits import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtctl.context import Context

MODULE = "vmt"
DEVICE = "vmt0"
TREE = "machdep.vmt0"
BUS = "cpu0"
ATTRIBUTE = "cpufeaturebus"
TOOLS_DAEMON = "vmtoolsd"
# pkgsrc's rc.d/vmtools starts vmtoolsd with this pid file (pkgsrc sysutils/open-vm-tools).
TOOLS_PID_FILE = "/var/run/vmware-guestd.pid"
POWERD_PID_FILE = "/var/run/powerd.pid"


class Module:
    """One line of modstat(8)."""

    __slots__ = ("flags", "name", "references", "source")

    def __init__(self, name: str, source: str, flags: str, references: str) -> None:
        self.name = name
        self.source = source  # builtin, boot or filesys
        self.flags = flags
        self.references = references

    @property
    def builtin(self) -> bool:
        """Whether it is part of the kernel."""
        return self.source == "builtin"

    @property
    def disabled(self) -> bool:
        """Whether it is part of the kernel, but was unloaded: its code remains, unused.

        The kernel reports -1 references then (NetBSD sys/kern/kern_module.c).
        """
        return self.builtin and self.references == "-1"


class Process:
    """One line of ps(1): a process that has not ended."""

    __slots__ = ("command", "name", "pid", "uid")

    def __init__(self, pid: int, uid: int, command: str) -> None:
        self.pid = pid
        self.uid = uid
        self.command = command
        words = command.split()
        # A script's name follows that of its interpreter; setproctitle(3) adds a colon.  Where
        # the first argument is not the program's name, ps appends that in parentheses
        # (bin/ps/print.c, command).
        last = words[-1] if words else ""
        if len(words) > 1 and last.startswith("(") and last.endswith(")"):
            self.name = last[1:-1]
        else:
            self.name = words[0].rpartition("/")[2].rstrip(":") if words else ""


class Attachment:
    """Whether vmt0 is attached; None when unknown, and then ``problem`` has the reason.

    ``siblings`` are the other children of cpu0.
    """

    __slots__ = ("attached", "problem", "siblings")

    def __init__(
        self, attached: bool | None, problem: str = "", siblings: Sequence[str] = ()
    ) -> None:
        self.attached = attached
        self.problem = problem
        self.siblings = tuple(siblings)


def sysctls(context: Context, *names: str) -> tuple[dict[str, str], str]:
    """Return the values below ``names``, and the error message of sysctl(8).

    sysctl(8) stops at the first name that does not exist, so list those that always exist first.
    """
    try:
        result = context.tools.run("sysctl", *names)
    except Failure as error:
        return {}, str(error)
    values = {}
    for line in result.output.splitlines():
        name, equals, value = line.partition(" = ")
        if not equals and line.endswith(" ="):
            name, equals, value = line[:-2], "=", ""
        if equals:
            values[name.strip()] = value
    return values, "" if result.ok else result.complaint


def driver_nodes(context: Context) -> tuple[dict[str, str], str]:
    """Return the driver's sysctl nodes by their name below machdep.vmt0, and an error message."""
    values, complaint = sysctls(context, TREE)
    prefix = f"{TREE}."
    return {
        name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)
    }, complaint


def signed(value: str) -> int | None:
    """Return the value of a CTLTYPE_QUAD, which sysctl(8) prints as unsigned (sbin/sysctl)."""
    try:
        number = int(value, 0)
    except ValueError:
        return None
    return number - (1 << 64) if number >= 1 << 63 else number


def attachment(context: Context) -> Attachment:
    """Return whether vmt0 is attached, from drvctl(8) or else from its sysctl nodes."""
    children: list[str] | None = None
    problem = ""
    try:
        result = context.tools.run("drvctl", "-l", BUS)
        if result.ok:
            # "cpu0 vmt0" per line
            children = [line.split()[-1] for line in result.output.splitlines() if line.split()]
        else:
            problem = result.complaint
    except Failure as error:
        problem = str(error)
    if children is not None and DEVICE in children:
        return Attachment(True, "", [name for name in children if name != DEVICE])
    # NetBSD 10/aarch64 attaches vmt0 at the device tree, not at cpu0.
    nodes, complaint = driver_nodes(context)
    if nodes:
        return Attachment(True, problem, children or ())
    if children is not None:
        return Attachment(False, "", children)
    if "is invalid" in complaint:  # sysctl(8) knows no machdep.vmt0
        return Attachment(False, problem)
    return Attachment(None, problem or complaint)


def modules(context: Context, name: str = MODULE) -> tuple[list[Module], str]:
    """Return all rows of modstat(8) for the module ``name``, and its error message."""
    try:
        result = context.tools.run("modstat", name)
    except Failure as error:
        return [], str(error)
    found = []
    for line in result.output.splitlines():
        words = line.split()
        # NAME CLASS SOURCE FLAG REFS SIZE REQUIRES
        if len(words) >= 5 and words[0] == name:
            found.append(Module(words[0], words[2], words[3], words[4]))
    return found, "" if found or result.ok else result.complaint


def module(context: Context, name: str = MODULE) -> tuple[Module | None, str]:
    """Return the module ``name`` that is in use, and the error message of modstat(8).

    A built-in module that was unloaded is in the list, too, but not in use.
    """
    found, complaint = modules(context, name)
    return next((each for each in found if not each.disabled), None), complaint


def processes(context: Context) -> tuple[list[Process], str]:
    """Return all processes, and the error message of ps(1)."""
    try:
        result = context.tools.run("ps", "-ax", "-o", "pid,uid,stat,command")
    except Failure as error:
        return [], str(error)
    found = []
    for line in result.output.splitlines():
        words = line.split(None, 3)
        # A zombie does not run any more.
        if len(words) == 4 and words[0].isdigit() and not words[2].startswith("Z"):
            found.append(Process(int(words[0]), int(words[1]), words[3].strip()))
    return found, (_curtain(context) if result.ok else result.complaint)


def _curtain(context: Context) -> str:
    """Return why other users' processes are hidden, or "" (secmodel_extensions(9))."""
    if os.geteuid() == 0:
        return ""
    values, _ = sysctls(context, "security.curtain")
    if values.get("security.curtain", "0") == "0":
        return ""
    return "security.curtain hides the processes of other users: ask as root"


def tools_daemons(running: Sequence[Process]) -> list[Process]:
    """Return the vmtoolsd processes that use the channel of vmt(4).

    These run as root. `vmtoolsd -n vmusr` of a desktop session serves copy and paste on another
    channel (open-vm-tools services/vmtoolsd/mainLoop.c), and any user can name a process so.
    """
    return [
        process
        for process in running
        if process.name == TOOLS_DAEMON and process.uid == 0 and not _serves_a_user(process)
    ]


def _serves_a_user(process: Process) -> bool:
    words = f" {process.command} "
    return any(
        f" {option} " in words for option in ("-n vmusr", "-nvmusr", "--name vmusr", "--name=vmusr")
    )


def messages(context: Context) -> list[str]:
    """Return the kernel's messages about vmt, oldest first, without time stamps."""
    try:
        result = context.tools.run("dmesg")
    except Failure:
        return []
    found = []
    for line in result.output.splitlines():
        text = line
        if text.startswith("[") and "] " in text:
            text = text.partition("] ")[2]
        lower = text.lower()
        if "vmt" in lower or "vmware" in lower or "module error" in lower:
            found.append(text.strip())
    return found


def hypervisor(context: Context, nodes: dict[str, str]) -> tuple[str, str]:
    """Return the hypervisor ("VMware", another name, "none" or "unknown") and the source."""
    if nodes:
        return "VMware", f"{TREE} exists, and vmt(4) attaches nowhere else"
    values, _ = sysctls(context, "machdep.hypervisor")
    name = values.get("machdep.hypervisor", "")
    # "generic" and "unknown" are not decisive: a directly started kernel reports these.
    if name and name.lower() not in {"none", "generic", "unknown"}:
        known = f"machdep.hypervisor is {name}"
        return ("VMware" if "vmware" in name.lower() else name), known
    values, _ = sysctls(context, "machdep.dmi.system-vendor")
    vendor = values.get("machdep.dmi.system-vendor", "")
    if vendor:
        known = f"machdep.dmi.system-vendor is {vendor}"
        return ("VMware" if vendor.lower().startswith("vmware") else "none"), known
    return "unknown", "neither machdep.hypervisor nor machdep.dmi.system-vendor names one"


class Kernel:
    """The release, the machine, and the version that a module must match."""

    __slots__ = ("complaint", "machine", "machine_arch", "ostype", "release", "values", "version")

    def __init__(self, values: dict[str, str], complaint: str) -> None:
        self.values = values
        self.complaint = complaint
        self.ostype = values.get("kern.ostype", "")
        self.release = values.get("kern.osrelease", "")
        self.machine = values.get("hw.machine", "")
        self.machine_arch = values.get("hw.machine_arch", "")
        revision = values.get("kern.osrevision", "")
        # __NetBSD_Version__, which a module's modinfo is compared with (sys/kern_module.c)
        self.version = int(revision) if revision.isdigit() else 0

    @property
    def module_release(self) -> str:
        """The release as it is part of module paths: 11.0, 10.1, 11.99.5."""
        digits = ""
        for character in self.release:
            if not (character.isdigit() or character == "."):
                break
            digits += character
        parts = digits.strip(".").split(".")
        return ".".join(parts[:3] if len(parts) > 1 and parts[1] == "99" else parts[:2])

    @property
    def own_module(self) -> str:
        """Where the package installs the module of this project."""
        return self.module_file(MODULE)

    def module_file(self, name: str) -> str:
        """Return where a package of this project installs the module ``name``."""
        return (
            f"/usr/pkg/stand/{self.machine or 'MACHINE'}/{self.module_release or 'RELEASE'}"
            f"/modules/{name}/{name}.kmod"
        )


def kernel(context: Context) -> Kernel:
    """Read the kernel's release and machine."""
    values, complaint = sysctls(
        context,
        "kern.ostype",
        "kern.osrelease",
        "kern.osrevision",
        "hw.machine",
        "hw.machine_arch",
        "kern.securelevel",
        "kern.module.path",
    )
    return Kernel(values, complaint)


def securelevel(context: Context) -> int:
    """Return kern.securelevel(7); -1, which allows everything, when it is unknown."""
    values, _ = sysctls(context, "kern.securelevel")
    level = signed(values.get("kern.securelevel", ""))
    return -1 if level is None else level


def read_pid(context: Context, path: str) -> int | None:
    """Return the number in a pid file, or None."""
    text = (context.read(path) or "").strip()
    return int(text) if text.isdigit() else None
