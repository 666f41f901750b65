"""Every executor counts each seed once; an interrupted campaign reports that."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common.dataclass import replace
from vmtsim import cli
from vmtsim.campaign import record as records
from vmtsim.campaign import workers
from vmtsim.campaign.bundle import ModuleBundle, VersionMismatchError
from vmtsim.campaign.player import Played, play_one
from vmtsim.campaign.progress import Lines
from vmtsim.campaign.runner import Campaign, Settings
from vmtsim.campaign.subject import Setup
from vmtsim.campaign.workers import WorkerPool, processes

from tests import forked
from tests.patience import HANG, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vmtsim.campaign.record import Record


class Hook(Lines):
    """Calls ``then`` once, after the first seeds have run."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__(quiet=True)
        self._then: Callable[[], None] | None = then

    def played(self, record: Record) -> None:
        if self._then is not None and record.played:
            then, self._then = self._then, None
            then()


class NeverRuns(Executor):
    """Accepts every seed and runs none."""

    def submit(self, *_args: Any, **_kwargs: Any) -> Future[Any]:
        return Future()


class AtOnce(Executor):
    """Runs a seed when it is submitted, in this process."""

    def submit(self, fn: Callable[..., Any], *args: Any, **_kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args))
        return future


def _interrupt() -> None:
    raise KeyboardInterrupt


def sums(record: Record) -> dict[str, Any]:
    """A record without real time."""
    return {name: v for name, v in asdict(record).items() if name not in {"wall", "work"}}


def test_every_executor_gives_same_result(leaky_mailbox: Path, leak: int) -> None:
    settings = Settings(leaky_mailbox, leak, leak + 1, check_determinism=50, max_reports=0)
    with ThreadPoolExecutor(2) as main, ThreadPoolExecutor(1) as second:
        pool = WorkerPool(main, second, lambda: 2, pack=ModuleBundle.of)
        by_threads = Campaign(settings, pool, Lines(quiet=True)).run()
    with processes(1) as pool:
        by_processes = Campaign(settings, pool, Lines(quiet=True)).run()
    assert by_threads.seeds == [[leak, leak + 1]]
    assert by_threads.failed > 0
    assert sums(by_threads) == sums(by_processes)


def test_bundle_runs_like_file_with_source_lines(leaky_mailbox: Path, leak: int) -> None:
    seeds, bundle = (leak, leak + 1), ModuleBundle.of(leaky_mailbox)
    by_path = [play_one(leaky_mailbox, seed, Setup(), False) for seed in seeds]
    by_bundle = [play_one(bundle, seed, Setup(), False) for seed in seeds]
    assert [p.findings for p in by_bundle] == [p.findings for p in by_path]
    assert [bool(played.findings) for played in by_path] == [True, False]


def test_other_vmtsim_version_is_refused(leaky_mailbox: Path) -> None:
    bundle = replace(ModuleBundle.of(leaky_mailbox), code="0" * 64)
    with pytest.raises(VersionMismatchError, match="is not that of the campaign"):
        play_one(bundle, 1, Setup(), False)


def test_result_for_other_seeds_is_not_counted(mailbox: Path) -> None:
    class AlwaysTheFirst(Executor):
        def submit(self, *_args: Any, **_kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(Played(1))
            return future

    pool = WorkerPool(AlwaysTheFirst(), NeverRuns(), lambda: 1)
    campaign = Campaign(Settings(mailbox, 1, 2, check_determinism=0), pool, Lines(quiet=True))
    with pytest.raises(RuntimeError, match="got the result of seed 1 for seed 2"):
        campaign.run()
    assert campaign.record.seeds in ([], [[1, 1]])


def test_interrupted_campaign_keeps_results_and_is_not_ok(
    mailbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with processes(1) as pool:
        campaign = Campaign(Settings(mailbox, 1, 400, check_determinism=0), pool, Hook(_interrupt))
        record = campaign.run()
    assert campaign.cut_status == 130
    assert 0 < record.played < 400
    assert record.cut == f"interrupted, after {record.played} of 400 seeds"
    shard = tmp_path / "shard.json"
    shard.write_text(record.json(), encoding="utf-8")
    assert cli.main(["merge", str(shard)]) == 65
    # Lines are folded where a path is long.
    printed = " ".join(capsys.readouterr().out.split())
    assert "verdict NOT FINISHED: " in printed
    assert "verdict ok" not in printed


def test_ctrl_c_ends_campaign_with_130(mailbox: Path, tmp_path: Path) -> None:
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    command = [sys.executable, "-m", "vmtsim", "campaign", str(mailbox), "--seeds", "1:100000"]
    command += ["--jobs", "2", "--json", str(result), "--html", str(page)]
    # A separate session: as from a terminal, the signal reaches all of its processes.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert "campaign over" in process.stderr.readline()
        # The first line with counts comes as soon as there is something to count.
        assert re.match(r"[1-9]\d* seeds, none failed, ", process.stderr.readline())
        os.killpg(process.pid, signal.SIGINT)
        # Returns when all processes have closed the pipes: the pool's processes have ended, too.
        out, err = process.communicate(timeout=HANG)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "ignored" not in err
    played = json.loads(result.read_text(encoding="utf-8"))["played"]
    assert played > 0
    printed = " ".join(out.split())
    assert f"verdict NOT FINISHED: interrupted, after {played} of 100000 seeds" in printed
    assert '<p class="verdict bad">NOT FINISHED' in page.read_text(encoding="utf-8")


def test_starting_process_ignores_ctrl_c() -> None:
    with processes(1) as workers:
        for pool in (workers.main, workers.second):
            assert (
                signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
            )
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_stopped_pool_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with processes(1) as pool:
        busy = pool.main.submit(time.sleep, 2 * HANG)
        until(busy.running, "a process that is busy")
        pool.stop()
        assert set(threading.enumerate()) <= before
    assert busy.done()


def test_dead_process_stops_campaign(mailbox: Path) -> None:
    with processes(1) as pool:
        pid = pool.main.submit(os.getpid).result()
        hook = Hook(lambda: os.kill(pid, signal.SIGKILL))
        campaign = Campaign(Settings(mailbox, 1, 400, check_determinism=0), pool, hook)
        record = campaign.run()
    assert campaign.cut_status == 70
    assert record.cut.startswith("a worker process died")
    assert 0 < record.played < 400


def test_dead_determinism_check_process_stops_campaign(mailbox: Path) -> None:
    class Dead(Executor):
        def submit(self, *_args: Any, **_kwargs: Any) -> Future[Any]:
            raise BrokenExecutor

    campaign = Campaign(
        Settings(mailbox, 1, 8), WorkerPool(NeverRuns(), Dead(), lambda: 1), Lines(quiet=True)
    )
    record = campaign.run()
    assert campaign.cut_status == 70
    assert record.cut.startswith("a worker process died")


def test_campaign_does_not_wait_forever_for_workers(mailbox: Path) -> None:
    pool = WorkerPool(NeverRuns(), NeverRuns(), lambda: 0, patience=0.0)
    campaign = Campaign(Settings(mailbox, 1, 8), pool, Lines(quiet=True))
    record = campaign.run()
    assert campaign.cut_status == 69
    assert record.cut == "there was no worker for 0 s, after 0 of 8 seeds"


def test_killed_campaign_resumes_with_exact_sum(mailbox: Path, tmp_path: Path) -> None:
    result, other = tmp_path / "result.json", tmp_path / "other.json"

    def killed_after_the_first_copy() -> None:
        copy = Campaign._copy

        def kill(self: Campaign) -> None:
            copy(self)
            if self.record.cut:
                os.kill(os.getpid(), signal.SIGKILL)

        Campaign._copy = kill  # type: ignore[method-assign]

    def without_processes() -> None:
        @contextmanager
        def processes(_jobs: int) -> Iterator[WorkerPool]:
            yield WorkerPool(AtOnce(), AtOnce(), lambda: 1)

        workers.processes = processes

    def words(result: Path, *options: object) -> list[object]:
        base = [
            "campaign",
            mailbox,
            "--jobs",
            "1",
            "--check-determinism",
            "2",
            "--quiet",
            "--json",
            result,
        ]
        return [*base, *options]

    # At most four seeds run, and so count, at a time.
    first = words(result, "--seeds", "1:6")
    with forked.start("vmtsim", *first, before=killed_after_the_first_copy) as process:
        assert process.wait(HANG) == -signal.SIGKILL
    start = records.read(result)
    assert 0 < start.played < 6
    assert start.cut.startswith("still running when this was written")
    ended = forked.run("vmtsim", *words(result, "--resume", result), before=without_processes)
    assert ended.returncode == 0, ended.stderr
    assert "seeds    6 (1:6), 0 failed" in ended.stdout
    whole = forked.run("vmtsim", *words(other, "--seeds", "1:6"), before=without_processes)
    assert whole.returncode == 0, whole.stderr
    assert sums(records.read(result)) == sums(records.read(other))
