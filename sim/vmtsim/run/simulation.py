"""One run: a kernel, a host, a module, a scenario, and the verdict over them."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field, replace
from vmtgen.kobj import read_module

from vmtsim.core.rng import Rng
from vmtsim.core.trace import Event, Trace
from vmtsim.host import Host
from vmtsim.host.faults import Faults
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.busspace import WindowOptions
from vmtsim.kernel.clock import SECOND, Clock
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Halted, KernelPanic, Spinning, Stalled
from vmtsim.kernel.kernel import Kernel, KernelOptions
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.pages import Pages
from vmtsim.kernel.races import Races
from vmtsim.kernel.rule_table import OPTIONS, Enforced, by_id
from vmtsim.kernel.timekeeping import TimeKeeping
from vmtsim.run.administrator import Administrator, describe_errno
from vmtsim.run.findings import NOT_LIVE, OK, PROPERTY_FAILED, STATUS, Finding, Origin
from vmtsim.scenario.script import Scenario, ScenarioRun, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import TracebackType

    from vmtgen.kobj import Module

    from vmtsim.host.context import Context
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.scenario.guest import Window

# CPU seconds within which guest code must call the kernel or the host, and real seconds between two
# checks.
_STUCK_AFTER = 10.0
_LOOK = 1.0
_HOSTNAME = "guest.example"


@dataclass
class Outcome:
    """The result of a run.  ``properties`` lists (name, held) of each checked property."""

    seed: int
    scenario: str
    findings: list[Finding] = field(default_factory=list)
    properties: list[tuple[str, bool]] = field(default_factory=list)
    virtual_time: int = 0
    kernel_calls: int = 0
    traps: int = 0
    switches: int = 0
    halted: str = ""
    orders: int | None = None  # of accesses to shared memory: kernel.races; None: not recorded
    ended: bool = False  # early: expectations after that are not checked

    @property
    def status(self) -> int:
        """The exit status: that of the worst finding."""
        return max((finding.status for finding in self.findings), default=OK)


class Watchdog:
    """Interrupts guest code that never makes a call.

    Virtual time stands still then, so it uses real time: this process's CPU time, so that on a busy
    machine no guest code is reported as stuck.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        scheduler = self._simulation.kernel.scheduler
        before, since = (-1, -1), 0.0
        while not self._over.wait(_LOOK):
            now, used = (scheduler.calls, scheduler.traps), time.process_time()
            if now != before or scheduler.current is None:
                before, since = now, used
            elif used - since > _STUCK_AFTER:
                self._simulation.kernel.cpu.interrupt()
                since = used


def _windows(given: Mapping[str, Window]) -> tuple[WindowOptions, ...]:
    """Return the registers of a scenario as the kernel takes them."""
    found = []
    for base, each in given.items():
        index, data = each.indexed or (None, None)
        registers = {int(name, 0): value for name, value in each.registers.items()}
        found.append(WindowOptions(int(base, 0), each.size, registers, index, data, each.memory))
    return tuple(found)


class Simulation:
    """Connects processor, kernel, host and scenario.

    ``trace`` receives all events, ``faults`` is for the host.  The release of the kernel is that of
    the module.  ``checks`` are the kernel's debug options, ``cpus`` its number of processors, which
    overrides the scenario's.  ``races`` detects data races, with two processors at least; races of
    the fields ``known_races`` are not findings.  ``preempt`` maps the number of a kernel call to
    how many instructions after it the thread is preempted.  ``store_buffers`` delays a processor's
    stores to others.
    Raises vmtgen.kobj.KobjError where ``module`` is no module.
    """

    def __init__(
        self,
        module: Path | Module,
        scenario: Scenario,
        *,
        seed: int = 1,
        builtin_vmt: bool = False,
        trace: Trace | None = None,
        faults: Callable[[Context], Faults] = Faults,
        checks: Collection[Enforced] = frozenset(OPTIONS.values()),
        cpus: int | None = None,
        races: bool = False,
        known_races: frozenset[str] = frozenset(),
        preempt: Mapping[int, int] | None = None,
        store_buffers: bool = False,
    ) -> None:
        self.module = read_module(module) if isinstance(module, Path) else module
        self.scenario = scenario
        self.seed = seed
        self.trace = trace or Trace(keep=True)
        self.rng = Rng(seed)
        self.clock = Clock()
        self.trace.now = self.now
        info = self.module.modinfo
        named = scenario.guest.hostname
        options = scenario.host
        if self.module.machine.value == "aarch64":
            options = replace(options, ports=True)  # there are no dead ports
        self.host = Host(
            now=self.now, rng=self.rng, options=options, trace=self.trace, faults=faults
        )
        self._host_next = self.host.context.timers.next
        self.kernel = Kernel(
            KernelOptions(
                machine=self.module.machine.value,
                release=info.version_text,
                version=info.version,
                builtin_vmt=builtin_vmt,
                hostname=_HOSTNAME if named is None else named,
                net_mpsafe=scenario.guest.net_mpsafe,
                detachall=scenario.guest.detachall,
                checks=frozenset(checks),
                cpus=cpus
                or max(2 if races or preempt or store_buffers else 1, scenario.guest.cpus),
                races=races,
                store_buffers=store_buffers,
                memory=scenario.guest.memory or KernelOptions.memory,
                msrs=scenario.guest.msrs or {},
                without=frozenset(scenario.guest.without),
                cpuid={
                    int(leaf, 0): (words[0], words[1], words[2], words[3])
                    for leaf, words in (scenario.guest.cpuid or {}).items()
                },
                i2c={
                    int(chip, 0): {int(name, 0): bytes(each) for name, each in registers.items()}
                    for chip, registers in (scenario.guest.i2c or {}).items()
                },
                windows=_windows(scenario.guest.registers or {}),
            ),
            backdoor=self.host,
            rng=self.rng.fork("kernel"),
            trace=self.trace,
            clock=self.clock,
        )
        self.kernel.subject(Races).known = known_races
        pages = self.kernel.subject(Pages)
        self.host.balloon.physical, pages.on_free = pages, self.host.balloon.page_freed
        self.admin = Administrator(self.kernel, self.module.path)
        self.admin.properties = scenario.guest.properties
        self.outcome = Outcome(seed, scenario.name)
        self._needed: list[str] = []  # modules that the one under test needs, in load order
        self._script: ScenarioRun | None = None
        self._acting = False
        scheduler = self.kernel.scheduler
        scheduler.points = dict(preempt or {})
        scheduler.outside_next = self._next_event
        scheduler.outside_advance = self._advance
        self.kernel.subject(TimeKeeping).set_rtc(scenario.host.epoch * SECOND)

    # -- the scenario's Stage ------------------------------------------------------------------

    def now(self) -> int:
        """Return virtual nanoseconds since power-on."""
        return self.clock.now

    def guest(self, verb: str, argument: Any, /) -> None:
        """Start an administrator's command in the guest."""
        self.admin.do(verb, argument)

    def sysctl(self, name: str, /) -> Any:
        """Read a sysctl node as a process does; the guest runs during that."""
        return self.admin.wait("sysctl", self.admin.read(name))

    def fact(self, name: str, /) -> str | None:
        """Return a fact of the simulated guest."""
        return self.admin.fact(name)

    def unable(self, step: Step, /) -> str:
        """Return "": a simulated guest can do and show everything."""
        del step
        return ""

    def _next_event(self) -> int | None:
        host = self._host_next()
        if self._script is None or self._acting:
            return host
        script = self._script.next_event()
        if host is None or (script is not None and script < host):
            return script
        return host

    def _advance(self) -> None:
        self.host.advance()
        if self._script is not None and not self._acting:
            self._acting = True
            try:
                self._script.advance()
            finally:
                self._acting = False

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Boot, load the module, play the scenario, unload, judge."""
        outcome = self.outcome
        with Watchdog(self):
            try:
                self._run()
            except KernelPanic as panic:
                outcome.ended = True
                self._broken(panic.rule, panic.message, self.clock.now, panic.place)
                self.kernel.subject(Console).print(panic.console)
            except Halted as halted:
                outcome.halted = halted.how
                self.trace.emit("kernel.halted", how=halted.how)
            except Spinning as spinning:
                outcome.ended = True
                self._find("spinning", str(spinning), NOT_LIVE)
            except Stalled as stalled:
                outcome.ended = True
                asleep = ", ".join(
                    f"{lwp.name} ({lwp.what or lwp.state})" for lwp in self.kernel.scheduler.lwps
                )
                self._find("stalled", f"{stalled}; threads: {asleep}", NOT_LIVE)
        self._judge()
        scheduler = self.kernel.scheduler
        outcome.virtual_time = self.clock.now
        outcome.kernel_calls = scheduler.calls
        outcome.traps = scheduler.traps
        outcome.switches = scheduler.switches
        if self.kernel.options.races:
            outcome.orders = len(self.kernel.subject(Races).orders)
        return outcome

    def _broken(self, rule: str, message: str, at: int, place: Place | None) -> None:
        """Add a finding for a broken rule of the kernel."""
        row, checks = by_id(rule), self.kernel.options.checks
        self.outcome.findings.append(
            Finding(
                rule,
                message,
                at,
                STATUS[row.consequence(checks)],
                Origin.KERNEL,
                place,
                detected=row.detected(checks),
            )
        )

    def _find(self, rule: str, message: str, status: int = PROPERTY_FAILED) -> None:
        self.outcome.findings.append(Finding(rule, message, self.clock.now, status))

    def _run(self) -> None:
        kernel, admin, given = self.kernel, self.admin, self.scenario.guest
        kernel.boot()
        admin.set_powerd(on=given.powerd)
        if given.addresses is not None:
            admin.set_addresses(given.addresses)
        self._script = ScenarioRun(self.scenario, self)
        if not self._load():
            self._script = None
            return
        for name, value in (given.sysctl or {}).items():
            reply = admin.wait("sysctl", admin.set_node(name, value))
            if reply.error:
                self._find("sysctl-setting", f"sysctl -w {name}: {describe_errno(reply.error)}")
        kernel.run(lambda: False, self.scenario.duration)
        self._leave()

    def _load(self) -> bool:
        """Load the modules that it requires, then the module."""
        modules = self.kernel.subject(Modules)
        for path in self.scenario.guest.modules:
            before = set(modules.loaded)
            file = Path(path)
            name = read_module(file).modinfo.name if file.is_file() else file.stem
            if not self._loaded(name, f"modload {path}", partial(modules.load, file)):
                return False
            self._needed += [each for each in modules.loaded if each not in before]
        return self._loaded(self.module.modinfo.name, "modload", self.admin.load)

    def _loaded(self, name: str, what: str, load: Callable[[], Model]) -> bool:
        """Load a module; detaches a built-in driver of the same name first."""
        admin = self.admin
        if name in self.kernel.subject(Modules).builtin:
            admin.wait("modunload", admin.unload(name))
        error = admin.wait("modload", load())
        if error:
            self._find("module-loads", f"{what}: {describe_errno(error)}")
            return False
        for device, parent in self._builtin(name):
            for verb, argument in (("detach", device), ("rescan", parent)):
                error = admin.wait("drvctl", admin.command(verb, argument))
                if error:
                    self._find("takes-over", f"drvctl {verb} {argument}: {describe_errno(error)}")
        return True

    def _builtin(self, name: str) -> list[tuple[str, str]]:
        """Return the devices, with their parents, of the kernel's built-in driver of that name."""
        return [
            (device.name, device.parent.name)
            for device in self.kernel.subject(AllDevices).devices()
            if device.native and device.driver.name == name and device.parent is not None
        ]

    def _leave(self) -> None:
        """Unload the modules at the end of a run whose guest still runs."""
        name = self.module.modinfo.name
        gone = name in self.kernel.subject(Modules).loaded
        for each in (*([name] if gone else []), *reversed(self._needed)):
            error = self.admin.wait("modunload", self.admin.unload(each))
            if error:
                self._find("module-unloads", f"modunload {each}: {describe_errno(error)}")
                gone = False
        if gone:
            self._check_channels()
        left = [
            device.name
            for device in self.kernel.subject(AllDevices).devices()
            if device.data is not None and device.attachment.address
        ]
        if left:
            self._find("devices-gone", f"still attached after modunload: {', '.join(left)}")

    def _check_channels(self) -> None:
        """Report channels that the guest did not close."""
        channels = self.host.transport.channels
        if channels:
            self._find(
                "channels-closed",
                "the module is unloaded, but channels to the host are open: "
                + ", ".join(str(channel) for channel in sorted(channels)),
            )

    def _judge(self) -> None:
        outcome = self.outcome
        for violation in self.kernel.violations:
            self._broken(violation.rule, violation.message, violation.at, violation.place)
        for event in self._protocol_violations():
            outcome.findings.append(
                Finding(
                    f"protocol: {event['rule']}",
                    f"{event['detail']}",
                    event.at,
                    origin=Origin.PROTOCOL,
                )
            )
        if self._script is not None and not outcome.ended:
            for failure in self._script.finish():
                outcome.findings.append(
                    Finding(
                        "scenario",
                        failure.message if failure.phase else str(failure),
                        self.clock.now,
                        origin=Origin.SCENARIO,
                        phase=failure.phase,
                    )
                )
        failed = [finding for finding in outcome.findings if finding.status]
        broken = {finding.rule for finding in failed}
        origins = {finding.origin for finding in failed}
        outcome.properties = [
            ("the module loads", "module-loads" not in broken),
            ("the kernel's rules are kept", Origin.KERNEL not in origins),
            ("the protocol's rules are kept", Origin.PROTOCOL not in origins),
            ("threads make progress", not broken & {"stalled", "spinning"}),
            ("the scenario's expectations are met", Origin.SCENARIO not in origins),
            ("the module unloads and leaks nothing", not broken & {
                "module-unloads", "devices-gone", "channels-closed", "leak"}),
        ]  # fmt: skip

    def _protocol_violations(self) -> list[Event]:
        return [
            event
            for event in self.trace.events
            if event.kind == "violation" and event.get("side") != "guest"
        ]
