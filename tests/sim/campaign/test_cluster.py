"""Campaigns on a dask.distributed cluster: two workers on this machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import threading
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common.dataclass import replace
from vmtsim import cli
from vmtsim.campaign import cluster as clusters
from vmtsim.campaign.cluster import cluster
from vmtsim.campaign.progress import Lines
from vmtsim.campaign.record import Record
from vmtsim.campaign.runner import Campaign, Settings
from vmtsim.campaign.workers import WorkerPool

from tests.conftest import IN_CI
from tests.patience import until

from .test_workers import AtOnce, Hook, sums

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vmtsim.campaign.player import Played

# Deprecations of distributed and tornado are not errors of this project.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@contextmanager
def local(directory: Path, **options: Any) -> Iterator[Any]:
    """Start a cluster on this machine."""
    if importlib.util.find_spec("distributed") is None:
        reason = "distributed is not installed (pip install 'netbsd-vmt[cluster]')"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)
    from distributed import LocalCluster

    with LocalCluster(
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",  # without it, port 8787, which may be taken
        local_directory=str(directory),
        silence_logs=100,
        **options,
    ) as started:
        yield started


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    directory = tmp_path_factory.mktemp("dask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(directory))  # a worker that is killed does not tidy up
        # Nothing here reads the profile of a worker, which looks at it a hundred times a second.
        patch.setenv("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
        with local(directory, n_workers=2, processes=True) as started:
            yield started


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, list[str]]]:
    """(seed, status, rules) of every counted result, in order."""
    noted: list[tuple[int, int, list[str]]] = []
    add = Record.add

    def note(record: Record, played: Played) -> None:
        noted.append((played.seed, played.status, [f.rule for f in played.findings]))
        add(record, played)

    monkeypatch.setattr(Record, "add", note)
    return noted


def _here() -> WorkerPool:
    """A pool of this process: the result does not depend on the pool."""
    return WorkerPool(AtOnce(), AtOnce(), lambda: 1)


def _with_a_victim(pool: WorkerPool, victim: Path, last: int) -> WorkerPool:
    """A pool whose worker is killed when it starts the last seed.

    The file ``victim`` records that this has happened.
    """
    main, file = pool.main, str(victim)

    class KillingExecutor(Executor):
        def submit(self, play: Any, *arguments: Any, **_: Any) -> Future[Any]:
            # A function of a function travels by value: workers do not have this module.
            def kill_the_first_time(*arguments: Any) -> Any:
                import os
                import signal

                if arguments[1] == last:
                    try:
                        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        pass  # the second worker, after the death of the first
                    else:
                        os.kill(os.getpid(), signal.SIGKILL)
                return play(*arguments)

            return main.submit(kill_the_first_time, *arguments)

    return replace(pool, main=KillingExecutor())


def test_killed_worker_loses_and_duplicates_no_seed(
    leaky_mailbox: Path,
    leak: int,
    two_workers: Any,
    verdicts: list[tuple[int, int, list[str]]],
    tmp_path: Path,
) -> None:
    settings = Settings(leaky_mailbox, leak, leak + 1, check_determinism=50, max_reports=0)
    expected = Campaign(settings, _here(), Lines(quiet=True)).run()
    expected_verdicts = sorted(verdicts)
    verdicts.clear()
    victim = tmp_path / "victim"
    with cluster(two_workers.scheduler_address, 1) as pool:
        assert pool.workers() == 2
        campaign = Campaign(settings, _with_a_victim(pool, victim, leak + 1), Lines(quiet=True))
        record = campaign.run()
    assert victim.exists()
    assert campaign.cut_status == 0
    assert [seed for seed, _, _ in sorted(verdicts)] == [leak, leak + 1]
    assert sorted(verdicts) == expected_verdicts
    assert any(status for _, status, _ in verdicts)
    assert any(not status for _, status, _ in verdicts)
    assert sums(record) == sums(expected)
    assert record.replayed > 0


def test_command_runs_on_cluster(
    mailbox: Path,
    leaky_mailbox: Path,
    leak: int,
    two_workers: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The canary fails at the first.
    seeds = f"{leak}:{leak + 1}"
    arguments = ["campaign", str(mailbox), "--seeds", seeds, "--jobs", "1", "--quiet"]
    arguments += ["--dask", two_workers.scheduler_address, "--canary", str(leaky_mailbox)]
    assert cli.main(arguments) == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    assert f"seeds    2 ({seeds}), 0 failed" in printed
    assert f"mailbox.kmod: caught at seed {leak}" in printed


def test_ctrl_c_withdraws_seeds_from_cluster(
    mailbox: Path, two_workers: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    played = Lines.played

    def interrupted(self: Lines, record: Record) -> None:
        played(self, record)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Lines, "played", interrupted)
    arguments = ["campaign", str(mailbox), "--seeds", "1:200", "--jobs", "1", "--quiet"]
    assert cli.main([*arguments, "--dask", two_workers.scheduler_address]) == 130
    assert "verdict  NOT FINISHED: interrupted, after " in capsys.readouterr().out
    # The scheduler detects it a moment later.
    until(lambda: two_workers.scheduler.tasks == {}, "the scheduler forgets the seeds")


def test_lost_scheduler_stops_campaign_that_resumes_elsewhere(
    leaky_mailbox: Path, leak: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = leak + 5  # more than run concurrently
    with local(tmp_path, n_workers=1, processes=False) as started:
        address = started.scheduler_address
        with cluster(address, 1) as pool:
            # The scheduler will not answer the disconnect.
            monkeypatch.setattr(clusters, "ANSWER", 2.0)
            plan = Settings(leaky_mailbox, leak, last, check_determinism=3, max_reports=0)
            campaign = Campaign(plan, pool, Hook(started.close))
            record = campaign.run()
    assert campaign.cut_status == 69
    assert record.cut.startswith(f"the scheduler at {address} is gone, after ")
    assert 0 < record.played < 6
    resumed = Campaign(plan, _here(), Lines(quiet=True), resumed=record).run()
    whole = Campaign(plan, _here(), Lines(quiet=True)).run()
    assert whole.failed > 0
    assert sums(resumed) == sums(whole)


def test_worker_with_other_vmtsim_version_is_named(
    mailbox: Path, two_workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here; not in the workers.
    monkeypatch.setattr("vmtsim.core.fingerprint.digest", lambda: "0" * 64)
    with cluster(two_workers.scheduler_address, 1) as pool:
        campaign = Campaign(Settings(mailbox, 1, 4, check_determinism=0), pool, Lines(quiet=True))
        record = campaign.run()
    assert campaign.cut_status == 69
    assert "cannot run seeds: its vmtsim (" in record.cut
    assert "need the same netbsd-vmt[sim,cluster]" in record.cut
    assert record.played == 0


def test_dead_determinism_check_process_stops_campaign(mailbox: Path, two_workers: Any) -> None:
    with cluster(two_workers.scheduler_address, 1) as pool:
        pid = pool.second.submit(os.getpid).result()
        hook = Hook(lambda: os.kill(pid, signal.SIGKILL))
        campaign = Campaign(Settings(mailbox, 1, 400, check_determinism=1), pool, hook)
        record = campaign.run()
    assert campaign.cut_status == 70
    assert record.cut.startswith("a worker process died")
    assert 0 < record.played < 400


def test_missing_distributed_package_is_named(
    mailbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cli.main(["campaign", str(mailbox), "--dask", "127.0.0.1:8786"]) == 69
    printed = capsys.readouterr().err
    assert "--dask needs the Python package 'distributed', which is not installed" in printed
    assert "hint: pip install 'netbsd-vmt[cluster]'" in printed


@pytest.mark.parametrize("greeting", [None, b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_address_without_scheduler_is_an_error(
    mailbox: Path, greeting: bytes | None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An address without a listener, with a silent one, or with another service is refused."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "ANSWER", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if greeting is None:
            server.close()
        elif greeting:
            threading.Thread(target=_greet, args=(server, greeting), daemon=True).start()
        assert cli.main(["campaign", str(mailbox), "--dask", address, "--quiet"]) == 69
    printed = capsys.readouterr().err
    assert f"vmtsim: error: --dask {address}: no dask scheduler answers: " in printed
    assert "hint: `dask scheduler`" in printed


def _greet(server: socket.socket, greeting: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(greeting)
        connection.recv(1)


def test_worker_address_is_not_accepted_as_scheduler(
    mailbox: Path, two_workers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = next(iter(two_workers.scheduler.workers))
    assert cli.main(["campaign", str(mailbox), "--dask", worker, "--quiet"]) == 69
    assert "that is a Worker, not a scheduler" in capsys.readouterr().err


def test_scheduler_without_workers_is_an_error(
    mailbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(clusters, "WORKER", 1.0)
    with local(tmp_path, n_workers=0, processes=False) as started:
        arguments = ["campaign", str(mailbox), "--dask", started.scheduler_address, "--quiet"]
        assert cli.main(arguments) == 69
    assert "the scheduler has no worker after 1 s" in capsys.readouterr().err
