"""Runs many seeds on many processors, and checks the campaign itself.

Seeds are submitted one by one to any executor of concurrent.futures (see ``workers``).  A share of
them is run once more by another process, which hashes strings differently, and must give the same
trace byte for byte.  A canary, a module with a known defect, must be caught, or the campaign proves
nothing.

A seed counts when all of it is done, including a re-run.  So a record that was cut short at any
moment is exact, and ``resumed`` continues with the missing seeds.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Protocol

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import SOFTWARE

from vmtsim.campaign import investigate
from vmtsim.campaign import record as records
from vmtsim.campaign.interruption import Interrupted, Interruption
from vmtsim.campaign.player import Played, play_one
from vmtsim.campaign.record import Failure, Record
from vmtsim.campaign.subject import Setup
from vmtsim.campaign.workers import WorkersLostError
from vmtsim.core import fingerprint
from vmtsim.core.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from concurrent.futures import Executor
    from pathlib import Path

    from vmtsim.campaign.bundle import ModuleBundle
    from vmtsim.campaign.workers import WorkerPool

# Seeds for each worker that run or wait: enough to keep it busy.
_AHEAD = 4
# Kinds of failures that are reduced and reported in full.
_MAX_REPORTS = 3
# Seconds between two checks for workers, and between two copies of the result in its file.
_LOOK = 2.0
_SAVE = 10.0


@dataclass(frozen=True)
class Settings:
    """The settings of a campaign.  ``last`` None: without end, for ``minutes`` of real time.

    One in ``check_determinism`` seeds is run twice; 0 is none.  ``canary_seeds`` is the number of
    seeds within which the canary must be caught.  ``settled`` ends the campaign early: after that
    many consecutive seeds without a new order of two accesses to shared memory (``setup.races``).
    """

    module: Path
    first: int = 1
    last: int | None = 100
    setup: Setup = field(default_factory=Setup)
    minutes: float | None = None
    check_determinism: int = 20
    canary: Path | None = None
    canary_seeds: int = 40
    max_reports: int = _MAX_REPORTS
    settled: int | None = None


class Listener(Protocol):
    """Receives the progress of a campaign."""

    def began(self, settings: Settings) -> None:
        """Report the start."""

    def played(self, record: Record) -> None:
        """Report that the record has grown."""

    def doing(self, text: str) -> None:
        """Report a task other than running seeds."""


def _save_nothing(_record: Record) -> None:
    """Keep no copy of an unfinished result."""


class Campaign:
    """One campaign in progress; ``run`` runs it to its end.

    ``cut_status`` is then the exit status that goes with ``Record.cut``: 130 after Ctrl-C (143
    after SIGTERM, 129 after SIGHUP), 69 if a cluster is gone, 70 if a process died, 0 if everything
    ran.

    ``save`` gets the record every few seconds, marked as cut: what it writes can be ``resumed``
    like the result of a campaign that was stopped.  ``resumed`` is such a record; raises
    RecordError if it is not one of this module, setup and vmtsim.
    """

    def __init__(
        self,
        settings: Settings,
        pool: WorkerPool,
        listener: Listener,
        *,
        interruption: Interruption | None = None,
        save: Callable[[Record], None] = _save_nothing,
        resumed: Record | None = None,
    ) -> None:
        self.settings = settings
        planned = [] if settings.last is None else [[settings.first, settings.last]]
        self.record = Record(
            file=settings.module.name,
            digest=investigate.digest(settings.module),
            commit=investigate.commit(),
            vmtsim=fingerprint.digest()[:32],
            setup=settings.setup.options,
            planned=planned,
        )
        if resumed is not None:
            records.same_campaign(resumed, self.record)
            # Only the seeds of this campaign remain to run, whatever was planned before.
            resumed.planned = planned and records.joined([*resumed.seeds, *planned])
            resumed.commit = self.record.commit
            self.record = resumed
        self._wall = self.record.wall
        self.cut_status = 0
        self._settled = False
        self._pool = pool
        self._module = pool.pack(settings.module)
        self._window = max(pool.workers(), 1) * _AHEAD
        self._began = self._looked = self._workers_seen = self._saved = time.monotonic()
        self._listener = listener
        self._interruption = interruption or Interruption()
        self._save = save
        # Runs in progress: the seed, and whether this is its re-run.
        self._running: dict[Future[Played], tuple[int, bool]] = {}
        self._kept: dict[int, Played] = {}
        self._again: dict[int, Played] = {}

    def run(self) -> Record:
        """Run everything, and return the result."""
        settings, record = self.settings, self.record
        self._began = time.monotonic()
        self._saved = self._began - _SAVE  # a first copy as soon as there is something to keep
        self._listener.began(settings)
        try:
            if settings.canary is not None and not record.canary:
                self._canary(settings.canary)
            self._seeds()
            record.wall = self._seconds()
            if self._settled:
                record.planned = [list(each) for each in record.seeds]
            self._report_failures()
        except (KeyboardInterrupt, WorkersLostError) as error:
            record.wall = self._seconds()
            self._cut(error)
        else:
            record.cut = ""
        for failure in record.failures:
            if failure.status != SOFTWARE:
                failure.replay = investigate.replay_command(
                    settings.module, failure.seed, settings.setup
                )
        return record

    def _seconds(self) -> float:
        """Return the real time that was spent on the seeds that count, over all parts."""
        return self._wall + time.monotonic() - self._began

    def _cut(self, error: KeyboardInterrupt | WorkersLostError) -> None:
        """End before everything has run: without waiting for runs in progress."""
        record = self.record
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
            error = Interrupted()
        self.cut_status = error.exit_status
        for future in [future for future in self._running if future.done()]:
            if not future.cancelled() and future.exception() is None:
                self._take(*self._running.pop(future), future.result())
        record.cut = f"{error}, after {self._progress()}"
        self._listener.doing(f"{error}: the result so far is valid")
        self._pool.stop()

    def _progress(self) -> str:
        total = records.count(self.record.planned)
        return f"{self.record.played}{f' of {total}' if total else ''} seeds"

    def _copy(self) -> None:
        """Save the record as that of a campaign that was cut here."""
        now = time.monotonic()
        if self.record.played and now - self._saved >= _SAVE:
            self._saved = now
            self.record.wall = self._seconds()
            self.record.cut = f"still running when this was written, after {self._progress()}"
            self._save(self.record)

    # -- the seeds ---------------------------------------------------------------------------

    def _to_play(self) -> Iterator[int]:
        """Yield the seeds that are planned and do not count yet."""
        settings = self.settings
        for first, last in records.missing(self.record.seeds, settings.first, settings.last):
            seed = first
            while last is None or seed <= last:
                minutes = settings.minutes
                if minutes is not None and time.monotonic() - self._began > 60 * minutes:
                    return
                if settings.settled and self.record.stale(settings.first) >= settings.settled:
                    self._settled = True
                    return
                yield seed
                seed += 1

    def _twice(self, seed: int) -> bool:
        every = self.settings.check_determinism
        return every > 0 and (
            seed == self.settings.first or Rng(seed).fork("twice").chance(1, every)
        )

    def _seeds(self) -> None:
        seeds = self._to_play()
        more = True
        while more or self._running:
            while more and len(self._running) < self._window:
                seed = next(seeds, None)
                if seed is None:
                    more = False
                    break
                self._start(seed)
            if not self._running:
                continue
            for future in self._finished(self._running):
                played = self._result(future, self._running[future][0])
                with self._interruption.held():
                    self._take(*self._running.pop(future), played)
            self._listener.played(self.record)
            self._copy()

    def _start(self, seed: int) -> None:
        twice = self._twice(seed)
        self._running[self._submit(self._pool.main, self._module, seed, twice)] = (seed, False)
        if twice:
            module = self.settings.module
            self._running[self._submit(self._pool.second, module, seed, twice)] = (seed, True)

    def _submit(
        self, executor: Executor, module: Path | ModuleBundle, seed: int, keep: bool
    ) -> Future[Played]:
        try:
            # submit() may start a process, which a signal must not interrupt.
            with self._interruption.held():
                return executor.submit(play_one, module, seed, self.settings.setup, keep)
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Raise WorkersLostError if this is an error of the executor, not of the simulator."""
        lost = self._pool.explain(error)
        if lost is not None:
            raise lost from error

    def _finished(self, futures: Collection[Future[Played]]) -> set[Future[Played]]:
        """Wait for some of ``futures``; raises WorkersLostError if no worker is left."""
        while True:
            done, _ = wait(futures, timeout=_LOOK, return_when=FIRST_COMPLETED)
            now = time.monotonic()
            if now - self._looked >= _LOOK:
                workers = self._pool.workers()
                self._looked = now
                self._window = max(workers, 1) * _AHEAD
                if workers or done:
                    self._workers_seen = now
                elif now - self._workers_seen >= self._pool.patience:
                    raise WorkersLostError(f"there was no worker for {self._pool.patience:.0f} s")
            if done:
                return done

    def _result(self, future: Future[Played], seed: int) -> Played:
        """Return the result of ``seed``."""
        try:
            played = future.result()
        except Exception as error:
            self._explain(error)
            raise
        if played.seed != seed:
            raise RuntimeError(f"got the result of seed {played.seed} for seed {seed}")
        return played

    def _take(self, seed: int, second: bool, played: Played) -> None:
        """Count a seed; one with a re-run once both runs are finished."""
        if not self._twice(seed):
            self.record.add(played)
            return
        (self._again if second else self._kept)[seed] = played
        if seed in self._kept and seed in self._again:
            one, two = self._kept.pop(seed), self._again.pop(seed)
            self.record.add(one)
            self._compare(one, two)

    def _compare(self, one: Played, two: Played) -> None:
        """Compare the two runs of a seed."""
        self.record.replayed += 1
        if one.trace == two.trace:
            return
        report = divergence(one.trace_lines, two.trace_lines)
        self.record.fail(
            Failure(
                records.NONDETERMINISTIC,
                SOFTWARE,
                f"two runs of seed {one.seed} gave different traces "
                f"({one.trace_digest[:12]}, {two.trace_digest[:12]})",
                one.seed,
                report=report,
            )
        )

    # -- the canary --------------------------------------------------------------------------

    def _canary(self, canary: Path) -> None:
        """Run the canary until it is caught."""
        settings = self.settings
        self._listener.doing(f"canary {canary.name}")
        first, module = settings.first, self._pool.pack(canary)
        for seed in range(first, first + settings.canary_seeds):
            future = self._submit(self._pool.main, module, seed, False)
            self._finished({future})
            played = self._result(future, seed)
            if played.status and played.status != SOFTWARE:
                finding = played.findings[0]
                self.record.canary = {
                    "file": canary.name,
                    "seed": seed,
                    "rule": finding.rule,
                    "message": finding.message,
                }
                self._listener.doing(f"canary caught at seed {seed}: {finding.rule}")
                return
        self.record.canary = {"file": canary.name, "seed": None}
        self.record.fail(
            Failure(
                records.CANARY,
                SOFTWARE,
                f"{canary.name} has a known defect, but {settings.canary_seeds} seeds did not "
                "show it: this campaign would not find bugs",
                first,
            )
        )

    # -- failures ----------------------------------------------------------------------------

    def _report_failures(self) -> None:
        """Reduce the first failures of each kind, and report them in full."""
        failures = [each for each in self.record.failures if each.status != SOFTWARE]
        for failure in failures:
            if sum(bool(each.report) for each in failures) >= self.settings.max_reports:
                return
            if failure.report:
                continue
            self._listener.doing(f"reducing seed {failure.seed}: {failure.rule}")
            failure.report = investigate.investigate(
                self.settings.module,
                failure.seed,
                failure.rule,
                self.settings.setup,
            )


def divergence(one: list[str], two: list[str], around: int = 3) -> list[str]:
    """Return the first difference of two traces with the lines before it."""
    pairs = enumerate(zip(one, two))  # noqa: B905 - lengths may differ
    number = next((n for n, (left, right) in pairs if left != right), min(len(one), len(two)))
    lines = [f"the first {number} events are the same; then"]
    lines += [f"    {line}" for line in one[max(number - around, 0) : number]]
    lines += [f"  1 {one[number]}" if number < len(one) else "  1 (the end)"]
    lines += [f"  2 {two[number]}" if number < len(two) else "  2 (the end)"]
    return lines
