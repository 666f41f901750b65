"""What the operator of the simulated host may do to the guest on the desk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vmtsim.fakeguest.call import Answer, refuse
from vmtsim.host.power import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmtsim.fakeguest.machine import Machine

_CHANNELS = ("tclo", "rpci", "all")

# operation -> (what its arguments are, what it does)
HOST: dict[str, tuple[str, str]] = {
    "halt": ("", "ask the guest for a shutdown"),
    "reboot": ("", "ask the guest for a reboot"),
    "suspend": ("[SECONDS]", "suspend the machine for so many seconds (60), then resume it"),
    "resume": ("", "tell the guest that it was resumed"),
    "power-on": ("", "tell the guest that it was powered on"),
    "ping": ("", "send a ping"),
    "send": ("MESSAGE", "send any TCLO message"),
    "steal": ("[SECONDS]", "another client of the host takes the channel for so long (3)"),
    "drop": ("[tclo|rpci|all]", "forget channels without a word (tclo)"),
    "jump": ("SECONDS", "let the host's clock jump"),
    "option": ("NAME VALUE", "set an option of the guest's tools"),
    "set": ("NAME VALUE", "set the variable guestinfo.NAME"),
    "get": ("NAME", "print the variable guestinfo.NAME"),
}


def host(machine: Machine, words: Sequence[str]) -> Answer:
    """Carry out ``guest-control DIR host WORDS``."""
    operation, arguments = words[0], list(words[1:])
    if operation not in HOST:
        return refuse(f"no operation {operation!r}: there are {', '.join(HOST)}", 64)
    usage = f"usage: host {operation} {HOST[operation][0]}".rstrip()
    try:
        if operation in OPERATIONS and not arguments and operation != "suspend":
            return _power(machine, operation)
        return _OPERATIONS[operation](machine, *arguments)
    except (TypeError, ValueError, KeyError):
        return refuse(usage, 64)


def _power(machine: Machine, operation: str) -> Answer:
    if machine.host.power.request(operation):
        return Answer(f"asked the guest: {operation}\n")
    return refuse(f"the host does not offer {operation}: no tools run in the guest that can do it")


def _suspend(machine: Machine, seconds: str = "60") -> Answer:
    if machine.host.suspend(float(seconds)):
        return Answer(f"suspending the machine for {float(seconds):g} s\n")
    return refuse("the host does not offer suspend: no tools run in the guest that can do it")


def _ping(machine: Machine) -> Answer:
    machine.host.send("ping")
    return Answer("sent ping\n")


def _send(machine: Machine, *words: str) -> Answer:
    message = " ".join(words)
    if not message:
        raise ValueError(message)
    machine.host.send(message)
    return Answer(f"sent {message}\n")


def _steal(machine: Machine, seconds: str = "3") -> Answer:
    if machine.host.steal_channel(float(seconds)):
        return Answer(f"another client has the channel for {float(seconds):g} s\n")
    return refuse("nobody in the guest has the channel")


def _drop(machine: Machine, which: str = "tclo") -> Answer:
    if which not in _CHANNELS:
        raise ValueError(which)
    lost = machine.host.lose_channel(which)
    return Answer(f"forgot {lost} channel{'' if lost == 1 else 's'}\n")


def _jump(machine: Machine, seconds: str) -> Answer:
    machine.host.clock.jump(round(float(seconds) * 1e9))
    return Answer(f"the host's clock jumped by {float(seconds):g} s\n")


def _option(machine: Machine, name: str, value: str) -> Answer:
    machine.host.tclo.set_option(name, value)
    return Answer(f"sent Set_Option {name} {value}\n")


def _set(machine: Machine, name: str, value: str) -> Answer:
    name = name.removeprefix("guestinfo.")
    if not machine.host.guestinfo.set_variable(name, value.encode("utf-8", "surrogateescape")):
        return refuse("the variables of the guest would be larger than the host allows")
    return Answer()


def _get(machine: Machine, name: str) -> Answer:
    value = machine.host.guestinfo.variables.get(name.removeprefix("guestinfo."))
    if value is None:
        return refuse(f"{name} is not set")
    return Answer(value.decode("utf-8", "surrogateescape") + "\n")


_OPERATIONS: dict[str, Callable[..., Answer]] = {
    "suspend": _suspend,
    "ping": _ping,
    "send": _send,
    "steal": _steal,
    "drop": _drop,
    "jump": _jump,
    "option": _option,
    "set": _set,
    "get": _get,
}


def status(machine: Machine, *, powerd: int | None, as_json: bool) -> Answer:
    """Tell how the machine is."""
    found: dict[str, Any] = {**machine.summary(), "powerd": powerd}
    if as_json:
        return Answer(json.dumps(found, indent=2, ensure_ascii=True) + "\n")
    channel = found["channel"]
    modules = ", ".join(f"{name} ({path})" for name, path in found["modules"].items())
    lines = [
        ("machine", f"{found['machine']} at {found['time']:.3f} s"),
        ("kernel", f"NetBSD {found['release']}/{found['port']}"
                   + (", with a vmt of its own" if found["builtin"] else "")),
        ("modules", modules or "none"),
        ("channel", "nobody has it" if channel is None else f"{channel}, {found['resets']} resets"),
        ("powerd", "does not run" if powerd is None else f"pid {powerd}"),
        ("processes", ", ".join(f"{pid} {command}" for pid, command in found["processes"])),
        *(("broken", text) for text in found["broken"]),
    ]  # fmt: skip
    return Answer("".join(f"{label:<10}{text}\n" for label, text in lines if text))
