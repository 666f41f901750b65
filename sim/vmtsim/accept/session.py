"""A scenario on a real guest: the host acts through the GDB stub, the guest's part is typed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field

from vmtsim.accept import guest as inside
from vmtsim.accept.guest import Guest
from vmtsim.gdb import locate
from vmtsim.gdb.session import SEEN, Session, Settings
from vmtsim.scenario.expect import EXPECTATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.accept.shell import Shell
    from vmtsim.accept.verdict import Property
    from vmtsim.accept.worker import Job, Worker
    from vmtsim.core.trace import Event
    from vmtsim.gdb.rsp import Client
    from vmtsim.scenario.script import Scenario, Step

# The output of reporter.sh.
_REPORT = re.compile(r"vmt-accept: powerd (\w+) (\w+) (\w+)(?: (\d+))?\b")
# Seconds: for finding the module in memory and the driver's first call, for the answer to a last
# ping, for all remaining work at the end.
_SPEAK, _PING, _LEAVE = 90.0, 30.0, 180.0
_PROGRESS = 10.0
LAST_PING = "ping"


@dataclass
class End:
    """The driver's state at the end of a scenario, as far as it is visible.

    ``alive``: it answered a last ping, or polled the balloon; None if it was not attached.
    ``unload``: the result of modunload, "0" or an error; ``device``: a device that was still
    attached; ``pages``: those that the host's balloon still had.
    """

    alive: bool | None = None
    unload: str = ""
    device: str = ""
    channels: list[int] = field(default_factory=list)
    pages: int = 0


class GuestSession(Session):
    """One scenario, from the rescan that lets the driver attach to the unload of the module.

    The module is already loaded, at ``base`` (None: not known).  The scenario ends at its end, or
    from ``shortest`` nanoseconds on once nothing more is expected.  ``called_host`` is false if the
    driver never called the host, ``conversation_end`` the number of events up to the scenario's
    end.  ``facts`` are scenario.expect.FACTS of the guest.  ``visit`` runs on the shell once the
    driver is attached, and the scenario waits for its end.  With ``powers_off`` it waits for the
    guest's shutdown.
    """

    def __init__(
        self,
        client: Client,
        settings: Settings,
        print_line: Callable[[str], None],
        *,
        worker: Worker,
        folder: str,
        base: int | None,
        powerd: bool,
        facts: dict[str, str],
        shortest: int,
        visit: Callable[[Shell], list[Property]] | None = None,
        powers_off: bool = False,
    ) -> None:
        super().__init__(client, settings, print_line)
        self._shortest = shortest
        self._visit = visit
        self._powers_off = powers_off
        self.visited: list[Property] = []
        self._reports: set[str] = set()
        self.ends = End()
        self.conversation_end: int | None = None
        self.called_host = True
        self.stuck = ""
        self._worker = worker
        self._folder = folder
        self._powerd = powerd
        self._facts = facts
        # The text's address of a module whose driver has to attach once it is served; 0: any.
        self._attach: int | None = base or 0
        self._bus = "cpu0"
        self._started = self._progress_at = time.monotonic()
        self._leaving: Job[Any] | None = None
        self._left_at = 0.0
        self._pinged = 0.0
        self._polls: int | None = None  # of the balloon, when its last one was waited for
        self.trace.subscribe(self._reported, ("console",))
        self.trace.subscribe(self._answered, ("tclo.reply",))

    @property
    def first(self) -> int:
        """The time of the driver's first call (ns of the trace)."""
        return self._first or 0

    # The scenario's Stage.

    def guest(self, verb: str, argument: Any, /) -> None:
        """Execute it on the console; its result becomes an event."""
        self._facts = inside.changed(self._facts, verb, argument)

        def typed(shell: Shell) -> tuple[str, int | None]:
            guest = Guest(shell, self._folder)
            if verb != "load":
                return guest.do(verb, argument), None
            result = guest.call("load", self.settings.program.name)
            if not result.ok:
                return inside.failure(result), None
            return "0", locate.from_modstat(result.output, self.settings.program.name) or 0

        def ended(_session: Session) -> None:
            shown = str(job.error) if job.error is not None else job.result()[0]
            self.trace.emit("guest.done", verb=verb, argument=str(argument), result=shown)
            if job.error is None and job.result()[1] is not None:
                self._attach = job.result()[1]

        job = self._worker.submit(typed)
        self._when_done(job, ended)

    def _when_done(self, job: Job[Any], then: Callable[[Session], None]) -> None:
        def look(session: Session) -> None:
            if job.done:
                then(session)
            else:
                session.commands.append(look)

        self.commands.append(look)

    def _ask(self, *words: str) -> str | None:
        """Return the output of a verb of guest.sh, None if it fails; serves the guest meanwhile."""
        if self.done:
            return None
        job = self._worker.submit(lambda shell: Guest(shell, self._folder).call(*words))
        while not job.done:
            self.server.poll(0.02)
            self.host.advance()
            self._listen()
        if job.error is not None or not job.result().ok:
            return None
        return job.result().output.strip()

    def sysctl(self, name: str, /) -> Any:
        """Return the value of a node, read in the guest."""
        return self._ask("node", name)

    def fact(self, name: str, /) -> str | None:
        """Return a fact that the guest reported before the scenario, or that was set since.

        This does not query the guest: the expected event could come during the query.
        """
        return self._facts.get(name)

    def unable(self, step: Step, /) -> str:
        """Return why this real guest cannot do or show it."""
        verb = step.verb
        if verb.startswith("guest."):
            return inside.unable(verb.removeprefix("guest."), step.argument)
        if not step.expects or verb == "expect.sysctl":
            return ""
        kind = EXPECTATIONS[verb].kind(step.argument)
        if kind == "powerd":
            return "" if self._powerd else "powerd does not run in the guest"
        if kind in SEEN or kind == "guest.done":
            return ""
        return f"events {kind!r} are visible only in the simulated kernel"

    def _reported(self, event: Event) -> None:
        found = _REPORT.search(str(event["text"]))
        if found and (found.group(4) is None or found.group() not in self._reports):
            self._reports.add(found.group())
            script, name, device = found.groups()[:3]
            self.trace.emit("powerd", script=script, name=name, device=device, type="pswitch")

    # The loop.

    def _turn(self) -> None:
        super()._turn()
        if self._worker.crash is not None and not self.done:
            self.end("the console is gone" if self._powers_off else "the guest crashed")
        if self._attach is not None and self.server.armed and self._attach in {0, self.server.base}:
            self._attach = None
            self._rescan()
        over = self.conversation_end is not None
        waits = self._visit is not None or (self._script is not None and not self._script.settled)
        settled = not waits and self._first is not None and self.now() >= self._shortest
        if over or settled:
            self.scenario_over(self.settings.scenario)
        if time.monotonic() - self._progress_at > _PROGRESS and not over:
            self._progress_at = time.monotonic()
            calls = self.host.summary()["calls"]
            self.print_line(
                f"{self.now() / 1e9:.0f} of {self._shortest / 1e9:.0f} s, {calls} calls"
            )
        if self._first is None and time.monotonic() - self._started > _SPEAK:
            self.called_host = False
            if not self.server.armed:
                self.stuck = "the text of the module that was given is not in the guest's memory"
            self.scenario_over(None)

    def _rescan(self) -> None:
        """Rescan for the device; then apply the settings of the scenario."""
        scenario = self.settings.scenario
        nodes = dict((scenario.guest.sysctl if scenario is not None else None) or {})

        def typed(shell: Shell) -> str:
            guest = Guest(shell, self._folder)
            result = guest.call("rescan", self._bus)
            if not result.ok:
                return inside.failure(result)
            return guest.do("sysctl", nodes) if nodes else "0"

        def ended(_session: Session) -> None:
            shown = str(job.error) if job.error is not None else job.result()
            if shown != "0":
                self.stuck = f"drvctl -r: {shown}"
            elif self._visit is not None:
                self._begin_visit(self._visit)

        job = self._worker.submit(typed)
        self._when_done(job, ended)

    def _begin_visit(self, visit: Callable[[Shell], list[Property]]) -> None:
        def ended(_session: Session) -> None:
            self._visit = None
            if job.error is not None:
                self.stuck = self.stuck or str(job.error)
            else:
                self.visited = job.result()

        job = self._worker.submit(visit)
        self._when_done(job, ended)

    def scenario_over(self, scenario: Scenario | None) -> None:
        """Check whether the driver still answers, unload the module, and end."""
        if scenario is not None and self._visit is not None and not self.stuck:
            return  # its steps come first, however slow the guest is
        if self.conversation_end is None:
            self.conversation_end = len(self.trace.events)
            if self._script is not None:
                self.failures = self._script.finish()
            self.host.faults.disarm()
            self.host.faults.enabled = False
            self._left_at = time.monotonic()
            if scenario is not None and self.host.guest_channels:
                self.ends.alive = False
                self._pinged = self._left_at
                self.host.send(LAST_PING)
            elif scenario is not None and self.host.balloon.started:
                self.ends.alive = False
                self._pinged = self._left_at
                self._polls = self.host.balloon.polls
        if self._polls is not None and self.host.balloon.polls > self._polls:
            self.ends.alive = True
        now = time.monotonic()
        waits = self.ends.alive is False and now - self._pinged < _PING
        if self._leaving is None and not waits:
            self._leave()
        if now - self._left_at > _LEAVE:
            self.stuck = self.stuck or "modunload does not end"
            self.end("the module cannot be unloaded")

    def _answered(self, event: Event) -> None:
        if self._pinged and self.ends.alive is False and event["message"] == LAST_PING.encode():
            self.ends.alive = True

    def _leave(self) -> None:
        name = self.settings.program.name

        def typed(shell: Shell) -> tuple[str, str]:
            guest = Guest(shell, self._folder)
            unload = guest.do("unload", name)
            return unload, guest.call("device", name).output.strip()

        def ended(_session: Session) -> None:
            if job.error is not None:
                self.stuck = self.stuck or str(job.error)
            else:
                self.ends.unload, self.ends.device = job.result()
                self.ends.channels = sorted(self.host.guest_channels)
                self.ends.pages = self.host.balloon.size
            self.end("over")

        job = self._leaving = self._worker.submit(typed)
        self._when_done(job, ended)
