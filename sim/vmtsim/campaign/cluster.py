"""A campaign on a dask.distributed cluster.

The scheduler passes a task whose worker died to another worker, and a task has one result however
often it was started: so no seed is lost and none counts twice (distributed's manual, "Resilience").
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import UNAVAILABLE, ReportedError

from vmtsim.campaign.bundle import ModuleBundle, VersionMismatchError
from vmtsim.campaign.workers import WorkerPool, WorkersLostError, broken, second_players

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds within which a scheduler must answer, which takes long on a busy machine, and within which
# a worker must connect.
ANSWER = 30.0
WORKER = 10.0
# How often a task that failed because of the cluster is retried; the scheduler itself counts deaths
# of workers (distributed.scheduler.allowed-failures).
_RETRIES = 2
_SAME = (
    "scheduler and workers need the same netbsd-vmt[sim,cluster] as this machine, "
    "with the same Python"
)


class ClusterError(ReportedError):
    """There is no usable cluster."""

    exit_status = UNAVAILABLE


@contextmanager
def cluster(address: str, jobs: int) -> Iterator[WorkerPool]:
    """Yield a pool of the workers of the scheduler at ``address`` (``HOST:PORT``, ``tls://...``).

    The re-runs stay on this machine, in ``jobs`` processes: all workers of a cluster hash strings
    alike, because distributed's nanny gives them one PYTHONHASHSEED.  Raises ClusterError if there
    is no answer within ANSWER seconds, or no worker within WORKER seconds.
    """
    try:
        import distributed  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"--dask needs the Python package {error.name!r}, which is not installed",
            hint="pip install 'netbsd-vmt[cluster]'",
        ) from error
    with _silence():
        client = _connect(distributed, address)
        try:
            executor = client.get_executor(pure=False, retries=_RETRIES)
            with second_players(jobs) as (second, end):

                def stop() -> None:
                    end()
                    # Without a scheduler there is nothing to cancel.
                    with suppress(Exception):
                        executor.shutdown(wait=False)

                pool = WorkerPool(
                    executor,
                    second,
                    lambda: _workers(client),
                    pack=ModuleBundle.of,
                    explain=lambda error: _explain(error, address),
                    stop=stop,
                )
                try:
                    yield pool
                except BaseException:
                    stop()
                    raise
        finally:
            _close(client)


@contextmanager
def _silence() -> Iterator[None]:
    """Silence distributed's loggers: the campaign reports problems itself, once."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    loggers = [logging.getLogger(name) for name in names]
    enabled = [logger for logger in loggers if not logger.disabled]
    for logger in enabled:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in enabled:
            logger.disabled = False


def _connect(distributed: Any, address: str) -> Any:
    how = "`dask scheduler` and `dask worker ADDRESS --nthreads 1` start a cluster"
    # A Client that could not connect logs again when it is collected: so probe first.
    try:
        kind = asyncio.run(_identity(distributed, address))
        if kind == "Scheduler":
            client = distributed.Client(
                address, timeout=ANSWER, set_as_default=False, name="vmtsim-campaign"
            )
    except Exception as error:
        # Any server may answer with anything: even MemoryError was seen, for the length that the
        # greeting of an SSH server seems to announce.
        message = str(error) or type(error).__name__
        raise ClusterError(
            f"--dask {address}: no dask scheduler answers: {message}", hint=how
        ) from error
    if kind != "Scheduler":
        raise ClusterError(f"--dask {address}: that is a {kind}, not a scheduler", hint=how)
    try:
        client.wait_for_workers(1, timeout=WORKER)
    except Exception as error:
        _close(client)
        raise ClusterError(
            f"--dask {address}: the scheduler has no worker after {WORKER:.0f} s",
            hint=how,
        ) from error
    return client


def _close(client: Any) -> None:
    """Disconnect; an unresponsive scheduler must not cost the results."""
    with suppress(Exception):
        client.close(timeout=ANSWER)


async def _identity(distributed: Any, address: str) -> str:
    """Return the kind of the server at this address."""

    async def ask() -> str:
        async with distributed.rpc(address, timeout=ANSWER) as peer:
            return str((await peer.identity())["type"])

    return await asyncio.wait_for(ask(), ANSWER)


def _workers(client: Any) -> int:
    """Count the workers; 0 if the scheduler does not answer.  Each runs one seed at a time."""
    try:
        return len(client.nthreads())
    except Exception:  # of any kind: the count is repeated soon, until a limit
        return 0


def _explain(error: Exception, address: str) -> WorkersLostError | None:
    """Return the error of the cluster, or of a process for re-runs.

    None if it is an error of the simulator.
    """
    if isinstance(error, CancelledError):
        return WorkersLostError(f"the scheduler at {address} is gone")
    if isinstance(error, VersionMismatchError):
        return WorkersLostError(f"a worker at {address} cannot run seeds: {error}; {_SAME}")
    kind = type(error)
    if kind.__name__ == "KilledWorker":
        return WorkersLostError(
            f"several workers at {address} died while running the same seeds (out of memory?)"
        )
    # distributed's own errors, and those of a worker that cannot even decode its task.
    theirs = kind.__module__.partition(".")[0] in {"distributed", "dask", "tornado"}
    unread = isinstance(error, (ImportError, OSError)) or "deserialization" in str(error)
    if theirs or unread:
        return WorkersLostError(
            f"a worker at {address} cannot run seeds: {kind.__name__}: {error}; {_SAME}"
        )
    return broken(error)
