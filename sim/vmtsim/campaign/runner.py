"""Many seeds on many processors, and the checks that watch the campaign itself.

Seeds are handed out in small batches to any executor of concurrent.futures (see ``workers``).  A
share of them is played once more by another process, which hashes strings differently, and must
leave the same trace byte for byte.  A canary, a module with a known defect, must be caught, or the
campaign proves nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vmtgen.common.errors import INTERRUPTED, SOFTWARE

from vmtsim.campaign import investigate
from vmtsim.campaign import record as records
from vmtsim.campaign.player import Played, play_some
from vmtsim.campaign.record import Failure, Record
from vmtsim.campaign.subject import Setup
from vmtsim.campaign.workers import WorkersLostError
from vmtsim.core.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from vmtsim.campaign.bundle import ModuleBundle
    from vmtsim.campaign.workers import WorkerPool

_Batch = list[Played]

_BATCH = 4
# Batches for each worker that are under way or wait: enough to keep it busy.
_AHEAD = 3
# Kinds of failures that are reduced and told in full.
_STORIES = 3
# Seconds between two looks at who is there.
_LOOK = 2.0


@dataclass(frozen=True)
class Settings:
    """What to play.  ``last`` None: on and on, until ``minutes`` (of real time) are over.

    ``twice`` is one in how many seeds that is played twice; 0 is none.  ``canary_seeds`` is
    within how many seeds the canary must be caught.
    """

    module: Path
    first: int = 1
    last: int | None = 100
    setup: Setup = field(default_factory=Setup)
    minutes: float | None = None
    twice: int = 20
    canary: Path | None = None
    canary_seeds: int = 40
    stories: int = _STORIES


class Teller(Protocol):
    """Who is told how it goes."""

    def began(self, settings: Settings) -> None:
        """Note the start."""

    def played(self, record: Record) -> None:
        """Note that the record has grown."""

    def doing(self, text: str) -> None:
        """Note what is done apart from playing seeds."""


class Campaign:
    """One campaign under way; ``run`` plays it to its end.

    ``cut_status`` is then the exit status that goes with ``Record.cut``: 130 after Ctrl-C, 69
    where a cluster has gone, 70 where a process died, 0 where everything was played.
    """

    def __init__(self, settings: Settings, pool: WorkerPool, teller: Teller) -> None:
        self.settings = settings
        self.record = Record(
            file=settings.module.name,
            digest=investigate.digest(settings.module),
            commit=investigate.commit(),
        )
        self.cut_status = 0
        self._pool = pool
        self._module = pool.pack(settings.module)
        self._window = max(pool.workers(), 1) * _AHEAD
        self._looked = self._manned = time.monotonic()
        self._teller = teller
        self._kept: dict[int, Played] = {}
        self._again: dict[int, Played] = {}

    def run(self) -> Record:
        """Play everything, and return what it came to."""
        settings, record = self.settings, self.record
        began = time.monotonic()
        self._teller.began(settings)
        try:
            if settings.canary is not None:
                self._canary(settings.canary)
            self._seeds(began)
            record.wall = time.monotonic() - began
            self._stories()
        except (KeyboardInterrupt, WorkersLostError) as error:
            record.wall = record.wall or time.monotonic() - began
            self._cut(error)
        return record

    def _cut(self, error: KeyboardInterrupt | WorkersLostError) -> None:
        """End before everything is played: nobody waits for what is under way."""
        settings, record = self.settings, self.record
        lost = isinstance(error, WorkersLostError)
        self.cut_status = error.exit_status if isinstance(error, WorkersLostError) else INTERRUPTED
        total = "" if settings.last is None else f" of {settings.last - settings.first + 1}"
        why = str(error) if lost else "interrupted"
        record.cut = f"{why}, after {record.played}{total} seeds"
        self._teller.doing(f"{why}: what was played so far counts")
        self._pool.stop()
        for failure in record.failures:
            if not failure.report and failure.status != SOFTWARE:
                failure.report = [self._replay(failure)]

    # -- the seeds ---------------------------------------------------------------------------

    def _batches(self, began: float) -> Iterator[range]:
        settings = self.settings
        seed = settings.first
        while settings.last is None or seed <= settings.last:
            if settings.minutes is not None and time.monotonic() - began > 60 * settings.minutes:
                return
            end = seed + _BATCH
            if settings.last is not None:
                end = min(end, settings.last + 1)
            yield range(seed, end)
            seed = end

    def _twice(self, seed: int) -> bool:
        every = self.settings.twice
        return every > 0 and (
            seed == self.settings.first or Rng(seed).fork("twice").chance(1, every)
        )

    def _seeds(self, began: float) -> None:
        settings = self.settings
        firsts: dict[Future[_Batch], range] = {}
        seconds: dict[Future[_Batch], list[int]] = {}
        batches = self._batches(began)
        more = True
        while more or firsts or seconds:
            while more and len(firsts) < self._window and len(seconds) < self._window:
                batch = next(batches, None)
                if batch is None:
                    more = False
                    break
                chosen = [seed for seed in batch if self._twice(seed)]
                firsts[self._submit(self._pool.main, self._module, batch, chosen)] = batch
                if chosen:
                    future = self._submit(self._pool.second, settings.module, chosen, chosen)
                    seconds[future] = chosen
            if not firsts and not seconds:
                continue
            for future in self._finished({*firsts, *seconds}):
                if future in firsts:
                    self._take(self._result(future, firsts.pop(future)))
                else:
                    self._check(self._result(future, seconds.pop(future)))
            self._teller.played(self.record)

    def _submit(
        self,
        executor: Executor,
        module: Path | ModuleBundle,
        seeds: Sequence[int],
        keep: Collection[int],
    ) -> Future[_Batch]:
        try:
            return executor.submit(play_some, module, seeds, self.settings.setup, keep)
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Raise WorkersLostError where this is the executor's trouble, not the simulator's."""
        lost = self._pool.explain(error)
        if lost is not None:
            raise lost from error

    def _finished(self, futures: Collection[Future[_Batch]]) -> set[Future[_Batch]]:
        """Wait for some of ``futures``; raises WorkersLostError where no worker is left."""
        while True:
            done, _ = wait(futures, timeout=_LOOK, return_when=FIRST_COMPLETED)
            now = time.monotonic()
            if now - self._looked >= _LOOK:
                workers = self._pool.workers()
                self._looked = now
                self._window = max(workers, 1) * _AHEAD
                if workers or done:
                    self._manned = now
                elif now - self._manned >= self._pool.patience:
                    raise WorkersLostError(f"no worker was there for {self._pool.patience:.0f} s")
            if done:
                return done

    def _result(self, future: Future[_Batch], seeds: Sequence[int]) -> _Batch:
        """Return what came of ``seeds``: of each of them, and once."""
        try:
            batch = future.result()
        except Exception as error:
            self._explain(error)
            raise
        if [played.seed for played in batch] != list(seeds):
            raise RuntimeError(f"{[played.seed for played in batch]} came back for {list(seeds)}")
        return batch

    def _take(self, batch: _Batch) -> None:
        for played in batch:
            self.record.add(played)
            if played.trace is not None:
                self._kept[played.seed] = played
                self._compare(played.seed)

    def _check(self, batch: _Batch) -> None:
        for played in batch:
            self._again[played.seed] = played
            self._compare(played.seed)

    def _compare(self, seed: int) -> None:
        """Hold the two plays of a seed against each other, once both are there."""
        if seed not in self._kept or seed not in self._again:
            return
        one, two = self._kept.pop(seed), self._again.pop(seed)
        self.record.twice += 1
        if one.trace == two.trace:
            return
        report = divergence(one.trace_lines, two.trace_lines)
        self.record.fail(
            Failure(
                records.NONDETERMINISTIC,
                SOFTWARE,
                f"seed {seed} played twice left two traces "
                f"({one.trace_digest[:12]}, {two.trace_digest[:12]})",
                seed,
                report=report,
            )
        )

    # -- the canary --------------------------------------------------------------------------

    def _canary(self, canary: Path) -> None:
        """Play the canary until it is caught."""
        settings = self.settings
        self._teller.doing(f"canary {canary.name}")
        first, module = settings.first, self._pool.pack(canary)
        for start in range(first, first + settings.canary_seeds, _BATCH):
            seeds = range(start, min(start + _BATCH, first + settings.canary_seeds))
            future = self._submit(self._pool.main, module, seeds, ())
            self._finished({future})
            caught = [
                played
                for played in self._result(future, seeds)
                if played.status and played.status != SOFTWARE
            ]
            if caught:
                finding = caught[0].findings[0]
                self.record.canary = {
                    "file": canary.name,
                    "seed": caught[0].seed,
                    "rule": finding.rule,
                    "message": finding.message,
                }
                self._teller.doing(f"canary caught at seed {caught[0].seed}: {finding.rule}")
                return
        self.record.canary = {"file": canary.name, "seed": None}
        self.record.fail(
            Failure(
                records.CANARY,
                SOFTWARE,
                f"{canary.name} has a known defect, and {settings.canary_seeds} seeds did not "
                "show it: this campaign would not find bugs",
                first,
            )
        )

    # -- failures ----------------------------------------------------------------------------

    def _stories(self) -> None:
        """Reduce and tell the first failures of each kind."""
        told = 0
        for failure in self.record.failures:
            if failure.report or failure.status == SOFTWARE:
                continue
            if told >= self.settings.stories:
                failure.report = [self._replay(failure)]
                continue
            told += 1
            self._teller.doing(f"reducing seed {failure.seed}: {failure.rule}")
            failure.report = investigate.investigate(
                self.settings.module,
                failure.seed,
                failure.rule,
                self.settings.setup,
            )

    def _replay(self, failure: Failure) -> str:
        return investigate.replay_command(self.settings.module, failure.seed, self.settings.setup)


def divergence(one: list[str], two: list[str], around: int = 3) -> list[str]:
    """Return the first difference of two traces with the lines before it."""
    pairs = enumerate(zip(one, two))  # noqa: B905 - lengths may differ
    number = next((n for n, (left, right) in pairs if left != right), min(len(one), len(two)))
    lines = [f"the first {number} events are the same; then"]
    lines += [f"    {line}" for line in one[max(number - around, 0) : number]]
    lines += [f"  1 {one[number]}" if number < len(one) else "  1 (the end)"]
    lines += [f"  2 {two[number]}" if number < len(two) else "  2 (the end)"]
    return lines
