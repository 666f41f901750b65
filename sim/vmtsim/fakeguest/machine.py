"""The machine of ``vmtsim guest``: a simulation that runs as long as the user needs it."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass

from vmtsim.core.trace import Trace
from vmtsim.fakeguest.toolsdaemon import ToolsDaemon
from vmtsim.host import HostOptions
from vmtsim.kernel.clock import NEVER, SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Halted, KernelPanic, Stalled
from vmtsim.kernel.identity import Identity
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.mounts import Mounts
from vmtsim.kernel.sysmon import SysmonPower
from vmtsim.run.findings import NOT_LIVE, OK, PROPERTY_FAILED, STATUS
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vmtsim.core.trace import Event
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.lwp import Lwp

# Number of the last events, commands and broken rules that are kept.
_KEEP = 2000
# RB_HALT and RB_POWERDOWN of NetBSD sys/sys/reboot.h, for each request of shutdown(8).
HOWTO = {"power off": 0x808, "halt": 0x8, "reboot": 0}


class Down(Exception):  # noqa: N818 - a state of the machine
    """The machine is down; the text gives the reason."""


@dataclass
class Daemon:
    """A real process that the guest's ps(1) lists."""

    pid: int
    command: str
    lwp: Lwp | None = None
    client: ToolsDaemon | None = None


class Machine:
    """Kernel, module and host, with a clock that the caller advances.

    ``ended`` says how the machine went down, "" while it runs.  After that everything that needs
    the kernel raises Down.
    """

    def __init__(self, module: Path, *, builtin: bool, seed: int, acpi: bool | None = None) -> None:
        scenario = Scenario("desk", "", 0, HostOptions(), ())
        trace = Trace(keep=_KEEP)
        self.simulation = Simulation(module, scenario, seed=seed, builtin_vmt=builtin, trace=trace)
        self.kernel = self.simulation.kernel
        self.host = self.simulation.host
        self.acpi = self.kernel.options.machine != "aarch64" if acpi is None else acpi
        self.ended = ""
        self.status = OK
        self.broken: list[str] = []
        self.commands: deque[tuple[int, str]] = deque(maxlen=_KEEP)
        self.daemons: dict[int, Daemon] = {}
        self.forced: set[str] = set()  # modules loaded with -f
        self.securelevel = -1
        self.shutting_down = ""
        trace.subscribe(self._violated, {"violation"})

    @property
    def now(self) -> int:
        """Virtual nanoseconds since power-on."""
        return self.simulation.clock.now

    @property
    def power(self) -> SysmonPower:
        """The other end of /dev/power."""
        return self.kernel.subject(SysmonPower)

    @property
    def hostname(self) -> str:
        """The current name of the guest."""
        kernel = self.kernel
        return kernel.memory.cstring(kernel.symbols["hostname"]).decode("utf-8", "replace")

    def _violated(self, event: Event) -> None:
        text = event.get("text") or event.get("detail")
        if len(self.broken) < _KEEP:
            self.broken.append(f"{event['rule']}: {text}")
        self.status = max(self.status, PROPERTY_FAILED)

    # -- running -----------------------------------------------------------------------------

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Run kernel code in the block; raises Down if the machine goes down in it or is down."""
        if self.ended:
            raise Down(f"the machine is down: {self.ended}")
        try:
            yield
        except Halted as halted:
            self._end(self.shutting_down or halted.how, OK)
        except KernelPanic as panic:
            self.kernel.subject(Console).print(panic.console)
            how = "panic" if panic.console else "the kernel is damaged"
            self._end(f"{how}: {panic.message}", STATUS[panic.consequence])
        except Stalled as stalled:
            self._end(f"no thread can run: {stalled}", NOT_LIVE)
        if self.ended:
            raise Down(f"the machine is down: {self.ended}")

    def _end(self, how: str, status: int) -> None:
        self.ended = how
        self.status = max(self.status, status)

    def boot(self, *, load: bool) -> int:
        """Boot the kernel and optionally load the module; returns modload's errno."""
        with self.alive():
            self.kernel.boot()
        if not load:
            return 0
        modules = self.kernel.subject(Modules)
        return int(self.wait("modload", modules.load(self.simulation.admin.module)))

    def run(self, until: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Advance virtual time until ``until`` (ns) or until ``stop()``."""
        if until > self.now:
            with self.alive():
                self.kernel.run(stop, min(until, NEVER))

    def wait(self, name: str, main: Model) -> Any:
        """Run a process of the guest to its end and return its result."""
        result: list[Any] = []
        with self.alive():
            result.append(self.simulation.admin.wait(name, main))
        return result[0]

    def shut_down(self) -> None:
        """Execute the request of shutdown(8)."""
        howto = HOWTO[self.shutting_down]
        with suppress(Down):  # expected
            self.wait("init", self.power.reboot(howto))

    # -- processes ---------------------------------------------------------------------------

    def add_daemon(self, name: str, pid: int, command: str) -> Daemon:
        """Add a real process to the guest; vmtoolsd also becomes a tools client."""
        daemon = self.daemons[pid] = Daemon(pid, command)
        if name == "vmtoolsd" and not self.ended:
            daemon.client = ToolsDaemon(self.host, self.simulation.clock)
            daemon.lwp = self.simulation.admin.start(name, daemon.client.main())
        return daemon

    def remove_daemon(self, daemon: Daemon) -> None:
        """Remove a process that has ended."""
        self.daemons.pop(daemon.pid, None)
        if self.ended:
            return
        if daemon.lwp is not None and daemon.lwp.state != "gone":
            self.kernel.scheduler.kill(daemon.lwp)
        if daemon.client is not None:
            daemon.client.close()

    # -- state -------------------------------------------------------------------------------

    def nodes(self) -> dict[str, str]:
        """Return sysctl nodes of the kernel that the simulation's own tree does not contain."""
        options, kernel = self.kernel.options, self.kernel
        found = {
            "kern.ostype": "NetBSD",
            "kern.osrelease": options.release,
            "kern.osrevision": str(options.version),
            "kern.hostname": self.hostname,
            "kern.securelevel": str(self.securelevel),
            "kern.module.path": f"/stand/{kernel.port}/{options.release}/modules",
            "hw.machine": kernel.port,
            "hw.machine_arch": kernel.port_arch,
        }
        if options.machine != "aarch64":
            found["machdep.hypervisor"] = "VMware"
        if self.acpi:
            found["hw.acpi.root"] = "1027392"
        return found

    def set_node(self, name: str, value: str) -> bool:
        """Set one of ``nodes``; returns whether it is writable."""
        if name == "kern.hostname":
            self.kernel.subject(Identity).set_hostname(value)
            return True
        if name == "kern.securelevel" and value.lstrip("-").isdigit():
            if int(value) < self.securelevel:
                return False
            self.securelevel = int(value)
            self.kernel.memory.put_u32(self.kernel.symbols["securelevel"], self.securelevel)
            return True
        return False

    def summary(self) -> dict[str, Any]:
        """Return what ``guest-control status`` shows, as plain data."""
        tclo = self.host.tclo
        bound = tclo.channel
        clients = [d.client for d in self.daemons.values() if d.client is not None]
        return {
            "time": self.now / SECOND,
            "machine": self.ended or "running",
            "release": self.kernel.options.release,
            "port": self.kernel.port,
            "builtin": self.kernel.builtin_vmt,
            "modules": {} if self.ended else self._modules(),
            "channel": bound.number if bound is not None else None,
            "resets": tclo.resets,
            "idle": tclo.idle,
            "tools_sessions": sum(client.sessions for client in clients),
            "statuses": {str(n): ok for n, ok in self.host.power.statuses.items()},
            "variables": {
                name: value.decode("utf-8", "replace")
                for name, value in self.host.guestinfo.variables.items()
            },
            "processes": [[d.pid, d.command] for d in self.daemons.values()],
            "commands": [command for _, command in self.commands],
            "suspended": [] if self.ended else self.kernel.subject(Mounts).suspended(),
            "broken": list(self.broken),
        }

    def _modules(self) -> dict[str, str]:
        loaded = self.kernel.subject(Modules).loaded
        return {name: str(module.module.path) for name, module in loaded.items()}
