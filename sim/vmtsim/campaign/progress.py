"""Progress of a campaign: on a terminal a live bar, otherwise a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from vmtsim.campaign.record import Record
    from vmtsim.campaign.runner import Settings

_EVERY = 5.0  # seconds between two lines


def tally(record: Record, seconds: float) -> str:
    """Return the counts so far in a line; ``seconds`` is how long it took."""
    rate = record.played / seconds if seconds > 0 else 0.0
    failed = f"{record.failed} failed" if record.failed else "none failed"
    return (
        f"{record.played} seeds, {failed}, {record.injections} faults, "
        f"{record.virtual / 3.6e12:.1f} virtual h, {rate:.1f} seeds/s"
    )


class Lines:
    """Writes plain lines to standard error; ``quiet`` writes none."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._began = time.monotonic()
        self._next = self._began

    def __enter__(self) -> Lines:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""

    def began(self, settings: Settings) -> None:
        """Print the start."""
        self._began = self._next = time.monotonic()
        self._write(f"campaign over {settings.module.name}")

    def played(self, record: Record) -> None:
        """Print the counts: as soon as there are some, then every few seconds."""
        now = time.monotonic()
        if record.played and now >= self._next:
            self._next = now + _EVERY
            self._write(tally(record, now - self._began))

    def doing(self, text: str) -> None:
        """Print the current task."""
        self._write(text)

    def _write(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


class Bar:
    """A live bar with counts."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only for terminals
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[tally]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._began = time.monotonic()
        self._first = 1

    def __enter__(self) -> Bar:  # noqa: PYI034
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def began(self, settings: Settings) -> None:
        """Show an empty bar."""
        total = None if settings.last is None else settings.last - settings.first + 1
        self._began = time.monotonic()
        self._task = self._progress.add_task(settings.module.name, total=total, tally="")

    def played(self, record: Record) -> None:
        """Advance the bar."""
        if self._task is not None:
            self._progress.update(
                self._task,
                completed=record.played,
                tally=tally(record, time.monotonic() - self._began),
            )

    def doing(self, text: str) -> None:
        """Show a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)


def display(*, quiet: bool) -> Lines | Bar:
    """Return the display that suits standard error."""
    return Bar() if sys.stderr.isatty() and not quiet else Lines(quiet=quiet)
