"""The output and the exit status of the guest's tools.

Sources: NetBSD sbin/drvctl, sbin/modload, sbin/modunload, usr.bin/modstat, bin/ps, sbin/dmesg,
usr.bin/logger, sbin/shutdown, and sys/kern/kern_module.c for the kernel's data for modstat.
"""

from __future__ import annotations

import getopt
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim.fakeguest.call import Answer, Call, refuse, strerror
from vmtsim.fakeguest.machine import Down
from vmtsim.fakeguest.sysctltool import sysctl
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.console import Console
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.syslog import SysLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmtsim.fakeguest.machine import Machine
    from vmtsim.kernel.alldevs import Device

# Virtual ns that a process takes to start.
_START = 1_000_000
_CLASSES = ("any", "misc", "vfs", "driver", "exec", "secmodel", "bufq")


def run(machine: Machine, call: Call) -> Answer:
    """Run the tool ``call.name``."""
    machine.commands.append((machine.now, " ".join((call.name, *call.arguments))))
    try:
        with machine.alive():
            machine.run(machine.now + _START)
            tool = _tools().get(call.name)
            # Like sh(1): a copy of a stub under another name is no tool.
            return tool(machine, call) if tool else refuse(f"{call.name}: not found", 127)
    except getopt.GetoptError as error:
        return refuse(f"{call.name}: {error}\nusage: see {call.name}(8)")
    except Down as down:
        return refuse(f"{call.name}: {down}")


def _tools() -> dict[str, Callable[[Machine, Call], Answer]]:
    return {
        "dhcpcd": _silent,
        "dmesg": _dmesg,
        "drvctl": _drvctl,
        "logger": _logger,
        "modload": _modload,
        "modstat": _modstat,
        "modunload": _modunload,
        "ps": _ps,
        "service": _silent,
        "shutdown": _shutdown,
        "sysctl": sysctl,
    }


def _silent(_machine: Machine, _call: Call) -> Answer:
    """Record the call only."""
    return Answer()


# The tool drvctl

_DRVCTL_USAGE = """\
Usage: drvctl -r [-a attribute] busdevice [locator ...]
       drvctl -d device
       drvctl [-nt] -l [device]
       drvctl [-n] -p device [property]
       drvctl -Q device
       drvctl -R device
       drvctl -S device"""


def _drvctl(machine: Machine, call: Call) -> Answer:
    try:
        given, operands = call.options("QRSa:dlnprt")
    except getopt.GetoptError:
        return refuse(_DRVCTL_USAGE)
    chosen = [letter for letter in "QRSdlpr" if letter in given]
    if len(chosen) != 1 or (not operands and chosen != ["l"]):
        return refuse(_DRVCTL_USAGE)
    devices = machine.kernel.subject(AllDevices)
    name = operands[0] if operands else ""
    if chosen == ["d"]:
        error = machine.wait("drvctl", machine.kernel.subject(Autoconf).drvctl_detach(name))
        return _ioctl("DRVDETACHDEV", error)
    if chosen == ["r"]:
        return _rescan(machine, name, given.get("a", []))
    if chosen == ["l"]:
        return _list(devices, name, bare="n" in given, tree="t" in given)
    device = devices.find(name)
    if chosen == ["p"]:
        return _properties(device, operands[1:], bare="n" in given)
    if device is None:
        return _ioctl({"Q": "DRVRESUMEDEV", "S": "DRVSUSPENDDEV"}.get(chosen[0], "DRVCTL"), 6)
    if chosen == ["R"]:
        return _ioctl("DRVRESUMEDEV", 45)
    good = machine.wait(
        "drvctl",
        machine.kernel.subject(Pmf).suspend(
            device.address, native=device.native, resume=chosen == ["Q"]
        ),
    )
    return _ioctl("DRVRESUMEDEV" if chosen == ["Q"] else "DRVSUSPENDDEV", 0 if good else 16)


def _ioctl(name: str, error: int) -> Answer:
    return refuse(f"drvctl: {name}: {strerror(error)}") if error else Answer()


def _rescan(machine: Machine, name: str, attributes: Sequence[str]) -> Answer:
    autoconf = machine.kernel.subject(Autoconf)
    bus = machine.kernel.subject(AllDevices).find(name)
    # Without an attribute the kernel searches all that the bus has.
    searched = attributes[-1:] or (bus.driver.attributes if bus is not None else ("",))
    for attribute in searched:
        error = machine.wait("drvctl", autoconf.drvctl_rescan(name, attribute))
        if error:
            return _ioctl("DRVRESCANBUS", error)
    return Answer()


def _list(devices: AllDevices, name: str, *, bare: bool, tree: bool) -> Answer:
    if name and devices.find(name) is None:
        return _ioctl("DRVLISTDEV", 6)
    lines: list[str] = []

    def show(parent: str, depth: int) -> None:
        for device in devices.devices():
            above = device.parent.name if device.parent is not None else ""
            if above != parent:
                continue
            label = device.name if bare else f"{parent or 'root'} {device.name}"
            lines.append("  " * depth + label)
            if tree:
                show(device.name, depth + 1)

    show(name, 0)
    return Answer("".join(f"{line}\n" for line in lines))


def _properties(device: Device | None, names: Sequence[str], *, bare: bool) -> Answer:
    if device is None:
        return _ioctl("DRVCTLCOMMAND", 6)
    found = {"device-driver": device.driver.name, "device-unit": str(device.unit)}
    if device.parent is not None:
        found["device-parent"] = device.parent.name
    if names:
        value = found.get(names[0])
        return Answer(status=1) if value is None else Answer(f"{value}\n")
    body = "".join(
        f"\t<key>{key}</key>\n\t<string>{value}</string>\n"
        if key != "device-unit"
        else f"\t<key>{key}</key>\n\t<integer>{int(value):#x}</integer>\n"
        for key, value in sorted(found.items())
    )
    if device.driver.attributes:
        body += "\t<key>interface-attributes</key>\n\t<array>\n"
        for attribute in device.driver.attributes:
            body += (
                "\t\t<dict>\n\t\t\t<key>attribute-name</key>\n"
                f"\t\t\t<string>{attribute}</string>\n\t\t</dict>\n"
            )
        body += "\t</array>\n"
    head = "" if bare else f"Properties for device `{device.name}':\n"
    return Answer(f"{head}{_PLIST}<dict>\n{body}</dict>\n</plist>\n")


# In the format of proplib (common/lib/libprop).
_PLIST = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" '
    '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
    '<plist version="1.0">\n'
)


# Tools for modules


_MODLOAD_USAGE = """\
Usage: modload [-fP] [-b var=boolean] [-i var=integer] [-s var=string] module
       modload -p [-b var=boolean] [-d var] [-i var=integer] [-m plist]
               [-s var=string]"""


def _modload(machine: Machine, call: Call) -> Answer:
    given, operands = call.options("Pb:fi:s:")
    if len(operands) != 1:
        return refuse(_MODLOAD_USAGE)
    properties: dict[str, bool | int | str] = {}
    for letter in "bis":
        for setting in given.get(letter, []):
            name, _, text = setting.partition("=")
            properties[name] = (
                text == "true" if letter == "b" else int(text, 0) if letter == "i" else text
            )
    target, force = operands[0], "f" in given
    if machine.securelevel > 0:
        return refuse(f"modload: {target}: {strerror(1)}")
    modules = machine.kernel.subject(Modules)
    before = set(modules.loaded)
    path = _in_guest(call, target) if "/" in target else target
    error = machine.wait("modload", modules.load(path, force=force, properties=properties or None))
    if error:
        return refuse(f"modload: {target}: {strerror(error)}")
    machine.forced -= set(modules.builtin)
    if force:
        machine.forced |= set(modules.loaded) - before
    return Answer()


def _in_guest(call: Call, name: str) -> Path:
    """Return the file for a path: below the guest's directory first."""
    inside = Path(f"{call.root}/{name}") if name.startswith("/") else None
    if inside is not None and inside.exists():
        return inside
    return Path(call.directory, name)


def _modunload(machine: Machine, call: Call) -> Answer:
    if not call.arguments:
        return refuse("Usage: modunload <module_name ...>")
    modules = machine.kernel.subject(Modules)
    for name in call.arguments:
        error = 1 if machine.securelevel > 0 else machine.wait("modunload", modules.unload(name))
        if error:
            return refuse(f"modunload: {name}: {strerror(error)}")
        machine.forced.discard(name)
    return Answer()


def _modstat(machine: Machine, call: Call) -> Answer:
    """List modules.

    A built-in module that was unloaded stays in the list with -1 references
    (sys/kern/kern_module.c, handle_modctl_stat).
    """
    _, operands = call.options("Aaekn:")
    only = operands[0] if operands else None
    modules = machine.kernel.subject(Modules)
    requires = {"vmt": "sysmon_power,sysmon_taskq"}
    rows = [
        (name, "driver", "builtin", "-", "0", "-", requires.get(name, "-"))
        for name in sorted(modules.builtin)
    ]
    for name, loaded in modules.loaded.items():
        flag = "f" if name in machine.forced else "-"
        size = str(sum(loaded.module.sizes.values()))
        kind = _CLASSES[loaded.module.modinfo.module_class]
        needs = ",".join(loaded.required) or "-"
        rows.append((name, kind, "filesys", flag, str(loaded.references), size, needs))
    rows += [
        (name, "driver", "builtin", "-", "-1", "-", requires.get(name, "-"))
        for name in sorted(modules.disabled)
    ]
    rows.sort(key=lambda row: row[0])
    # sbin/modstat/main.c: the name has 16 columns or more, and a blank ends the header.
    wide = max([16, *(len(row[0]) for row in rows)])
    head = ("NAME", "CLASS", "SOURCE", "FLAG", "REFS", "SIZE", "REQUIRES ")
    text = ""
    for name, kind, source, flag, references, size, needs in (head, *rows):
        if name in {"NAME", only} or only is None:
            text += f"{name:<{wide}} {kind:<8} {source:<8} {flag:<4} {references:>5} "
            text += f"{size:>7} {needs}\n"
    return Answer(text)


# Others.


# Keywords of ps(1) and the alignment of their columns (bin/ps/keyword.c).
_PS_COLUMNS = {"pid": ("PID", ">"), "uid": ("UID", ">"), "stat": ("STAT", "<"),
               "command": ("COMMAND", "<")}  # fmt: skip


def _ps(machine: Machine, call: Call) -> Answer:
    """List processes, with the columns of -o or else pid and command (bin/ps/print.c)."""
    given, _ = call.options("Aacdehjlmnp:ruvwxLO:o:s:t:U:W:T")
    keywords = [word for value in given.get("o", ["pid,command"]) for word in value.split(",")]
    if not set(keywords) <= set(_PS_COLUMNS):
        unknown = next(word for word in keywords if word not in _PS_COLUMNS)
        return refuse(f"ps: {unknown}: keyword not found")
    processes = [
        {"pid": "0", "uid": "0", "stat": "DKl", "command": "[system]"},
        {"pid": "1", "uid": "0", "stat": "Ss", "command": "init "},
    ]
    processes += [
        {"pid": str(daemon.pid), "uid": "0", "stat": "Ss", "command": f"{daemon.command} "}
        for daemon in machine.daemons.values()
    ]
    rows = [[_PS_COLUMNS[word][0] for word in keywords]]
    rows += [[process[word] for word in keywords] for process in processes]
    text = ""
    for row in rows:
        cells = []
        for number, (word, cell) in enumerate(zip(keywords, row, strict=True)):
            last = number == len(keywords) - 1 and word == "command"
            wide = 0 if last else max(len(each[number]) for each in rows)
            cells.append(f"{cell:{_PS_COLUMNS[word][1]}{wide}}")
        text += " ".join(cells) + "\n"
    return Answer(text)


def _dmesg(machine: Machine, _call: Call) -> Answer:
    """Print the message buffer, which combines the console and log(9)."""
    console = [(line.at, line.text) for line in machine.kernel.subject(Console).lines]
    logged = [(line.at, line.text) for line in machine.kernel.subject(SysLog).lines]
    lines = sorted([*console, *logged], key=lambda line: line[0])
    return Answer("".join(f"[{at / 1e9:12.7f}] {text}\n" for at, text in lines))


def _logger(machine: Machine, call: Call) -> Answer:
    given, operands = call.options("cf:inp:st:")
    tag = given.get("t", ["root"])[-1]
    with (call.root / "var/log/messages").open("a", encoding="utf-8") as file:
        file.write(f"[{machine.now / 1e9:12.7f}] {tag}: {' '.join(operands)}\n")
    return Answer()


def _shutdown(machine: Machine, call: Call) -> Answer:
    """Shut down if no other shutdown is in progress; the only supported time is ``now``."""
    given, operands = call.options("bDdfhknprvxz")
    if not operands:
        return refuse("usage: shutdown [-b bootstr] [-Ddfhknprvxz] time [message ... | -]")
    if operands[0] not in {"now", "+0"}:
        return refuse(f"shutdown: this stub supports the time `now' only, not `{operands[0]}'")
    if "k" not in given and not machine.ended:
        machine.shutting_down = (
            "power off" if "p" in given else "reboot" if "r" in given else "halt"
        )
    return Answer("Shutdown NOW!\n")
