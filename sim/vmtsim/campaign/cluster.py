"""A campaign on a dask.distributed cluster.

The scheduler hands a task whose worker died to another worker, and a task has one result however
often it was begun: so no seed is lost and none counts twice (distributed's manual, "Resilience").
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

# Seconds until a scheduler must have answered, which one on a busy machine does late, and until a
# worker must have come.
ANSWER = 30.0
WORKER = 10.0
# How often a task that failed for reasons of the cluster's is tried again; deaths of workers are
# counted by the scheduler (distributed.scheduler.allowed-failures).
_RETRIES = 2
_SAME = (
    "scheduler and workers need the same netbsd-vmt[sim,cluster] as this machine, "
    "with the same Python"
)


class ClusterError(ReportedError):
    """There is no cluster to play on."""

    exit_status = UNAVAILABLE


@contextmanager
def cluster(address: str, jobs: int) -> Iterator[WorkerPool]:
    """Give a pool of the workers of the scheduler at ``address`` (``HOST:PORT``, ``tls://...``).

    Second plays stay on this machine, on ``jobs`` processes: all workers of a cluster hash
    strings alike, because distributed's nanny gives them one PYTHONHASHSEED.  Raises ClusterError
    where nobody has answered after ANSWER seconds, or no worker has come after WORKER seconds.
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
    """Keep distributed's loggers quiet: what goes wrong is said by the campaign, once."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    loggers = [logging.getLogger(name) for name in names]
    spoke = [logger for logger in loggers if not logger.disabled]
    for logger in spoke:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in spoke:
            logger.disabled = False


def _connect(distributed: Any, address: str) -> Any:
    how = "`dask scheduler` and `dask worker ADDRESS --nthreads 1` start a cluster"
    # A Client that could not connect complains once more when it is collected: so ask first.
    try:
        kind = asyncio.run(_identity(distributed, address))
        if kind == "Scheduler":
            client = distributed.Client(
                address, timeout=ANSWER, set_as_default=False, name="vmtsim-campaign"
            )
    except Exception as error:
        # Whatever listens there may answer with anything: even MemoryError was seen, for the
        # length that the greeting of an SSH server seems to announce.
        said = str(error) or type(error).__name__
        raise ClusterError(
            f"--dask {address}: no dask scheduler answers: {said}", hint=how
        ) from error
    if kind != "Scheduler":
        raise ClusterError(f"--dask {address}: that is a {kind}, not a scheduler", hint=how)
    try:
        client.wait_for_workers(1, timeout=WORKER)
    except Exception as error:
        _close(client)
        raise ClusterError(
            f"--dask {address}: the scheduler has no worker, also after {WORKER:.0f} s",
            hint=how,
        ) from error
    return client


def _close(client: Any) -> None:
    """Take leave; a scheduler that does not answer any more must not cost what was played."""
    with suppress(Exception):
        client.close(timeout=ANSWER)


async def _identity(distributed: Any, address: str) -> str:
    """Ask whoever listens there what it is."""

    async def ask() -> str:
        async with distributed.rpc(address, timeout=ANSWER) as peer:
            return str((await peer.identity())["type"])

    return await asyncio.wait_for(ask(), ANSWER)


def _workers(client: Any) -> int:
    """Count the workers; 0 where the scheduler does not say.  Each plays one seed at a time."""
    try:
        return len(client.nthreads())
    except Exception:  # whatever it was: it is counted again soon, and patience ends
        return 0


def _explain(error: Exception, address: str) -> WorkersLostError | None:
    """Say what is wrong with the cluster, or with a process for second plays.

    None where the simulator is at fault.
    """
    if isinstance(error, CancelledError):
        return WorkersLostError(f"the scheduler at {address} has gone")
    if isinstance(error, VersionMismatchError):
        return WorkersLostError(f"a worker at {address} cannot play: {error}; {_SAME}")
    kind = type(error)
    if kind.__name__ == "KilledWorker":
        return WorkersLostError(
            f"several workers at {address} died over the same seeds (out of memory?)"
        )
    # distributed's own errors, and those of a worker that cannot even read its task.
    theirs = kind.__module__.partition(".")[0] in {"distributed", "dask", "tornado"}
    unread = isinstance(error, (ImportError, OSError)) or "deserialization" in str(error)
    if theirs or unread:
        return WorkersLostError(
            f"a worker at {address} cannot play: {kind.__name__}: {error}; {_SAME}"
        )
    return broken(error)
