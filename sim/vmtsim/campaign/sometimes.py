"""The "sometimes" properties: events that some run of a campaign must reach.

If no run reaches a property, the campaign does not test what it should.  The idea is that of
"sometimes" assertions in Antithesis.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from vmtsim.campaign.plan import ALL_FAULTS
from vmtsim.kernel.evcnt import EventCounters
from vmtsim.kernel.sysctltree import SysctlTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vmtsim.campaign.subject import Subject
    from vmtsim.core.trace import Event, Trace
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.sysctltree import Node

_ERRNO = re.compile(r"E[A-Z0-9]+ \(\d+\)")
_QUAD = 4  # CTLTYPE_QUAD


def _is(**fields: Any) -> Callable[[Event], bool]:
    return lambda event: all(event.get(name) == value for name, value in fields.items())


def _always(_event: Event) -> bool:
    return True


def _done(verb: str, *, good: bool) -> Callable[[Event], bool]:
    """Return whether a command of that verb ended well: its result is no errno."""

    def matches(event: Event) -> bool:
        failed = _ERRNO.fullmatch(str(event["result"])) is not None
        return event["verb"] == verb and failed is not good

    return matches


# Of a VMware Tools driver: name -> (kind of event, whether this one is it).
_VMWARE: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "channel refused by the host": ("open.refused", _always),
    "channel taken over from an older one": ("tclo.bound", lambda e: e["before"] != 65535),
    "channel forgotten by the host": ("close", _is(reason="lost")),
    "channel taken by another client": ("close", _is(reason="stolen")),
    "second client refused by the host": ("tclo.refused", _is(policy="first")),
    "both clients disconnected by the host": ("tclo.refused", _is(policy="both")),
    "message not fetched in time by any client": ("tclo.timeout", _is(channel=None)),
    "machine migrated without losing a channel": ("host.migrate", _is(lost=False)),
    "message lost with its channel": ("tclo.lost", _always),
    "message abandoned by the guest": ("tclo.dropped", _always),
    "answer that came too late": ("tclo.late", _always),
    "message answered with an error": ("tclo.reply", _is(ok=False)),
    "RPCI command refused": ("rpci", _is(ok=False)),
    "power request accepted": ("power.status", _is(success=True)),
    "power button pressed": ("powerd", _is(script="power_button")),
    "reset button pressed": ("powerd", _is(script="reset_button")),
    "sleep button released": ("powerd", _is(script="sleep_button")),
    "clock stepped": ("clock.step", _always),
    "clock slewed": ("clock.slew", _always),
    "file systems synced for a backup": ("backup", _is(state="frozen")),
    "file system suspended": ("vfs.suspend", _always),
    "file system resumed": ("vfs.resume", _always),
    "scripts ran for freeze": ("scripts", _is(event="freeze")),
    "scripts ran for thaw": ("scripts", _is(event="thaw")),
    "scripts asked to thaw": ("powerd", _is(script="hotkey_button", name="released")),
    "default route reported as gone": (
        "guestinfo",
        lambda e: (
            e["key"] == 10
            and not any(
                r["next_hop"] == "192.0.2.1" or r["next_hop"] == "192.0.2.254"
                for r in e["value"]["routes"]
            )
        ),
    ),
    "memory reported with rates": (
        "guestinfo",
        lambda e: e["key"] == 8 and bool(e["value"]["page.inRate"]),
    ),
    "memory reported after a reset": (
        "guestinfo",
        lambda e: e["key"] == 8 and e["value"]["page.inRate"] is None,
    ),
    "name servers reported": (
        "guestinfo",
        lambda e: e["key"] == 10 and bool((e["value"]["dns"] or {}).get("servers")),
    ),
    "backup finished": ("backup", _is(before="thawing", state="idle")),
    "backup failed": ("backup", _is(state="failed")),
    "machine migrated": ("host.migrate", _always),
    "machine reverted": ("host.revert", _always),
    "messages interrupted by a checkpoint": ("host.checkpoint", _always),
    "device detached": ("device.detach", _always),
    "module unloaded": ("modctl.unload", _is(error=0)),
    "machine went down without powerd listening": ("kernel.reboot", _always),
}


# Of any other driver.
_DRIVER: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "module unloaded": ("modctl.unload", _is(error=0)),
    "module loaded again": ("modctl.load", _is(error=0)),
}
_DEVICES: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "device detached": ("device.detach", _always),
}
_NODES: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "sysctl node set": ("guest.done", _done("sysctl", good=True)),
}
_BALLOON: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "balloon at its target": ("balloon", lambda e: e["size"] == e["target"] > 0),
    "balloon of the host restarted": ("balloon.reset", _always),
    "balloon smaller, because the guest needed memory": ("balloon.taken-back", _always),
}
_SWITCHES: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "device opened": ("guest.done", _done("open", good=True)),
    "device closed": ("guest.done", _done("close", good=True)),
    "open refused": ("guest.done", _done("open", good=False)),
    "ioctl refused": ("guest.done", _done("ioctl", good=False)),
}
_COMMANDS: Mapping[str, tuple[str, Callable[[Event], bool]]] = {
    "ioctl accepted": ("guest.done", _done("ioctl", good=True)),
}


def _of(subject: Subject) -> Mapping[str, tuple[str, Callable[[Event], bool]]]:
    """Return the properties that the driver under test can reach, except faults and counters."""
    if subject.vmware:
        return _VMWARE
    found = subject.survey
    return {
        **_DRIVER,
        **(_DEVICES if found.devices else {}),
        **(_NODES if found.settings else {}),
        **(_BALLOON if found.balloon else {}),
        **(_SWITCHES if found.switches else {}),
        **(_COMMANDS if subject.ioctls else {}),
    }


def expected(subject: Subject, counters: Iterable[str]) -> tuple[str, ...]:
    """Return the names of all properties for a driver with these counters.

    A driver's counters, below machdep in sysctl or in evcnt(9), show the faults that it detects,
    not its messages.  A driver that makes no allocation that may fail gets no fault of the kernel.
    """
    faults = sorted(ALL_FAULTS) if subject.vmware else []
    return (
        *(f"fault: {name}" for name in faults),
        *_of(subject),
        *(f"counter: {name}" for name in sorted(counters)),
    )


class Watch:
    """Counts the properties of one run.

    ``counters`` are the driver's own, by the name of the node that shows them, or by that in
    evcnt(9) if no node does.
    """

    def __init__(self, kernel: Kernel, trace: Trace, subject: Subject) -> None:
        self.reached: Counter[str] = Counter()
        self.counters: dict[str, int] = {}
        self._names: dict[Node, str] = {}
        # Nodes may have a handler, and come after the driver's first counts.
        self._nodes: dict[str, str] = {}  # the last part of a node's name -> its name
        self._events: dict[str, int] = {}
        self._kernel = kernel
        by_kind: dict[str, list[tuple[str, Callable[[Event], bool]]]] = {}
        for name, (kind, matches) in _of(subject).items():
            by_kind.setdefault(kind, []).append((name, matches))
        self._by_kind = by_kind
        trace.subscribe(self._happened, by_kind)
        trace.subscribe(self._fault, ["fault"])
        # The driver loses its counters when it is detached: read them before each action.
        trace.subscribe(self._look, ["scenario.step"])

    def _happened(self, event: Event) -> None:
        for name, matches in self._by_kind[event.kind]:
            if matches(event):
                self.reached[name] += 1

    def _fault(self, event: Event) -> None:
        self.reached[f"fault: {event['name']}"] += 1

    def _look(self, _event: Event) -> None:
        memory = self._kernel.memory
        for node in self._kernel.subject(SysctlTree).leaves("machdep"):
            if node.kind != _QUAD:
                continue
            name = self._names.get(node)
            if name is None:
                name = self._names[node] = node.path.split(".", 2)[-1]
                self._nodes[name.rpartition(".")[2]] = name
            if node.data and not node.function:
                value = int.from_bytes(memory.read(node.data, 8), "little", signed=True)
                self.counters[name] = max(value, self.counters.get(name, 0))
        for name, value in self._kernel.subject(EventCounters).counts():
            self._events[name] = max(value, self._events.get(name, 0))

    def finish(self) -> None:
        """Take the driver's counters into account."""
        for event, value in self._events.items():
            name = self._nodes.get(event, event)
            self.counters[name] = max(value, self.counters.get(name, 0))
        for name, value in self.counters.items():
            self.reached[f"counter: {name}"] = value
