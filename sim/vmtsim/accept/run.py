"""One acceptance run: the machine, its shell, the module, and one scenario after another."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vmtgen.common.dataclass import dataclass, field, replace
from vmtgen.common.errors import DATA, UNAVAILABLE, ReportedError

from vmtsim import __version__
from vmtsim.accept import compare, disks, files, guest, machine, verdict, walk
from vmtsim.accept.boot import Account, Boot
from vmtsim.accept.console import (
    Console,
    ConsoleClosedError,
    ConsoleError,
    GuestCrashError,
)
from vmtsim.accept.drivers import DEFAULT, POWER_OFF, WALK, Driver
from vmtsim.accept.guest import Facts, Guest, GuestError
from vmtsim.accept.module import bring, described
from vmtsim.accept.session import GuestSession
from vmtsim.accept.worker import Worker
from vmtsim.gdb import locate, sites
from vmtsim.gdb.rsp import Client, RemoteError, connect
from vmtsim.gdb.server import Patience
from vmtsim.gdb.session import Settings
from vmtsim.report.session_text import Findings
from vmtsim.run.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmtsim.accept.shell import Shell
    from vmtsim.core.trace import Event
    from vmtsim.scenario.script import Scenario

# Initial values of the simulated guest (vmtsim.kernel.network, KernelOptions.hostname).
HOSTNAME = "guest.example"
ADDRESSES = ("192.0.2.10/24", "2001:db8::10/64")
NEEDED = ("modload", "modunload", "drvctl", "sysctl")
# Space for the module and the scripts on the disk that contains them.
_FILES = 8 << 20
# Seconds after the end of the console within which QEMU exits.
_POWER_OFF_TIMEOUT = 20.0


class AcceptError(ReportedError):
    """The run is not possible."""

    exit_status = UNAVAILABLE


@dataclass
class Plan:
    """The plan of a run.  Times are seconds; ``slow`` widens the windows of expectations."""

    options: machine.MachineOptions
    scenarios: list[Scenario]
    driver: Driver = DEFAULT
    extras: frozenset[str] = frozenset()
    disk: Path | None = None
    kernel: Path | None = None
    module: Path | None = None
    account: Account = field(default_factory=Account)
    boot_timeout: float = 1800.0
    slow: float = 2.0
    seed: int = 1
    keep: bool = False


@dataclass
class Versions:
    """The versions of the programs, the kernel and the module of a run, by name, for the report."""

    pairs: dict[str, str] = field(default_factory=dict)


class Seen(Protocol):
    """The data of a run that a report needs."""

    facts: Facts
    versions: Versions

    def console(self) -> bytes:
        """Return the output of all consoles so far."""


class Acceptance:
    """Runs a plan: ``prepare`` first, then ``results``.  ``print_line`` prints lines for the user.

    Use it as a context: its end stops the machine (not with ``plan.keep``) and removes unpacked
    files.
    """

    def __init__(self, plan: Plan, print_line: Callable[[str], None]) -> None:
        self.plan = plan
        self.print_line = print_line
        self.facts = Facts()
        self.versions = Versions()
        self.module: Path | None = None  # the file that is loaded
        self.console_log = b""
        self.machine: machine.Machine | None = None
        self.work = Path(tempfile.mkdtemp(prefix="vmt-accept-"))
        self._files: dict[str, Path] = {}
        self._options = plan.options
        self._worker: Worker | None = None
        self._console: Console | None = None
        self._folder = ""
        self._powerd = False
        self._boots = 0

    def __enter__(self) -> Acceptance:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        if self.plan.keep and self.machine is not None and self.machine.running:
            self.print_line(
                f"kept: QEMU is process {self.machine.process.pid}, the console is the Unix socket "
                f"{self.machine.folder / 'console'}"
            )
            return
        self._end_machine()
        shutil.rmtree(self.work, ignore_errors=True)

    # The machine and its shell.

    def prepare(self) -> None:
        """Start the machine, get to a root shell, and copy the files in.

        Raises AcceptError, DiskError, MachineError, ConsoleError, GuestError.
        """
        plan = self.plan
        qemu = machine.find_qemu(self._options)
        self.versions.pairs = {
            "vmtsim": __version__,
            "Python": platform.python_version(),
            "QEMU": machine.version(qemu),
        }
        if plan.disk is not None:
            self._options = replace(
                self._options, disk=disks.prepared(plan.disk, self.work, self.print_line)
            )
        if plan.kernel is not None:
            self._options = replace(self._options, kernel=disks.kernel(plan.kernel, self.work))
        with (self.work / "files.img").open("wb") as file:
            file.truncate(_FILES)
        self._boot()

    def _boot(self) -> None:
        self._boots += 1
        self.print_line("starting QEMU")
        files_disk = self.work / "files.img"
        self.machine = machine.start(self._options, self.work / f"boot{self._boots}", files_disk)
        self._console = Console.of_socket(self.machine.line, progress=self.print_line)
        boot = Boot(
            self._console,
            self.plan.account,
            timeout=self.plan.boot_timeout,
            print_line=self.print_line,
        )
        shell = boot.shell()
        self._set_up(shell, files_disk)
        self._worker = Worker(shell)

    def _set_up(self, shell: Shell, files_disk: Path) -> None:
        self.print_line("the guest has a root shell")
        system = shell.run("uname -s -r -m")
        match = re.fullmatch(r"(\S+) (\S+) (\S+)", system.output.strip())
        if match is None or match.group(1) != "NetBSD":
            raise GuestError(f"the guest is not NetBSD: uname printed {system.output!r}")
        _, release, port = match.groups()
        if self.module is None:
            self._files = bring(
                self.plan.driver, self.plan.module, release, port, self.work, self.print_line
            )
            self.module = self._files[self.plan.driver.file]
            info = described(self.module).modinfo
            self.versions.pairs["module"] = (
                f"{info.name} for NetBSD {info.version_text}/{port}, "
                f"{self.module.stat().st_size} bytes"
            )
        content = files.archive(self._files)
        if len(content) > _FILES:
            raise AcceptError(f"{self.module} is too large for the guest", exit_status=DATA)
        with files_disk.open("r+b") as file:
            file.write(content)
        self._folder = guest.find_folder(shell)
        guest.unpack(shell, self._folder.rpartition("/")[0])
        inside = Guest(shell, self._folder)
        self.facts = inside.facts()
        missing = [name for name in NEEDED if name in self.facts.missing]
        if missing:
            raise GuestError(
                f"the guest has no {', '.join(missing)}",
                hint="the set base of NetBSD has all of them",
            )
        self.versions.pairs |= {
            "guest": self.facts["version"] or f"NetBSD {release} {port}",
            "guest's vCPUs": self.facts["cpus"],
        }
        inside.call("quiet")
        self._powerd = inside.call("reporters").ok
        if not self._powerd:
            self.print_line("powerd does not run in the guest: power events are not checked")

    def _end_machine(self) -> None:
        if self.machine is None:
            return
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        self.machine.stop()
        if self.machine.log.is_file():
            self.console_log += self.machine.log.read_bytes()
        self.machine = None

    def console(self) -> bytes:
        """Return the output of all consoles so far."""
        now = b""
        if self.machine is not None and self.machine.log.is_file():
            now = self.machine.log.read_bytes()
        return self.console_log + now

    # Scenarios.

    def results(self) -> Iterator[verdict.Result]:
        """Run one scenario after another; the walkthrough comes first, the power-off last."""
        if WALK.name in self.plan.extras:
            yield self._play(WALK, compared=False)
        for scenario in self.plan.scenarios:
            yield self._play(scenario)
        if POWER_OFF.name in self.plan.extras:
            yield self._play(POWER_OFF, compared=False)

    def _alive(self) -> bool:
        return (
            self.machine is not None
            and self.machine.running
            and self._worker is not None
            and self._worker.crash is None
            and not self._worker.hung
        )

    def _play(self, scenario: Scenario, *, compared: bool = True) -> verdict.Result:
        result = verdict.Result(scenario.name, scenario.summary)
        try:
            if not self._alive():
                self.print_line("the machine or its console is gone: starting another one")
                self._end_machine()
                self._boot()
            if compared:
                self._simulate(scenario, result)
            self._real(scenario, result)
        except (ConsoleError, RemoteError) as error:
            if isinstance(error, (GuestCrashError, ConsoleClosedError)):
                result.crash = str(error)
            else:
                result.findings.append(str(error))
            result.properties = verdict.properties(
                loaded="0", crash=result.crash, rules=(), failures=(), judged=0, ends=None
            )
        return result

    def _simulate(self, scenario: Scenario, result: verdict.Result) -> None:
        assert self.module is not None
        self.print_line(f"{scenario.name}: in the simulator")
        simulation = Simulation(self.module, scenario, seed=self.plan.seed)
        simulation.run()
        result.simulated = [
            event for event in simulation.trace.events if event.at <= scenario.duration
        ]

    def _real(self, scenario: Scenario, result: verdict.Result) -> None:
        assert self._worker is not None
        assert self.machine is not None
        assert self.module is not None
        self.print_line(f"{scenario.name}: on the guest, {scenario.duration / 1e9:.0f} s")
        given = scenario.guest

        def begin(shell: Shell) -> tuple[str, int | None, dict[str, str]]:
            inside = Guest(shell, self._folder)
            inside.call("free", name)
            if scenario is POWER_OFF:
                inside.call("originals")
            inside.do("hostname", given.hostname or HOSTNAME)
            inside.do("addresses", list(ADDRESSES) if given.addresses is None else given.addresses)
            if self._powerd:
                inside.do("powerd", given.powerd)
            facts = guest.named(inside.call("named"))
            loaded = inside.call("load", name)
            if not loaded.ok:
                return guest.failure(loaded), None, facts
            return "0", locate.from_modstat(loaded.output, name), facts

        name = self.plan.driver.name
        program = replace(sites.of_module(self.module), name=name)
        started = time.monotonic()
        start = self.machine.log.stat().st_size
        loaded, base, facts = self._worker.call(begin)
        if loaded != "0":
            result.properties = verdict.properties(
                loaded=loaded, crash="", rules=(), failures=(), judged=0, ends=None
            )
            return
        session = GuestSession(
            Client(connect(self.machine.gdb)),
            Settings(
                program=program,
                scenario=slowed(scenario, self.plan.slow),
                serial=self.machine.log,
                serial_start=start,
                seed=self.plan.seed,
                keep=True,
                patience=Patience(look=0.5, quiet=4.0),
            ),
            lambda line: self._print_line_of(scenario, line),
            worker=self._worker,
            folder=self._folder,
            base=base,
            powerd=self._powerd,
            facts=facts,
            shortest=scenario.duration,
            visit=self._walk if scenario is WALK else None,
            powers_off=scenario is POWER_OFF,
        )
        rules = Findings(session.trace)
        session.run()
        result.seconds = time.monotonic() - started
        down = scenario is POWER_OFF and self.machine.wait(_POWER_OFF_TIMEOUT)
        self._judge(session, rules, result, down=down)
        if scenario is POWER_OFF:
            state = verdict.HELD if down else verdict.BROKEN
            detail = "" if down else "the machine still runs"
            result.properties.append(verdict.Property("the guest powers off", state, detail))

    def _print_line_of(self, scenario: Scenario, line: str) -> None:
        """Pass on the session's messages, except the addresses of breakpoints."""
        if "breakpoints on" not in line and "behind the GDB stub" not in line and line != "over":
            self.print_line(f"{scenario.name}: {line}")

    def _walk(self, shell: Shell) -> list[verdict.Property]:
        python = self.facts["python"] if walk.VMTCTL in self._files else ""
        driver = self.plan.driver
        return walk.Walk(shell, self._folder, driver.name, driver.steps, python).take()

    def _judge(
        self, session: GuestSession, rules: Findings, result: verdict.Result, *, down: bool
    ) -> None:
        """Return the result of a session; ``down``: the guest powered off, as expected."""
        found = self._worker.crash if self._worker is not None else None
        crash = "" if found is None else str(found)
        if isinstance(found, ConsoleClosedError) and (down or _was_shut_down(session.trace.events)):
            crash = ""
        result.crash = crash
        result.skipped_steps = session.skipped_steps
        result.expected, result.judged = session.expected, session.judged
        result.calls = session.host.summary()["calls"]
        result.origin = session.first
        events = session.trace.events
        result.real = (
            events[: session.conversation_end] if session.conversation_end is not None else events
        )
        if session.stuck:
            result.findings.append(session.stuck)
        if not session.called_host:
            result.findings.append("the driver never called the host")
        broken = [f"{event['rule']}: {event.get('detail')}" for event in rules.events]
        result.findings += [f"protocol: {each}" for each in broken]
        result.findings += [str(failure) for failure in session.failures]
        result.properties = verdict.properties(
            loaded="0",
            crash=crash,
            rules=broken,
            failures=[str(failure) for failure in session.failures],
            judged=session.judged,
            ends=session.ends,
        )
        result.properties += session.visited
        if not result.simulated:
            return
        assert self.module is not None
        release = described(self.module).modinfo.version_text
        result.comparison = compare.compare(
            compare.messages(result.simulated, release=release),
            compare.messages(result.real, origin=result.origin, release=self.facts["release"]),
        )


def slowed(scenario: Scenario, factor: float) -> Scenario:
    """Return the scenario with wider windows for expectations; negated ones keep theirs."""
    steps = tuple(
        replace(step, within=round(step.within * factor)) if not step.negated else step
        for step in scenario.steps
    )
    last = max((step.at + step.within for step in steps), default=0)
    return replace(scenario, steps=steps, duration=max(scenario.duration, last))


def _was_shut_down(events: Iterator[Event] | list[Event]) -> bool:
    return any(event.kind == "guest.done" and event["verb"] == "shutdown" for event in events)


def record(seen: Seen, results: list[verdict.Result]) -> dict[str, Any]:
    """Return the run as plain data for report.json."""
    return {
        "format": "vmtsim-acceptance",
        "version": 1,
        "status": verdict.status(results),
        "versions": seen.versions.pairs,
        "guest": {**seen.facts.values, "missing": seen.facts.missing},
        "scenarios": [_scenario(each) for each in results],
    }


def _scenario(result: verdict.Result) -> dict[str, Any]:
    differences = result.comparison.differences if result.comparison is not None else ()
    return {
        "name": result.scenario,
        "verdict": result.verdict,
        "seconds": round(result.seconds, 1),
        "calls": result.calls,
        "expectations": {"all": result.expected, "judged": result.judged},
        "properties": {
            each.name: {"state": each.state, "detail": each.detail} for each in result.properties
        },
        "findings": result.findings,
        "skipped_steps": [
            {"place": each.place, "verb": each.verb, "reason": each.reason}
            for each in result.skipped_steps
        ],
        "differences": [
            {
                "kind": each.kind,
                "simulated": None if each.simulated is None else each.simulated.text,
                "real": None if each.real is None else each.real.text,
            }
            for each in differences
        ],
        "compared": result.comparison is not None,
        "crash": result.crash,
    }
