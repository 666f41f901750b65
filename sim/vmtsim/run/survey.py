"""The properties of a module that one quiet load shows: devices, nodes, and whether it uses VMware.

Without a scenario no device is named by the user.  The names of devices are those that autoconf(9)
made from the tables in the module; the same holds for character devices and sysctl nodes.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass
from vmtgen.kobj import read_module

from vmtsim.host.options import HostOptions
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.devnode import DeviceNodes, OpenDevice
from vmtsim.kernel.devsw import DeviceSwitches
from vmtsim.kernel.errors import Halted, KernelPanic, Spinning, Stalled, Unmodelled
from vmtsim.kernel.files import File, Files
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.sysctltree import READWRITE, Node, SysctlTree
from vmtsim.run.simulation import Simulation, Watchdog
from vmtsim.scenario.script import Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

# Virtual time within which a VMware Tools driver opens its first channel.
_SETTLED = 3 * SECOND
# Kernel calls and traps; a load that needs more is in an infinite loop.
_LIMIT = 500_000


@dataclass(frozen=True)
class Survey:
    """The result for a module; if its load ended early, the result until then.

    ``error`` and ``unload`` are the errnos of modload and modunload.  ``vmware``: it opened a
    channel to VMware's host, ``balloon``: it started the host's balloon.  ``devices`` are pairs of
    a device and its parent, "" for a pseudo-device; ``switches`` the character devices, ``opens``
    those whose unit 0 can be opened; ``settings`` pairs of a writable sysctl node and its CTLTYPE.
    ``unmodelled`` names the part of the kernel without a model, if that ended the load.
    """

    module: str
    error: int = 0
    vmware: bool = False
    balloon: bool = False
    devices: tuple[tuple[str, str], ...] = ()
    switches: tuple[str, ...] = ()
    opens: tuple[str, ...] = ()
    settings: tuple[tuple[str, int], ...] = ()
    unload: int | None = None
    unmodelled: str = ""

    @property
    def device(self) -> str:
        """The first device of the module, or one named after the module if it attached none."""
        return self.devices[0][0] if self.devices else f"{self.module}0"


_known: dict[bytes, Survey] = {}


def survey(path: Path) -> Survey:
    """Load the module in ``path`` once and return its properties; cached by content.

    Raises OSError, and vmtgen.kobj.KobjError if it is not a module.
    """
    key = hashlib.sha256(path.read_bytes()).digest()
    if key not in _known:
        _known[key] = _look(path)
    return _known[key]


def _look(path: Path) -> Survey:
    module = read_module(path)
    host = HostOptions(foreign_access=True)
    simulation = Simulation(module, Scenario("survey", "", _SETTLED, host, ()))
    simulation.kernel.scheduler.limit = _LIMIT
    found: dict[str, Any] = {"module": module.modinfo.name}
    # A module that fails here also fails in a run, which reports it.
    try:
        with Watchdog(simulation), suppress(KernelPanic, Halted, Spinning, Stalled):
            _visit(simulation, found)
    except Unmodelled as error:
        found["unmodelled"] = str(error)
    return Survey(**found)


def _visit(simulation: Simulation, found: dict[str, Any]) -> None:
    kernel, admin = simulation.kernel, simulation.admin
    kernel.boot()
    before = {node.path for node in _writable(kernel)}
    found["error"] = int(admin.wait("modload", admin.load()))
    if found["error"]:
        return
    kernel.run(lambda: False, kernel.clock.now + _SETTLED)
    found["vmware"] = any(event.kind == "open" for event in simulation.trace.events)
    found["balloon"] = simulation.host.balloon.guest != 0
    found["devices"] = tuple(
        (device.name, device.parent.name if device.parent is not None else "")
        for device in kernel.subject(AllDevices).devices()
        if not device.native
    )
    found["settings"] = tuple(
        (node.path, node.kind) for node in _writable(kernel) if node.path not in before
    )
    switches = kernel.subject(DeviceSwitches)
    names = found["switches"] = tuple(
        sorted(each.name for each in switches.live.values() if not each.block)
    )
    found["opens"] = ()
    for name in names:
        if admin.wait("open", _opened(kernel.subject(DeviceNodes), name)):
            found["opens"] += (name,)
    found["unload"] = int(admin.wait("modunload", admin.unload(found["module"])))


def _opened(nodes: DeviceNodes, name: str) -> Model:
    """Open unit 0 of a device and close it again; return whether that worked."""
    opened = yield from nodes.open(name, 0, FREAD | FWRITE)
    if isinstance(opened, File):
        yield from nodes.kernel.subject(Files).close(opened)
    elif isinstance(opened, OpenDevice):
        yield from nodes.close(opened)
    return not isinstance(opened, int)


def _writable(kernel: Kernel) -> list[Node]:
    tree = kernel.subject(SysctlTree)
    return [
        node
        for top in tree.root.children.values()
        for node in tree.leaves(top.path)
        if node.flags & READWRITE
    ]
