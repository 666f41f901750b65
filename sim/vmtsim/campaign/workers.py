"""The executors that run the seeds of a campaign (concurrent.futures), and how they fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import SOFTWARE, UNAVAILABLE, ReportedError

from vmtsim.campaign.interruption import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from vmtsim.campaign.bundle import ModuleBundle

_T = TypeVar("_T")


class WorkersLostError(ReportedError):
    """No worker is left to run the seeds; ``exit_status`` is that of the campaign."""

    exit_status = UNAVAILABLE


def _path(module: Path) -> Path:
    return module


def broken(error: Exception) -> WorkersLostError | None:
    """Return the error if a process of this machine died; None if it is something else."""
    if isinstance(error, BrokenExecutor):
        return WorkersLostError(
            "a worker process died (killed, or out of memory?)", exit_status=SOFTWARE
        )
    return None


@dataclass(frozen=True)
class WorkerPool:
    """The executors of a campaign.

    ``main`` runs the seeds; ``second`` re-runs some of them, and its processes must hash strings
    differently than those of ``main`` for that to prove anything.  It reads the module from its
    path; ``pack`` converts the path to the argument that ``main`` gets.

    ``workers`` returns how many seeds run concurrently, now; 0 if there is no worker.  The campaign
    waits ``patience`` seconds for workers to come back.  ``explain`` turns an exception of the
    executor's own into WorkersLostError, and one of the simulator's into None.  ``stop`` is called
    when the runs in progress are no longer awaited.
    """

    main: Executor
    second: Executor
    workers: Callable[[], int]
    pack: Callable[[Path], Path | ModuleBundle] = _path
    explain: Callable[[Exception], WorkersLostError | None] = broken
    stop: Callable[[], None] = lambda: None
    patience: float = 60.0


def _depend_on_the_parent() -> None:
    """Initialise a process of a pool."""
    # Ctrl-C reaches all processes of the terminal, and a time limit's SIGTERM often the whole
    # group: only the first process ends the campaign, and these with it.
    for number in REASONS:
        signal.signal(number, signal.SIG_IGN)
    # A pool's process waits for work forever, even if the process that would send it was killed.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(SOFTWARE)


@contextmanager
def processes(jobs: int) -> Iterator[WorkerPool]:
    """Yield a pool of processes of this machine: ``jobs``, and a fresh one for re-runs."""
    # A fork has imported all that a seed needs, where a fresh process takes most of a second for
    # it. A process with other threads must not fork, and no process of macOS should.
    fork = threading.active_count() == 1 and sys.platform != "darwin"
    with _pool(jobs, "fork" if fork else "spawn") as main, _pool(1) as second:
        before = set(multiprocessing.active_children())

        def stop() -> None:
            _end((main, second), before)

        try:
            main.submit(os.getpid)  # starts all forks, before a pool has threads
            yield WorkerPool(main, second, lambda: jobs, stop=stop)
        except BaseException:
            stop()
            raise


@contextmanager
def second_players(jobs: int) -> Iterator[tuple[Executor, Callable[[], None]]]:
    """Return an executor of ``jobs`` fresh processes, and a function that ends them at once."""
    with _pool(jobs) as pool:
        before = set(multiprocessing.active_children())
        yield pool, lambda: _end((pool,), before)


class _Pool(ProcessPoolExecutor):
    """Starts its processes, in ``submit``, so that the signals of a campaign do not reach them."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        # A new process inherits the mask: no signal ends it before it can ignore them itself.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, set(REASONS))
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pool(jobs: int, how: Literal["fork", "spawn"] = "spawn") -> ProcessPoolExecutor:
    return _Pool(
        jobs,
        mp_context=multiprocessing.get_context(how),
        initializer=_depend_on_the_parent,
    )


def _end(pools: tuple[Executor, ...], before: set[multiprocessing.process.BaseProcess]) -> None:
    """End the processes that were started since ``before``, and wait for that.

    A pool has a thread in this process, which sees the processes end.  Without a wait for that
    thread, the interpreter writes to its pipe at exit while the thread closes it, and prints
    "Exception ignored ... Bad file descriptor" (_python_exit in concurrent/futures/process.py).
    """
    for process in set(multiprocessing.active_children()) - before:
        process.kill()
    for pool in pools:
        pool.shutdown(cancel_futures=True)
