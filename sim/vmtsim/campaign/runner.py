"""Many seeds on many processors, and the checks that watch the campaign itself.

Seeds are handed out in small batches to any executor of concurrent.futures.  A share of them is
played once more by another process, which hashes strings differently, and must leave the same
trace byte for byte.  A canary, a module with a known defect, must be caught, or the campaign
proves nothing.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vmtsim.campaign import record as records
from vmtsim.campaign import story
from vmtsim.campaign.play import Played, play_some
from vmtsim.campaign.record import Failure, Record
from vmtsim.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BATCH = 4
# Batches for each worker that are under way or wait: enough to keep it busy.
_AHEAD = 3
# Kinds of failures that are reduced and told in full.
_STORIES = 3


@dataclass(frozen=True)
class Settings:
    """What to play.  ``last`` None: on and on, until ``minutes`` (of real time) are over.

    ``twice`` is one in how many seeds that is played twice; 0 is none.  ``canary_seeds`` is
    within how many seeds the canary must be caught.
    """

    module: Path
    first: int = 1
    last: int | None = 100
    builtin: bool | None = None
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


@contextmanager
def pool(jobs: int) -> Iterator[tuple[Executor, Executor]]:
    """Give two executors of fresh processes: one of ``jobs`` workers, one for second plays."""
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(jobs, mp_context=context) as main,
        ProcessPoolExecutor(1, mp_context=context) as second,
    ):
        try:
            yield main, second
        except BaseException:
            main.shutdown(wait=False, cancel_futures=True)
            second.shutdown(wait=False, cancel_futures=True)
            raise


class Campaign:
    """One campaign under way; ``run`` plays it to its end."""

    def __init__(
        self, settings: Settings, executors: tuple[Executor, Executor], jobs: int, teller: Teller
    ) -> None:
        self.settings = settings
        self.record = Record(
            file=settings.module.name,
            digest=story.digest(settings.module),
            commit=story.commit(),
        )
        self._main, self._second = executors
        self._window = jobs * _AHEAD
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
        except KeyboardInterrupt:
            self._teller.doing("interrupted: what was played so far counts")
        record.wall = time.monotonic() - began
        self._stories()
        return record

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
        firsts: set[Future[list[Played]]] = set()
        seconds: set[Future[list[Played]]] = set()
        batches = self._batches(began)
        more = True
        while more or firsts or seconds:
            while more and len(firsts) < self._window and len(seconds) < self._window:
                batch = next(batches, None)
                if batch is None:
                    more = False
                    break
                chosen = frozenset(seed for seed in batch if self._twice(seed))
                firsts.add(
                    self._main.submit(play_some, settings.module, batch, settings.builtin, chosen)
                )
                if chosen:
                    seconds.add(
                        self._second.submit(
                            play_some, settings.module, sorted(chosen), settings.builtin, chosen
                        )
                    )
            if not firsts and not seconds:
                continue
            done, _ = wait(firsts | seconds, return_when=FIRST_COMPLETED)
            for future in done:
                if future in firsts:
                    firsts.remove(future)
                    self._take(future.result())
                else:
                    seconds.remove(future)
                    self._check(future.result())
            self._teller.played(self.record)

    def _take(self, batch: list[Played]) -> None:
        for played in batch:
            self.record.add(played)
            if played.trace is not None:
                self._kept[played.seed] = played
                self._compare(played.seed)

    def _check(self, batch: list[Played]) -> None:
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
                records.SOFTWARE,
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
        first = settings.first
        for start in range(first, first + settings.canary_seeds, _BATCH):
            seeds = range(start, min(start + _BATCH, first + settings.canary_seeds))
            caught = [
                played
                for played in self._main.submit(
                    play_some, canary, seeds, settings.builtin, frozenset[int]()
                ).result()
                if played.status and played.status != records.SOFTWARE
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
                records.SOFTWARE,
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
            if failure.report or failure.status == records.SOFTWARE:
                continue
            if told >= self.settings.stories:
                failure.report = [
                    story.replay_command(
                        self.settings.module, failure.seed, builtin=self.settings.builtin
                    )
                ]
                continue
            told += 1
            self._teller.doing(f"reducing seed {failure.seed}: {failure.rule}")
            failure.report = story.investigate(
                self.settings.module,
                failure.seed,
                failure.rule,
                builtin=self.settings.builtin,
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
