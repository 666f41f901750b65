"""Checks of the running system."""

from __future__ import annotations

import os

from vmtctl import clocks, guest, hooks, lock
from vmtctl.checks import BETTER, BROKEN, FINE, Finding
from vmtctl.checks.rcconf import LOAD_AT_BOOT, RcConf, loaded_at_boot
from vmtctl.tooltable import TOOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vmtctl.context import Context


def check(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    """Yield the findings, the most basic first."""
    yield from _system(context, survey)
    yield from _driver(context, survey)
    yield from _channel(context, survey)
    yield from _powerd(survey)
    yield from _clock(context, survey)
    yield from _left_overs(context, survey)


def _system(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    missing = [row.path for name, row in TOOLS.items() if not context.tools.has(name)]
    if missing:
        yield Finding(
            BROKEN,
            f"the tools {', '.join(missing)} are missing",
            "vmtctl works through NetBSD's own tools",
            "unpack the set base of this release again; vmtctl runs on NetBSD only",
        )
    system = survey["system"]
    if system["ostype"] not in {None, "NetBSD"}:
        yield Finding(BROKEN, f"this is {system['ostype']}, not NetBSD", "vmt(4) is NetBSD's")
    if "drvctl" not in str(missing) and not os.path.exists(context.file("/dev/drvctl")):
        yield Finding(
            BROKEN,
            "/dev/drvctl is not there",
            "without it vmt0 can be neither detached nor attached",
            "cd /dev && sh MAKEDEV drvctl",
        )
    hypervisor = system["hypervisor"]
    if hypervisor == "VMware":
        yield Finding(FINE, "the hypervisor is VMware")
    elif hypervisor == "unknown":
        yield Finding(
            BETTER,
            "it cannot be found out whether this is a VMware machine",
            system["hypervisor_source"],
        )
    else:
        yield Finding(
            BROKEN,
            f"this is no VMware machine ({system['hypervisor_source']})",
            "vmt(4) has nothing to talk to here",
        )


def _driver(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    driver, attached = survey["driver"], survey["device"]["attached"]
    if driver["loaded"] == "absent" and not attached:
        yield Finding(
            BROKEN,
            "the kernel has no vmt driver, and no module is loaded",
            "without it the host cannot shut the guest down, nor learn its address",
            "vmtctl load",
        )
    elif attached is False and not survey["channel"]["vmtoolsd"]:
        yield Finding(
            BROKEN,
            "vmt0 is not attached, and vmtoolsd does not run",
            "the host thinks that no tools are running: no shutdown, no address, no clock",
            "vmtctl attach",
        )
    elif attached:
        yield Finding(FINE, "vmt0 is attached")
    if attached and driver["in_charge"] == "stock":
        yield Finding(
            BETTER,
            "the driver in charge is the one built into NetBSD",
            "it does not reopen a lost channel, reports one IPv4 address only, steps the clock "
            "backwards, and has no guest variables",
            "vmtctl load",
        )
    if driver["loaded"] == "module" and driver["in_charge"] == "stock":
        yield Finding(
            BETTER,
            "a module vmt is loaded, but vmt0 belongs to the built-in driver",
            "the module does nothing so",
            "vmtctl detach && vmtctl attach",
        )
    kernel = guest.kernel(context)
    level = kernel.values.get("kern.securelevel", "")
    if level.lstrip("-").isdigit() and int(level) > 0 and driver["loaded"] != "module":
        yield Finding(
            BETTER,
            f"kern.securelevel is {level}",
            "no module can be loaded or unloaded until the next boot",
            "put vmtctl=YES into /etc/rc.conf: it comes before securelevel is raised",
        )


def _channel(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    channel = survey["channel"]
    pids = ", ".join(str(pid) for pid in channel["vmtoolsd"])
    if channel["holder"] == "conflict":
        yield Finding(
            BROKEN,
            f"vmt0 and vmtoolsd (pid {pids}) fight for the channel",
            "each throws the other out: requests of the host get lost, and the log fills up",
            "vmtctl detach   # vmtoolsd keeps it; for good: vmtctl service install",
        )
    elif channel["holder"] == "vmtoolsd":
        yield Finding(FINE, f"vmtoolsd (pid {pids}) holds the channel")
    elif channel["holder"] == "vmt":
        yield Finding(FINE, "vmt0 holds the channel")
        # As the driver of this project says it (specs/driver.yaml, channel-fight).
        if any("vmtoolsd(8) wants the channel" in line for line in _since_attached(context)):
            yield Finding(
                BETTER,
                "vmt0 has met another tools service on its channel since it was attached",
                "it is over by now, but not if it is started in the same way again",
                "vmtctl service install   # and by hand: vmtctl run -- /usr/pkg/bin/vmtoolsd",
            )


def _since_attached(context: Context) -> list[str]:
    """Return what the kernel said of vmt since the last vmt0 came."""
    lines = guest.messages(context)
    starts = [n for n, line in enumerate(lines) if line.startswith(f"{guest.DEVICE} at ")]
    return lines[starts[-1] :] if starts else lines


def _powerd(survey: dict[str, Any]) -> Iterator[Finding]:
    powerd = survey["powerd"]
    if powerd["running"] is False:
        yield Finding(
            BROKEN,
            "powerd does not run",
            "the kernel then powers off by itself when the host asks: no rc.d script is run, "
            "databases are cut off",
            "echo powerd=YES >> /etc/rc.conf && service powerd start",
        )
    elif powerd["running"]:
        yield Finding(FINE, f"powerd runs (pid {powerd['pid']})")


def _clock(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    clock = survey["clock"]
    if clock["period"]:
        running, _ = guest.processes(context)
        if any(process.name == "ntpd" for process in running):
            yield Finding(
                BETTER,
                "both ntpd and vmt(4) set the clock",
                "two masters pull it to and fro",
                "vmtctl clock off --persist   # or stop ntpd",
            )
    persisted, period = clock["persisted"]["period"], clock["period"]
    if persisted is not None and period is not None and persisted != period:
        yield Finding(
            BETTER,
            f"the clock's period is {period}, and {clocks.PERSISTENT_FILE} says {persisted}",
            "it will change with the next boot",
            f"vmtctl clock {clocks.as_typed(persisted)}   # or, to keep what is set: "
            f"vmtctl clock {clocks.as_typed(period)} --persist",
        )


def _left_overs(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    left = lock.left_over(context)
    if left:
        attached = survey["device"]["attached"]
        yield Finding(
            BETTER if attached else BROKEN,
            f"a vmtctl was killed at its work ({left})",
            "it could not attach vmt0 again",
            "vmtctl attach" if not attached else f": > {lock.PATH}",
        )
    running, complaint = guest.processes(context)
    if complaint:
        return
    pids = {process.pid: process.name for process in running}
    for path, name in ((guest.POWERD_PID_FILE, "powerd"), (guest.TOOLS_PID_FILE, "vmtoolsd")):
        pid = guest.read_pid(context, path)
        if pid is not None and pids.get(pid) != name:
            yield Finding(
                BETTER,
                f"{path} names process {pid}, which is no {name}",
                "its rc.d script may think that it runs",
                f"rm {path}",
            )
    rc = RcConf(context)
    if rc.enabled("vmtctl") and survey["driver"]["loaded"] != "module":
        yield Finding(
            BETTER,
            "rc.conf says vmtctl=YES, but no module is loaded",
            "loading it failed at boot, or was undone",
            "vmtctl load",
        )
    # What the boot loader loaded comes again by itself.
    if survey["driver"]["source"] == "filesys" and not loaded_at_boot(context):
        yield Finding(
            BETTER,
            "neither rc.conf nor modules.conf loads the module at boot",
            "the next boot begins with the kernel's own driver, or with none",
            LOAD_AT_BOOT,
        )
    if hooks.state(context) != "absent" and rc.disabled("powerd"):
        yield Finding(
            BROKEN,
            "rc.conf says powerd=NO",
            "the hooks are there, but nothing runs them after the next boot",
            "change powerd=NO to powerd=YES in /etc/rc.conf",
        )
