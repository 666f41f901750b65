"""The operator's commands to the simulated host of a guest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import USAGE
from vmtgen.common.text import visible

from vmtsim.core.verb import ArgumentError
from vmtsim.fakeguest.call import Answer, refuse
from vmtsim.host.operator import RefusedError, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtsim.fakeguest.machine import Machine


def host(machine: Machine, words: Sequence[str]) -> Answer:
    """Execute ``guest-control DIR host WORDS``: an operation, or ``show NAME``."""
    try:
        if words[0] == "show":
            return _show(machine, words[1:])
        operation = find(words[0])
        return Answer(operation.carry_out(machine.host, operation.plain(words[1:])) + "\n")
    except ArgumentError as error:
        return refuse(str(error), USAGE)
    except RefusedError as refusal:
        return refuse(str(refusal))


def _show(machine: Machine, names: Sequence[str]) -> Answer:
    if len(names) != 1:
        raise ArgumentError("usage: show NAME")
    value = machine.host.guestinfo.variables.get(names[0].removeprefix("guestinfo."))
    if value is None:
        return refuse(f"{names[0]} is not set")
    return Answer(visible(value.decode("utf-8", "backslashreplace")) + "\n")


def status(machine: Machine, *, powerd: int | None, as_json: bool) -> Answer:
    """Report the state of the machine."""
    found: dict[str, Any] = {**machine.summary(), "powerd": powerd}
    if as_json:
        return Answer(json.dumps(found, indent=2, ensure_ascii=True) + "\n")
    channel = found["channel"]
    modules = ", ".join(f"{name} ({path})" for name, path in found["modules"].items())
    lines = [
        ("machine", f"{found['machine']} at {found['time']:.3f} s"),
        ("kernel", f"NetBSD {found['release']}/{found['port']}"
                   + (", with a built-in vmt" if found["builtin"] else "")),
        ("modules", modules or "none"),
        ("channel", "not bound" if channel is None else f"{channel}, {found['resets']} resets"),
        ("powerd", "not running" if powerd is None else f"pid {powerd}"),
        ("processes", ", ".join(f"{pid} {command}" for pid, command in found["processes"])),
        ("suspended", ", ".join(found["suspended"])),
        *(("broken", text) for text in found["broken"]),
    ]  # fmt: skip
    return Answer("".join(f"{label:<10}{text}\n" for label, text in lines if text))
