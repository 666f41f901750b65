"""The survey behind ``vmtctl status`` and ``vmtctl doctor``: one plain dictionary of facts.

It has the shape of the JSON output; None is unknown, and ``problems`` has the reason.
"""

from __future__ import annotations

import os

from vmtctl import balloon, clocks, guest, record, resolver, snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vmtctl.context import Context


def take(context: Context) -> dict[str, Any]:
    """Read everything once."""
    problems: list[str] = []
    kernel = guest.kernel(context)
    if kernel.complaint and not kernel.ostype:
        problems.append(f"kernel: {kernel.complaint}")
    attachment = guest.attachment(context)
    if attachment.problem:
        problems.append(f"device: {attachment.problem}")
    nodes = guest.driver_nodes(context)[0] if attachment.attached is not False else {}
    running, complaint = guest.processes(context)
    if complaint:
        problems.append(f"processes: {complaint}")
    modules, module_problem = guest.modules(context)
    if module_problem:
        problems.append(f"modules: {module_problem}")
    name, source = guest.hypervisor(context, nodes)
    return {
        "system": {
            "ostype": kernel.ostype or None,
            "release": kernel.release or None,
            "machine": kernel.machine or None,
            "hypervisor": name,
            "hypervisor_source": source,
        },
        "driver": _driver(context, nodes, modules, module_problem, attachment.attached),
        "device": {"name": guest.DEVICE, "attached": attachment.attached},
        "channel": _channel(attachment.attached, running, processes_known=not complaint),
        "clock": clock(context, nodes),
        "snapshots": snapshots.survey(context, nodes),
        "dns": resolver.survey(context, nodes),
        "balloon": balloon.survey(context, attachment.siblings),
        "powerd": _powerd(context, running, processes_known=not complaint),
        "counters": {
            key.removeprefix("stats."): guest.signed(value)
            for key, value in sorted(nodes.items())
            if key.startswith("stats.")
        },
        "uuid": nodes.get("uuid"),
        "problems": problems,
    }


def _driver(
    context: Context,
    nodes: dict[str, str],
    modules: list[guest.Module],
    module_problem: str,
    attached: bool | None,
) -> dict[str, Any]:
    # Only the driver of this project counts.
    ours = any(key.startswith("stats.") for key in nodes)
    kind = None if module_problem else "absent"
    module = next((each for each in modules if not each.disabled), None)
    if module is not None:
        kind = "builtin" if module.builtin else "module"
    remembered = record.read(context, guest.MODULE) if kind == "module" else None
    path = remembered.get("path") if remembered else None
    version = None
    if isinstance(path, str):
        version = _module_release(path)
    in_charge = None
    if attached:
        in_charge = "netbsd-vmt" if ours else "stock"
    return {
        "loaded": kind,
        "source": module.source if module else None,
        "in_charge": in_charge,
        "builtin_disabled": any(each.disabled for each in modules),
        "file": path,
        "built_for": version,
        "rpc": "rpc.request" in nodes,
    }


def _module_release(path: str) -> str | None:
    from vmtctl.elf import read_module
    from vmtctl.exits import Failure

    try:
        return read_module(path).release
    except Failure:
        return None


def _channel(
    attached: bool | None, running: list[guest.Process], *, processes_known: bool
) -> dict[str, Any]:
    daemons = guest.tools_daemons(running)
    if attached is None or not processes_known:
        holder = None
    elif attached and daemons:
        holder = "conflict"
    elif attached:
        holder = "vmt"
    else:
        holder = "vmtoolsd" if daemons else "none"
    return {"holder": holder, "vmtoolsd": [daemon.pid for daemon in daemons]}


def clock(context: Context, nodes: dict[str, str]) -> dict[str, Any]:
    """Return the driver's state of the clock; None for unknown values."""

    def number(name: str) -> int | None:
        value = nodes.get(f"{clocks.BRANCH}.{name}")
        return None if value is None else guest.signed(value)

    def switch(value: int | None) -> bool | None:
        return None if value is None else bool(value)

    saved = clocks.persisted(context)
    return {
        "period": number("period"),
        "follow_host": switch(number("follow_host")),
        "persisted": {
            "period": saved["period"],
            "follow_host": switch(saved["follow_host"]),
        },
        "offset_us": number("offset"),
        "steps": number("steps"),
        "slews": number("slews"),
        "state": nodes.get(f"{clocks.BRANCH}.state"),
    }


def _powerd(
    context: Context, running: list[guest.Process], *, processes_known: bool
) -> dict[str, Any]:
    from vmtctl import hooks

    pids = [process.pid for process in running if process.name == "powerd"]
    scripts = {}
    for name in hooks.SCRIPTS:
        path = hooks.chosen(context, name)
        scripts[name] = {
            "path": path,
            "executable": path is not None and os.access(context.file(path), os.X_OK | os.R_OK),
        }
    return {
        "running": bool(pids) if processes_known else None,
        "pid": pids[0] if pids else None,
        "hooks": hooks.state(context),
        "scripts": scripts,
    }
