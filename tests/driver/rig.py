"""The real driver on a simulated machine, controlled by a test one step at a time.

A test can inspect the state of the host and of the kernel.  ``leave`` unloads the module and
requires that it leaves nothing behind.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtsim.host.options import HostOptions
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.identity import Identity
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.kthread import KThreads
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.mounts import Mounts
from vmtsim.kernel.network import Network
from vmtsim.kernel.sysctl import Reply, Sysctl
from vmtsim.kernel.syslog import SysLog
from vmtsim.kernel.sysmon import SysmonPower
from vmtsim.kernel.timekeeping import TimeKeeping
from vmtsim.run.coverage import Coverage
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.guest import GuestSettings
from vmtsim.scenario.script import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.trace import Event
    from vmtsim.host.machine import Host
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

# A host that sends nothing by itself except reset and Capabilities_Register.
QUIET: dict[str, Any] = {
    "option_burst": (), "power_on": False, "ping": 0, "vix_probe": 0,
}  # fmt: skip
PREFIX = "machdep.vmt0"
# A directory in which every machine notes which lines of the driver it ran (see lines.py).
_LINES = os.environ.get("DRIVER_LINES", "")


class Rig:
    """A booted machine with the driver loaded, unless ``load`` is false.

    ``host`` are HostOptions beside QUIET, ``guest`` the settings of a scenario.
    """

    def __init__(
        self,
        module: Path,
        *,
        seed: int = 1,
        builtin: bool = False,
        load: bool = True,
        settle: bool = True,
        powerd: bool = True,
        hostname: str = "guest.example",
        net_mpsafe: bool = False,
        detachall: bool = False,
        before: Callable[[Rig], object] | None = None,
        **host: Any,
    ) -> None:
        options = HostOptions(**{**QUIET, **host})
        scenario = Scenario(
            "by hand",
            "",
            0,
            options,
            (),
            GuestSettings(hostname=hostname, net_mpsafe=net_mpsafe, detachall=detachall),
        )
        self.simulation = Simulation(module, scenario, seed=seed, builtin_vmt=builtin)
        self._coverage = Coverage(module) if _LINES else None
        if self._coverage is not None:
            self._coverage.watch(self.simulation)
        self.trace = self.simulation.trace
        self.kernel: Kernel = self.simulation.kernel
        self.host: Host = self.simulation.host
        self.guest = self.simulation.admin
        self.module = self.simulation.module
        self.path = module
        self.kernel.boot()
        self.guest.set_powerd(on=powerd)
        if before is not None:
            before(self)
        if load:
            self.load()
            if settle:
                self.settle()

    # -- parts -------------------------------------------------------------------------------

    @property
    def net(self) -> Network:
        """The guest's interfaces."""
        return self.kernel.subject(Network)

    @property
    def mounts(self) -> Mounts:
        """The guest's file systems."""
        return self.kernel.subject(Mounts)

    @property
    def power(self) -> SysmonPower:
        """Power switches and their events."""
        return self.kernel.subject(SysmonPower)

    @property
    def time(self) -> TimeKeeping:
        """The guest's clocks."""
        return self.kernel.subject(TimeKeeping)

    @property
    def kmem(self) -> Kmem:
        """The kernel's memory."""
        return self.kernel.subject(Kmem)

    @property
    def identity(self) -> Identity:
        """Names of the system."""
        return self.kernel.subject(Identity)

    @property
    def threads(self) -> list[str]:
        """Names of the driver's threads that exist."""
        return sorted(thread.lwp.name for thread in self.kernel.subject(KThreads).live.values())

    @property
    def attached(self) -> bool:
        """Whether there is a vmt0."""
        return self.kernel.subject(AllDevices).find("vmt0") is not None

    @property
    def loaded(self) -> bool:
        """Whether the module is in the kernel."""
        return self.module.modinfo.name in self.kernel.subject(Modules).loaded

    # -- time --------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Virtual nanoseconds since power-on."""
        return self.simulation.clock.now

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.kernel.run(lambda: False, self.now + round(seconds * SECOND))

    def until(self, done: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Run until ``done()`` or the limit; returns whether ``done()`` became true."""
        return self.kernel.run(done, self.now + round(seconds * SECOND))

    def settle(self, seconds: float = 60.0) -> None:
        """Run until the host has no more messages and the guest has sent everything."""
        assert self.until(lambda: self.host.tclo.resets > 0, seconds)
        assert self.until(lambda: self.host.tclo.idle, seconds)
        self.run(2)

    # -- the administrator's actions -----------------------------------------------------------

    def do(self, verb: str, argument: Any = None, *, uid: int = 0) -> Any:
        """Run an administrator's command to its end and return its result (an errno, mostly)."""
        return self.guest.wait(verb, self.guest.command(verb, argument), uid=uid)

    def start(self, verb: str, argument: Any = None) -> Lwp:
        """Start an administrator's command."""
        return self.guest.start(verb, self.guest.command(verb, argument))

    def when(self, kind: str, verb: str, argument: Any, **fields: Any) -> list[Lwp]:
        """Start a command at the next event of a kind, in the middle of other activity.

        After that the command gets the processor wherever it could. Returns a list in which
        the process will be.
        """
        started: list[Lwp] = []

        def happened(event: Event) -> None:
            if not started and all(event.get(name) == value for name, value in fields.items()):
                started.append(self.start(verb, argument))
                self.prefer(started[0])

        self.trace.subscribe(happened, [kind])
        return started

    def prefer(self, lwp: Lwp) -> None:
        """Give a thread priority: it runs whenever it can, and is switched to at once."""
        scheduler = self.kernel.scheduler
        scheduler.choice.switch_odds = 1
        usual = scheduler.choice.pick

        def pick() -> Lwp | None:
            if lwp in scheduler.ready and scheduler.choice.eligible(lwp):
                return lwp
            return usual()

        scheduler.choice.pick = pick  # type: ignore[method-assign]

    def load(self) -> None:
        """Load the module in the order that takes over from a built-in driver."""
        assert self.simulation._load()

    def read(self, name: str) -> Any:
        """Return machdep.vmt0.NAME as a process reads it."""
        return self.guest.wait("sysctl", self.guest.read(f"{PREFIX}.{name}"))

    def write(self, name: str, value: Any, *, uid: int = 0) -> int:
        """Set machdep.vmt0.NAME; returns the errno."""
        reply = self.guest.wait("sysctl", self.guest.set_node(f"{PREFIX}.{name}", value), uid=uid)
        return int(reply.error)

    def call(
        self, name: str, *, old: int | None = 4096, new: bytes | None = None, uid: int = 0
    ) -> Reply:
        """Make the system call on machdep.vmt0.NAME."""
        call = self.kernel.subject(Sysctl).call(f"{PREFIX}.{name}", old=old, new=new)
        reply = self.guest.wait("sysctl", call, uid=uid)
        assert isinstance(reply, Reply)
        return reply

    def rpc(self, command: bytes, *, uid: int = 0) -> Reply:
        """Send a command to the host and wait for its reply, as vmtctl does."""
        reply = self.guest.wait("sysctl", self.guest.rpc(command), uid=uid)
        assert isinstance(reply, Reply)
        return reply

    def stats(self, name: str) -> int:
        """Return one of the driver's counters."""
        value = self.read(f"stats.{name}")
        assert isinstance(value, int)
        return value

    def only_card(self, mac: str, addresses: list[str]) -> None:
        """Make wm0 the only interface, with these addresses; quick for thousands of them."""
        net, place = self.net, self.kernel.memory.place
        net.clear()
        net.add("wm0", mac=mac)
        usual = net._link, net._object
        # A mapping of its own for each object makes the emulator slow; these are never freed.
        net._link = lambda: None  # type: ignore[method-assign]
        net._object = lambda size, _what: place(bytes(size))  # type: ignore[method-assign]
        for text in addresses:
            net.add_address("wm0", text)
        net._link, net._object = usual  # type: ignore[method-assign]
        net._link()

    # -- the host's actions --------------------------------------------------------------------

    def ask(self, message: str | bytes, seconds: float = 30.0) -> bytes:
        """Send a TCLO message and return the guest's answer; b"" for none."""
        answers: list[bytes] = []
        self.host.tclo.send(message, lambda _ok, reply: answers.append(reply))
        self.until(lambda: bool(answers), seconds)
        return answers[0] if answers else b""

    def option(self, name: str, value: str) -> bytes:
        """Send Set_Option."""
        return self.ask(f"Set_Option {name} {value}")

    # -- observations -------------------------------------------------------------------------

    def events(self, *kinds: str, since: int = 0) -> list[Event]:
        """Return the events of these kinds, from virtual time ``since`` on."""
        return [e for e in self.trace.events if e.kind in kinds and e.at >= since]

    def requests(self, start: str = "", since: int = 0) -> list[bytes]:
        """Return the RPCI commands that the host carried out and that begin so."""
        head = start.encode()
        return [
            e["request"] for e in self.events("rpci", since=since) if e["request"].startswith(head)
        ]

    def replies(self, message: str | bytes) -> list[bytes]:
        """Return the guest's answers to one TCLO message."""
        text = message.encode() if isinstance(message, str) else message
        return [e["reply"] for e in self.events("tclo.reply") if e["message"] == text]

    def info(self, key: int, since: int = 0) -> list[bytes]:
        """Return the values that the guest sent for a key of SetGuestInfo."""
        head = f"SetGuestInfo  {key} "
        return [request[len(head) :] for request in self.requests(head, since)]

    @property
    def console(self) -> list[str]:
        """The lines of the console, without times."""
        return [line.text for line in self.kernel.subject(Console).lines]

    @property
    def log(self) -> list[str]:
        """The texts that went to syslog only, without the device's name."""
        return [line.text.removeprefix("vmt0: ") for line in self.kernel.subject(SysLog).lines]

    @property
    def powerd(self) -> list[tuple[str, str]]:
        """The events that powerd received: (script, event)."""
        return [
            (event["powerd-script-name"], event["powerd-event-name"]) for event in self.power.events
        ]

    @property
    def broken(self) -> list[str]:
        """The rules, of the kernel or the protocol, that were broken so far."""
        return [
            f"{event['rule']}: {event.get('detail', event['text'])}"
            for event in self.events("violation")
        ]

    @property
    def channels(self) -> dict[str, int]:
        """The number of open channels of the guest, by protocol."""
        transport = self.host.transport
        found = {name: [c for c in transport.of(name) if c.guests] for name in ("rpci", "tclo")}
        return {name: len(channels) for name, channels in found.items()}

    def most_channels(self, protocol: str) -> int:
        """Return how many channels of a protocol were open at the same time, at most."""
        count = most = 0
        for event in self.events("open", "close"):
            if event.get("protocol") == protocol:
                count += 1 if event.kind == "open" else -1
                most = max(most, count)
        return most

    # -- the end -------------------------------------------------------------------------------

    def clean(self) -> None:
        """Require that no rule has been broken so far."""
        assert self.broken == []

    def leave(self) -> None:
        """Unload; require that no rule was broken and nothing is left."""
        if self.loaded:
            assert self.do("unload", self.module.modinfo.name) == 0
        self.clean()
        assert self.threads == []
        assert self.host.guest_channels == []
        assert self.power.switches == {}
        self.note_lines()

    def note_lines(self) -> None:
        """Record which lines of the driver ran, if lines.py requests it."""
        coverage = self._coverage
        if coverage is None:
            return
        self._coverage = None
        coverage.ended()
        lines = sorted([Path(name).name, line] for name, line in coverage._hits)
        with Path(_LINES, f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(lines) + "\n")
