"""The console in its own thread: commands run there while the session serves the guest.

The guest stops whenever its calls are not served, so the host's thread cannot wait for a command.
Between commands the console's thread continues to read, and detects a crash.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from vmtsim.accept.console import (
    ConsoleClosedError,
    ConsoleError,
    ConsoleTimeoutError,
    GuestCrashError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.accept.shell import Shell

T = TypeVar("T")
_IDLE, _END = 0.2, 5.0


class Job(Generic[T]):
    """One function that runs on the console; ``done`` once it has returned or raised."""

    def __init__(self, function: Callable[[Shell], T]) -> None:
        self._function = function
        self._over = threading.Event()
        self._value: list[T] = []
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def run(self, shell: Shell) -> None:
        """Run it; called by the worker."""
        try:
            self._value.append(self._function(shell))
        except Exception as error:
            self.error = error
        self._over.set()

    def fail(self, error: BaseException) -> None:
        """End it without running it; called by the worker."""
        self.error = error
        self._over.set()

    def result(self) -> T:
        """Wait for the end and return what the function returned, or raise what it raised."""
        self._over.wait()
        if self.error is not None:
            raise self.error
        return self._value[0]


class Worker:
    """Runs jobs one after another.

    ``crash`` is the crash that ended the guest, if any; ``hung`` is set if a command has not ended,
    so that the console can no longer be used.
    """

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.crash: ConsoleError | None = None
        self.hung = False
        self._jobs: queue.Queue[Job[object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[Shell], T]) -> Job[T]:
        """Run it when its turn comes."""
        job = Job(function)
        self._jobs.put(job)  # type: ignore[arg-type]
        return job

    def call(self, function: Callable[[Shell], T]) -> T:
        """Run it and wait for it.  Only while no session serves the guest."""
        return self.submit(function).result()

    def stop(self) -> None:
        """End the thread after its current job; one that waits for the guest is abandoned."""
        self._jobs.put(None)
        self._thread.join(_END)

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=0 if self.crash is None else 1)
            except queue.Empty:
                if self.crash is None:
                    self._watch()
                continue
            if job is None:
                return
            if self.crash is not None:
                job.fail(self.crash)
                continue
            job.run(self.shell)
            if isinstance(job.error, (GuestCrashError, ConsoleClosedError)):
                self.crash = job.error
            self.hung = self.hung or isinstance(job.error, ConsoleTimeoutError)

    def _watch(self) -> None:
        try:
            self.shell.console.idle(_IDLE)
        except (GuestCrashError, ConsoleClosedError) as error:
            self.crash = error
