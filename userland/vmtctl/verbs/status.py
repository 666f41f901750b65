"""``vmtctl status``: prints the state on one screen."""

from __future__ import annotations

from vmtctl import balloon, clocks, snapshots, survey
from vmtctl.exits import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vmtctl.context import Context


def run(context: Context) -> int:
    """Print the survey; the status is always 0."""
    context.no_image()
    found = survey.take(context)
    context.print_json(found)
    for label, text in _lines(found):
        context.print(f"{label:<12}{text}")
    return OK


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [
        ("system", _system(found["system"])),
        ("hypervisor", f"{found['system']['hypervisor']}"),
        ("driver", _driver(found["driver"])),
        ("device", _device(found["device"])),
        ("channel", _channel(found["channel"])),
        ("clock", clock_line(found["clock"], attached=found["device"]["attached"])),
        ("powerd", _powerd(found["powerd"])),
    ]
    if found["driver"]["in_charge"] == "netbsd-vmt":
        lines.append(("snapshots", snapshots.in_words(found["snapshots"])))
    if found["dns"]["driver"] is not None:
        lines.append(("dns", found["dns"]["driver"] or "none"))
    text = balloon.in_words(found["balloon"])
    if text:
        lines.append(("balloon", text))
    if found["uuid"]:
        lines.append(("uuid", found["uuid"]))
    counters = found["counters"]
    if counters:
        text = ", ".join(f"{name} {value}" for name, value in counters.items())
        lines.append(("counters", text))
    lines += [("problem", text) for text in found["problems"]]
    return lines


def _system(system: dict[str, Any]) -> str:
    if not system["ostype"]:
        return "unknown: is this NetBSD?"
    text = f"{system['ostype']} {system['release'] or '?'} {system['machine'] or ''}".rstrip()
    return text if system["ostype"] == "NetBSD" else f"{text} (vmtctl is for NetBSD)"


def _driver(driver: dict[str, Any]) -> str:
    loaded = {
        "builtin": "built into the kernel",
        "module": "module",
        "absent": "none, neither built in nor loaded as a module",
        None: "unknown",
    }[driver["loaded"]]
    if driver["loaded"] == "absent" and driver["builtin_disabled"]:
        loaded = "no module; the kernel's own is disabled"
    if driver["file"]:
        loaded += f" {driver['file']}"
    if driver["built_for"]:
        loaded += f" (for NetBSD {driver['built_for']})"
    if driver["in_charge"]:
        who = {"stock": "the stock driver", "netbsd-vmt": "netbsd-vmt"}[driver["in_charge"]]
        loaded += f"; in charge: {who}"
    return loaded


def _device(device: dict[str, Any]) -> str:
    text = {True: "attached", False: "not attached", None: "unknown"}
    return f"{device['name']} {text[device['attached']]}"


def _channel(channel: dict[str, Any]) -> str:
    pids = ", ".join(str(pid) for pid in channel["vmtoolsd"])
    return {
        "vmt": "held by vmt0",
        "vmtoolsd": f"held by vmtoolsd (pid {pids})",
        "none": "not in use: the host assumes that no tools run",
        "conflict": f"CONFLICT: vmt0 and vmtoolsd (pid {pids}) both use it; see vmtctl doctor",
        None: "unknown",
    }[channel["holder"]]


def clock_line(clock: dict[str, Any], *, attached: bool | None) -> str:
    """Return the clock in one line."""
    period = clock["period"]
    if period is None:
        return "not followed: vmt0 is not attached" if attached is False else "unknown"
    pieces = [clocks.in_words(period)]
    if clock["offset_us"] is not None:
        pieces.append(f"host is {clock['offset_us'] / 1e6:+.6f} s off")
    if clock["steps"] is not None:
        pieces.append(f"{clock['steps']} steps, {clock['slews']} slews")
    if clock["follow_host"]:
        pieces.append("the host's switches decide")
    if clock["state"]:
        pieces.append(clock["state"])
    saved = clock["persisted"]
    if saved["period"] is not None and saved["period"] != period:
        pieces.append(f"after a reboot: {clocks.in_words(saved['period'])}")
    if None not in {saved["follow_host"], clock["follow_host"]} and (
        saved["follow_host"] != clock["follow_host"]
    ):
        pieces.append(f"after a reboot the {'host' if saved['follow_host'] else 'guest'} decides")
    return "; ".join(pieces)


def _powerd(powerd: dict[str, Any]) -> str:
    running = {
        True: f"running (pid {powerd['pid']})",
        False: "NOT RUNNING: a shutdown by the host will not be orderly",
        None: "unknown",
    }[powerd["running"]]
    missing = [name for name, script in powerd["scripts"].items() if not script["executable"]]
    text = f"{running}; hooks {powerd['hooks']}"
    if missing:
        text += f"; no executable script {', '.join(missing)}"
    return text
