"""A whole session: host, server, scenario, the guest's console, and the user's commands."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, replace

from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.gdb.clock import WallClock
from vmtsim.gdb.rsp import StubGoneError
from vmtsim.gdb.server import Patience, Server
from vmtsim.host import Host, HostOptions
from vmtsim.host.options import EPOCH, NANOSECONDS
from vmtsim.scenario.expect import EXPECTATIONS
from vmtsim.scenario.script import Failure, Scenario, ScenarioRun, SkippedStep, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.gdb.rsp import Client
    from vmtsim.gdb.sites import Program

# Kinds of events that also occur with a real guest: the simulated host, this session and the
# scenario emit them.  All others come only from the models of vmtsim.kernel.
SEEN = frozenset(
    {
        *(
            "application",
            "backdoor",
            "backup",
            "backup.event",
            "backup.refused",
            "backup.silent",
            "balloon",
            "balloon.reset",
            "balloon.taken-back",
            "close",
        ),
        *("console", "dead-channel", "fault", "guest.note", "guestinfo", "high-bandwidth"),
        *("host.checkpoint", "host.clock", "host.log", "host.migrate", "host.option"),
        *("host.power", "host.revert", "host.time", "hypercall", "open", "open.refused", "poll"),
        *(
            "power.restarted",
            "power.status",
            "power.timeout",
            "rpci",
            "rpci.dropped",
            "rpci.unknown",
            "tclo",
        ),
        *("tclo.bound", "tclo.dropped", "tclo.late", "tclo.lost", "tclo.refused"),
        *("tclo.reply", "tclo.timeout"),
        *("tools", "violation", "scenario.step", "scenario.met", "scenario.failed"),
    }
)
# The kernel prints the uptime before each line (NetBSD sys/kern/subr_prf.c, kprintf_internal).
_STAMP = re.compile(r"\[ *\d+\.\d{6,9}\] ")
_TICK = 0.05
_LONGEST_LOG = 1 << 20


class Console:
    """The guest's serial log: a file that grows.  ``text`` is the end of the output.

    ``lines`` begins ``start`` bytes into it.
    """

    def __init__(self, path: Path | None, start: int = 0) -> None:
        self._path = path
        self._offset = start
        self._rest = ""
        self.text = ""

    def lines(self) -> list[str]:
        """Return the lines that were completed since the last call."""
        if self._path is None:
            return []
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = 0  # rewritten
                file.seek(self._offset)
                data = file.read(_LONGEST_LOG)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        new = data.decode("utf-8", "replace").replace("\r", "")
        self.text = (self.text + new)[-_LONGEST_LOG:]
        *lines, self._rest = (self._rest + new).split("\n")
        return lines

    def current(self) -> str:
        """Return the current text without taking lines from ``lines``."""
        if self._path is None:
            return ""
        try:
            raw = self._path.read_bytes()[-_LONGEST_LOG:]
        except FileNotFoundError:
            return ""
        return raw.decode("utf-8", "replace").replace("\r", "")


@dataclass
class Settings:
    """The user's choices; ``text`` is the base of the program's text, or None."""

    program: Program
    scenario: Scenario | None = None
    text: int | None = None
    serial: Path | None = None
    serial_start: int = 0
    seed: int = 1
    keep: bool | int = 2000
    duration: float | None = None
    patience: Patience | None = None


class Session:
    """Runs until ``done``.  It is the stage of its scenario, whose time begins with the first call.

    ``print_line`` prints one line for the user.  ``skipped_steps`` holds the parts of the scenario
    that could not be done or checked, ``expected`` and ``judged`` count its expectations.
    """

    def __init__(
        self, client: Client, settings: Settings, print_line: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.print_line = print_line
        self.clock = WallClock()
        self.trace = Trace(self.clock, keep=settings.keep)
        scenario = settings.scenario
        options = scenario.host if scenario is not None else HostOptions()
        if options.epoch == EPOCH:
            options = replace(options, epoch=int(time.time()))
        self.host = Host(now=self.clock, rng=Rng(settings.seed), options=options, trace=self.trace)
        self.console = Console(settings.serial, settings.serial_start)
        self.server = Server(
            client,
            settings.program,
            self.host,
            print_line=print_line,
            text=settings.text,
            console=self.console.current,
            patience=settings.patience,
        )
        self.commands: deque[Callable[[Session], None]] = deque()
        self.done = False
        self.ended = ""
        self.failures: list[Failure] = []
        self._script: ScenarioRun | None = None
        self._first: int | None = None
        self._read = 0.0

    @property
    def skipped_steps(self) -> list[SkippedStep]:
        """The parts of the scenario that could not be done or checked."""
        return [] if self._script is None else self._script.skipped_steps

    @property
    def expected(self) -> int:
        """The number of the scenario's expectations."""
        scenario = self.settings.scenario
        return 0 if scenario is None else sum(step.expects for step in scenario.steps)

    @property
    def judged(self) -> int:
        """The number of expectations that were checked."""
        return 0 if self._script is None else self._script.judged

    # The scenario's Stage.

    def now(self) -> int:
        """Return nanoseconds since the guest's first call."""
        return 0 if self._first is None else self.clock() - self._first

    def guest(self, verb: str, argument: Any, /) -> None:
        """Do nothing: vmtsim cannot act inside a real guest, and omits such steps."""
        raise NotImplementedError(f"guest.{verb}: {argument}")

    def sysctl(self, name: str, /) -> Any:
        """Return None: a real guest's nodes are not visible from outside."""
        del name

    def fact(self, name: str, /) -> str | None:
        """Return None: facts of a real guest are not visible from outside."""
        del name
        return None

    def unable(self, step: Step, /) -> str:
        """Return why the step is omitted."""
        if step.verb.startswith("guest."):
            return "the action is inside the guest"
        if step.verb == "expect.console" and self.settings.serial is None:
            return "the console is not available (give --serial)"
        if step.verb == "expect.sysctl":
            return "visible only inside the guest"
        if step.expects and EXPECTATIONS[step.verb].kind(step.argument) not in SEEN:
            kind = EXPECTATIONS[step.verb].kind(step.argument)
            return f"events {kind!r} are visible only inside the guest"
        return ""

    # The loop.

    def run(self) -> None:
        """Serve the guest until the scenario is over, the user quits or QEMU exits.

        The guest then continues in any case.  Raises RemoteError, SitesError.
        """
        try:
            self.server.begin()
            while not self.done:
                self._turn()
        except StubGoneError:
            self.end("QEMU has quit: the virtual machine is gone")
        finally:
            self.server.leave()
            self._listen()
            if self._script is not None:
                self.failures = self._script.finish()

    def end(self, why: str) -> None:
        """Leave the loop after this turn."""
        self.done = True
        self.ended = why
        self.print_line(why)

    def scenario_over(self, scenario: Scenario) -> None:
        """Do the work after the scenario's time is over; called until ``done``."""
        self.end(f"the scenario {scenario.name} is over")

    def _turn(self) -> None:
        served = self.server.poll(self._timeout())
        self.host.advance()
        if served and self._first is None:
            self._begin_scenario()
        for _ in range(len(self.commands)):
            self.commands.popleft()(self)
        now = time.monotonic()
        if now - self._read >= _TICK:
            self._read = now
            self._listen()
        if self._script is not None:
            self._script.advance()
            scenario = self.settings.scenario
            if scenario is not None and self.now() >= scenario.duration:
                self.scenario_over(scenario)
        if self.settings.duration is not None and self.clock() >= self.settings.duration * 1e9:
            self.end(f"{self.settings.duration:g} s are over")

    def _listen(self) -> None:
        for line in self.console.lines():
            for text in _STAMP.split(line):
                if text:
                    self.trace.emit("console", text=text)

    def _timeout(self) -> float:
        times = [_TICK]
        due = self.host.next_event()
        if due is not None:
            times.append((due - self.clock()) / NANOSECONDS)
        due = self._script.next_event() if self._script is not None else None
        if due is not None:
            times.append((due - self.now()) / NANOSECONDS)
        return max(min(times), 0.0)

    def _begin_scenario(self) -> None:
        self._first = self.clock()
        scenario = self.settings.scenario
        if scenario is None:
            return
        self._script = ScenarioRun(scenario, self)
        for each in self._script.skipped_steps:
            self.print_line(f"skipped: {each}")
