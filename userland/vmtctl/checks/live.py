"""Checks of the running system."""

from __future__ import annotations

import os

from vmtctl import balloon, clocks, guest, hooks, lock, resolver, settings, snapshots
from vmtctl.checks import ERROR, OK, WARNING, Finding
from vmtctl.checks.rcconf import RcConf, balloon_at_boot, load_at_boot, loaded_at_boot
from vmtctl.tooltable import TOOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vmtctl.context import Context


def check(context: Context, survey: dict[str, Any], rc: RcConf) -> Iterator[Finding]:
    """Yield the findings, the most basic first."""
    yield from _system(context, survey)
    yield from _driver(context, survey, rc)
    yield from _channel(context, survey)
    yield from _powerd(context, survey, rc)
    yield from _clock(context, survey, rc)
    yield from _dns(context, survey)
    yield from _snapshots(context, survey)
    yield from _balloon(context, survey, rc)
    yield from _left_overs(context, survey)
    yield from _boot(context, survey, rc)


def _system(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    missing = [row for name, row in TOOLS.items() if not context.tools.has(name)]
    if missing:
        sets = " and ".join(sorted({row.set for row in missing}))
        yield Finding(
            ERROR,
            "tools-missing",
            f"missing: {', '.join(row.path for row in missing)}",
            "vmtctl works through NetBSD's own tools",
            advice=f"unpack the set {sets} of this release again",
        )
    system = survey["system"]
    if system["ostype"] not in {None, "NetBSD"}:
        yield Finding(
            ERROR, "wrong-system", f"this is {system['ostype']}, not NetBSD", "vmt(4) is NetBSD's"
        )
    if context.tools.has("drvctl") and not os.path.exists(context.file("/dev/drvctl")):
        yield Finding(
            ERROR,
            "drvctl-device",
            "/dev/drvctl does not exist",
            "without it vmt0 can be neither detached nor attached",
            fix=f"cd {context.shown('/dev')} && sh MAKEDEV drvctl",
        )
    source = system["hypervisor_source"]
    if system["hypervisor"] == "VMware":
        yield Finding(OK, "hypervisor", "the hypervisor is VMware")
    elif system["hypervisor"] == "unknown":
        yield Finding(
            WARNING,
            "hypervisor",
            "unknown whether this is a VMware machine",
            source,
        )
    else:
        yield Finding(
            ERROR,
            "hypervisor",
            f"this is not a VMware machine ({source})",
            "there is no VMware host for vmt(4) to connect to",
        )


def _driver(context: Context, survey: dict[str, Any], rc: RcConf) -> Iterator[Finding]:
    driver, attached = survey["driver"], survey["device"]["attached"]
    kernel = guest.kernel(context)
    level = guest.securelevel(context)
    load = {"fix": context.command("load")}
    if not os.path.exists(context.file(kernel.own_module)):
        load = {"advice": f"install the module as {kernel.own_module}, then: {load['fix']}"}
    elif level > 0:
        load = {"advice": "a module can be loaded at the next boot only"}
    if driver["loaded"] == "absent" and not attached:
        yield Finding(
            ERROR,
            "driver-absent",
            "the kernel has no vmt driver, and no module is loaded",
            "without it the host can neither shut the guest down nor learn its address",
            **load,
        )
    elif attached is False and not survey["channel"]["vmtoolsd"]:
        yield Finding(
            ERROR,
            "device-detached",
            "vmt0 is not attached, and vmtoolsd does not run",
            "the host assumes that no tools run: no shutdown, no address, no clock",
            fix=context.command("attach"),
        )
    elif attached:
        yield Finding(OK, "device", "vmt0 is attached")
    if attached and driver["in_charge"] == "stock":
        yield from _stock(context, driver["loaded"], load)
    if level > 0 and driver["loaded"] != "module" and not rc.enabled("vmtctl"):
        yield Finding(
            WARNING,
            "securelevel",
            f"kern.securelevel is {level}",
            "until the next boot no module can be loaded or unloaded; rc.d/vmtctl comes earlier",
            fix=load_at_boot(context, rc),
        )


def _stock(context: Context, loaded: str | None, load: dict[str, str]) -> Iterator[Finding]:
    if loaded == "module":
        yield Finding(
            WARNING,
            "module-idle",
            "a module vmt is loaded, but vmt0 belongs to the built-in driver",
            "the module does nothing",
            fix=f"{context.command('detach')} && {context.command('attach')}",
        )
    else:
        yield Finding(
            WARNING,
            "driver-stock",
            "the driver in charge is the one built into NetBSD",
            "it does not reopen a lost channel, reports one IPv4 address only, steps the clock "
            "backwards, and has no guest variables",
            **load,
        )


def _channel(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    channel = survey["channel"]
    pids = ", ".join(str(pid) for pid in channel["vmtoolsd"])
    if channel["holder"] == "conflict":
        yield Finding(
            ERROR,
            "channel-conflict",
            f"vmt0 and vmtoolsd (pid {pids}) both use the channel",
            "each disconnects the other: requests of the host are lost, and the log fills up",
            fix=context.command("detach"),
            advice=f"permanently: {context.command('service install')}",
        )
    elif channel["holder"] == "vmtoolsd":
        yield Finding(OK, "channel", f"vmtoolsd (pid {pids}) holds the channel")
    elif channel["holder"] == "vmt":
        yield Finding(OK, "channel", "vmt0 holds the channel")
        if survey["counters"].get("contentions"):
            yield Finding(
                WARNING,
                "channel-met",
                "another tools service has used the channel of vmt0 since it was attached",
                "this has ended, but happens again if that service is started in the same way",
                advice=f"start it with: {context.command('run -- /usr/pkg/bin/vmtoolsd')}, or let "
                f"rc.d/vmtools do it: {context.command('service install')}",
            )


def _powerd(context: Context, survey: dict[str, Any], rc: RcConf) -> Iterator[Finding]:
    powerd = survey["powerd"]
    if powerd["running"]:
        yield Finding(OK, "powerd", f"powerd runs (pid {powerd['pid']})")
    elif powerd["running"] is False:
        start = f"{context.shown('/usr/sbin/service')} powerd start" if context.files_root else (
            "service powerd start"
        )  # fmt: skip
        enable = rc.enable("powerd")
        yield Finding(
            ERROR,
            "powerd-down",
            "powerd does not run",
            "the kernel then powers off by itself when the host asks: no rc.d script is run, "
            "databases are not closed",
            fix=start if rc.enabled("powerd") else f"{enable} && {start}",
        )


def _clock(context: Context, survey: dict[str, Any], rc: RcConf) -> Iterator[Finding]:
    clock = survey["clock"]
    if clock["period"]:
        running, _ = guest.processes(context)
        yield from clock_daemons(context, rc, {process.name for process in running})
        yield from _clock_ahead(context, clock)
    saved = clock["persisted"]
    for name in clocks.SETTINGS:
        now, then = clock[name], saved[name]
        if then is None or now == then:
            continue
        if now is None and name == "follow_host" and clock["period"] is not None and then:
            yield Finding(
                WARNING,
                "clock-unknown-setting",
                f"{settings.FILE} sets {name}, which the driver in charge does not have",
                "the host's options for time have no effect",
                advice=f"load the module: {context.command('load')}",
            )
        elif now is not None:
            word = clocks.as_typed(name, then)
            yield Finding(
                WARNING,
                "clock-differs",
                f"{name} of the clock is {int(now)}, and {settings.FILE} says {int(then)}",
                "the next attach or boot changes it",
                fix=context.command(f"clock {word}"),
                advice="to keep the current setting: "
                + context.command(f"clock {clocks.as_typed(name, now)} --persist"),
            )


def _dns(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    """Compare the name servers of the driver with those of resolv.conf(5)."""
    driver, file = survey["dns"]["driver"], survey["dns"]["resolv_conf"]
    if driver is None or file is None or driver == file:
        return
    yield Finding(
        WARNING,
        "dns-differs",
        f"the driver has {driver or 'no name servers'}, and {resolver.FILE} says {file or 'none'}",
        "the host shows other name servers than the guest uses",
        fix=context.command("dns update"),
        advice=f"resolvconf(8) can do this after each change: {context.command('dns install')}",
    )


def _clock_ahead(context: Context, clock: dict[str, Any]) -> Iterator[Finding]:
    """Yield a finding while a clock that is far ahead is slewed, which takes a long time."""
    ahead = -(clock["offset_us"] or 0)
    if ahead > clocks.FAR and (clock["state"] or "").startswith("slewing back"):
        yield Finding(
            WARNING,
            "clock-ahead",
            f"the clock is {ahead // 1_000_000} s ahead of the host's",
            f"it is slewed back, which takes {clocks.slew_in_words(ahead)}: some programs fail "
            "when the clock is stepped back",
            fix=context.command("clock sync"),
        )


# rc.d scripts of programs that set the clock, and the name of the process of each: NetBSD's own
# ntpd and timed, pkgsrc's net/openntpd and net/chrony.
_CLOCK_DAEMONS = (
    ("ntpd", "ntpd"),
    ("openntpd", "ntpd"),
    ("chronyd", "chronyd"),
    ("timed", "timed"),
)


def clock_daemons(context: Context, rc: RcConf, running: set[str]) -> Iterator[Finding]:
    """Yield a finding when a program that sets the clock runs or is started at boot."""
    found: dict[str, str] = {}
    for script, process in _CLOCK_DAEMONS:
        if process in running:
            found.setdefault(process, f"{process} runs")
        elif rc.enabled(script):
            found.setdefault(process, f"rc.conf says {script}=YES")
    if found:
        yield Finding(
            WARNING,
            "clock-masters",
            f"both {' and '.join(found)} and vmt(4) set the clock ({', '.join(found.values())})",
            "two programs adjust it in opposite directions; stop one of them",
            fix=context.command("clock off --persist"),
            advice=f"or stop {' and '.join(found)}",
        )


def _snapshots(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    found = survey["snapshots"]
    freeze, event = found["freeze"], found["event"] or ""
    node = f"{guest.TREE}.{snapshots.BRANCH}"
    set_node = f"{context.shown('/sbin/sysctl')} -w {node}"
    # The kernel compares strings: a mount point has one spelling.
    if freeze and (os.path.normpath(freeze) != freeze or not os.path.isdir(context.file(freeze))):
        yield Finding(
            WARNING,
            "freeze-directory",
            f"{node}.freeze is {freeze}, which is not a mount point",
            "a quiesced snapshot fails, because there is nothing to freeze",
            fix=f"{set_node}.freeze=/",
            advice=f"or freeze nothing: {set_node}.freeze=",
        )
    if found["scripts"] and survey["powerd"]["hooks"] == "absent":
        failing = found["require_scripts"]
        yield Finding(
            ERROR if failing else WARNING,
            "freeze-no-hooks",
            f"{node}.scripts is {found['scripts']}, and the hooks for powerd are not installed",
            "a quiesced snapshot fails, because no script reports to the driver"
            if failing
            else f"a quiesced snapshot waits {found['scripts']} s for a report that does not come",
            fix=context.command("powerd install"),
        )
    # While the driver waits for freeze, or still expects thaw, the note is correct.
    script = hooks.chosen(context, "hotkey_button")
    if found["left"] and not event and freeze is not None and script is not None:
        yield Finding(
            WARNING,
            "freeze-left",
            f"scripts of /etc/powerd/vmt.d may have run for freeze {found['left']} and not for "
            "thaw",
            "programs that they stopped may still be stopped, unless a snapshot is in progress",
            fix=f"{context.shown(script)} {guest.DEVICE} released",
        )


def _balloon(context: Context, survey: dict[str, Any], rc: RcConf) -> Iterator[Finding]:
    found = survey["balloon"]
    if not found["loaded"] and not found["attached"] and balloon_at_boot(context, rc):
        yield Finding(
            WARNING,
            "balloon-absent",
            f"the module {balloon.MODULE} is to be loaded at boot, and is not loaded",
            "the host cannot take memory of this guest, and swaps it out instead",
            fix=context.command("load vmmemctl"),
            advice="if that fails, its error names the package or the host as the cause",
        )
    if found["loaded"] and not found["attached"]:
        yield Finding(
            WARNING,
            "balloon-detached",
            f"the module {balloon.MODULE} is loaded, and {balloon.DEVICE} is not attached",
            "the host cannot take memory of this guest, and swaps it out instead",
            fix=context.command("load vmmemctl"),
            advice="if that fails, the host has no balloon for this guest",
        )
    if not found["attached"]:
        return
    words = balloon.in_words(found)
    if found["state"] == balloon.LOST:
        yield Finding(
            WARNING,
            "balloon-lost",
            f"the host does not answer {balloon.DEVICE}",
            "all pages are freed; the driver tries to restart every second",
            advice="after a move to another host, check that it has a balloon for this guest",
        )
    elif found["state"] == balloon.SHORT:
        yield Finding(
            WARNING,
            "balloon-short",
            f"this guest is short of memory: {words}",
            "the host may swap memory of this guest out instead",
            advice=f"give the guest more memory, or lower {balloon.TREE}.floor",
        )
    else:
        yield Finding(OK, "balloon", f"{balloon.DEVICE}: {words}")


def _left_overs(context: Context, survey: dict[str, Any]) -> Iterator[Finding]:
    attached = survey["device"]["attached"]
    left = lock.left_over(context)
    if left:
        yield Finding(
            WARNING,
            "run-killed",
            f"an earlier vmtctl was killed ({left})",
            "it could not attach vmt0 again" if not attached else "vmt0 is attached again by now",
            fix=f": > {context.shown(lock.PATH)}"
            + ("" if attached else f" && {context.command('attach')}"),
        )
    running, complaint = guest.processes(context)
    if complaint:
        return
    pids = {process.pid: process.name for process in running}
    for path, name in ((guest.POWERD_PID_FILE, "powerd"), (guest.TOOLS_PID_FILE, "vmtoolsd")):
        pid = guest.read_pid(context, path)
        if pid is not None and pids.get(pid) != name:
            yield Finding(
                WARNING,
                "pid-file",
                f"{path} names process {pid}, which is not {name}",
                "its rc.d script may assume that it runs",
                fix=f"rm {context.shown(path)}",
            )


def _boot(context: Context, survey: dict[str, Any], rc: RcConf) -> Iterator[Finding]:
    driver = survey["driver"]
    if rc.enabled("vmtctl") and driver["loaded"] not in {"module", None}:
        yield Finding(
            WARNING,
            "module-not-loaded",
            "rc.conf says vmtctl=YES, but no module is loaded",
            "loading it failed at boot, or the module was unloaded since",
            fix=context.command("load"),
        )
    # The boot loader loads its modules at each boot.
    if driver["source"] == "filesys" and loaded_at_boot(context, rc) is False:
        yield Finding(
            WARNING,
            "module-not-at-boot",
            "neither rc.conf nor modules.conf loads the module at boot",
            "the next boot begins with the kernel's own driver, or with none",
            fix=load_at_boot(context, rc),
        )
