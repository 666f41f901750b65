"""An interrupted campaign loses no result; after resuming, the sums are exact."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmtsim import cli
from vmtsim.campaign import record as records
from vmtsim.campaign import runner
from vmtsim.campaign.interruption import Interrupted, Interruption
from vmtsim.campaign.player import Played
from vmtsim.campaign.progress import Lines
from vmtsim.campaign.record import Record, RecordError, missing
from vmtsim.campaign.runner import Campaign, Settings
from vmtsim.campaign.workers import WorkerPool
from vmtsim.run.findings import Finding

from tests.patience import HANG, until

from .test_workers import AtOnce, sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vmtsim.campaign.subject import Setup


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some bytes: no seed is really run."""
    path = tmp_path_factory.mktemp("module") / "vmt.kmod"
    path.write_bytes(b"a module")
    return path


@pytest.fixture(scope="module", autouse=True)
def unplayed() -> Iterator[None]:
    """Seeds have results that follow from their number; a copy of the record is made each time."""

    def play(_module: Path, seed: int, _setup: Setup, keep: bool) -> Played:
        played = Played(seed, virtual=seed * 1000, kernel_calls=seed % 11, actions=3)
        played.reached = {"even": 1 - seed % 2, "third": int(seed % 3 == 0)}
        played.expected = ("even", "third", "never")
        # Up to seed 6 each shows something new; then they repeat each other.
        played.orders = frozenset(f"order {number}" for number in range(min(seed, 6)))
        if seed % 5 == 0:
            played.status = 1
            played.findings = [Finding("leak", f"found by {seed}", 1)]
        # Every tenth seed is not deterministic.
        trace = b"x\x9c\x03\x00\x00\x00\x00\x01" if seed % 10 else os.urandom(8)
        played.trace = trace if keep else None
        return played

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "play_one", play)
        patch.setattr(runner, "_SAVE", 0.0)
        patch.setattr(runner, "divergence", lambda *_: [])
        patch.setattr(Played, "trace_lines", [])
        patch.setattr(Played, "trace_digest", "")
        yield


def pool() -> WorkerPool:
    return WorkerPool(AtOnce(), AtOnce(), lambda: 2)


def played(module: Path, last: int, **options: Any) -> Campaign:
    campaign = Campaign(
        Settings(module, 1, last, check_determinism=3, max_reports=0),
        pool(),
        Lines(quiet=True),
        **options,
    )
    campaign.run()
    return campaign


class After(Lines):
    """Interrupts when this many records have been shown."""

    def __init__(self, count: int) -> None:
        super().__init__(quiet=True)
        self._left = count

    def played(self, _record: Record) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Interrupted(signal.SIGTERM)


def stored(record: Record, directory: Path) -> Record:
    """The record as it comes back from a file."""
    path = directory / "record.json"
    path.write_text(record.json(), encoding="utf-8")
    return records.read(path)


def test_campaign_ends_when_seeds_show_nothing_new(module: Path) -> None:
    settings = Settings(module, 1, 1000, check_determinism=0, max_reports=0, settled=5)
    record = Campaign(settings, pool(), Lines(quiet=True)).run()
    assert record.cut == ""
    assert record.orders == {f"order {number}": number + 1 for number in range(6)}
    ((first, last),) = record.seeds
    # Seeds that had already started are run, too.
    assert (first, record.planned) == (1, record.seeds)
    assert 11 <= last < 11 + 2 * runner._AHEAD + 1
    assert record.stale(1) == last - 6
    # Results after a gap do not count.
    record.seeds = [[1, 8], [10, last]]
    assert record.stale(1) == 2


@given(cuts=st.lists(st.integers(1, 4), max_size=6), last=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_repeatedly_interrupted_campaign_has_sum_of_uninterrupted_one(
    module: Path, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], last: int
) -> None:
    directory = tmp_path_factory.mktemp("cut")
    whole = played(module, last).record
    resumed: Record | None = None
    plan = Settings(module, 1, last, check_determinism=3, max_reports=0)
    for count in cuts:
        campaign = Campaign(plan, pool(), After(count), resumed=resumed)
        resumed = stored(campaign.run(), directory)
        assert bool(resumed.cut) == bool(campaign.cut_status)
    finished = played(module, last, resumed=resumed).record
    assert finished.cut == ""
    assert sums(stored(finished, directory)) == sums(stored(whole, directory))


def test_each_intermediate_file_can_be_resumed(module: Path, tmp_path: Path) -> None:
    copies: list[str] = []
    whole = played(module, 40, save=lambda record: copies.append(record.json())).record
    assert len(copies) > 3
    for number, copy in enumerate(copies):
        path = tmp_path / f"{number}.json"
        path.write_text(copy, encoding="utf-8")
        start = records.read(path)
        assert re.match(r"still running when this was written, after \d+ of 40 seeds", start.cut)
        assert sums(played(module, 40, resumed=start).record) == sums(whole)


def test_signal_during_counting_waits_for_count() -> None:
    interruption = Interruption()
    counted = []

    def count() -> None:
        with interruption.held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            counted.append(1)

    with interruption.listening(), pytest.raises(Interrupted) as caught:
        count()
    assert counted == [1]
    assert caught.value.exit_status == 143


def test_second_ctrl_c_stops_writing_and_sigterm_does_not() -> None:
    interruption = Interruption()
    with interruption.listening():
        interruption.finish()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_longer_range_continues_and_shorter_is_done(module: Path, tmp_path: Path) -> None:
    ten = stored(played(module, 10).record, tmp_path)
    assert sums(played(module, 30, resumed=ten).record) == sums(played(module, 30).record)
    ten = stored(played(module, 10).record, tmp_path)
    five = played(module, 5, resumed=ten).record
    assert (five.cut, five.played) == ("", 10)


@pytest.mark.parametrize(
    ("ranges", "first", "last", "gaps"),
    [
        ([], 1, 3, [(1, 3)]),
        ([], 4, None, [(4, None)]),
        ([[1, 3]], 1, 3, []),
        ([[2, 3], [6, 6]], 1, 8, [(1, 1), (4, 5), (7, 8)]),
        ([[2, 3], [6, 6]], 3, 5, [(4, 5)]),
        ([[2, 3], [6, 6]], 3, None, [(4, 5), (7, None)]),
        ([[5, 9]], 1, 3, [(1, 3)]),
    ],
)
def test_missing_seeds_of_range(
    ranges: list[list[int]], first: int, last: int | None, gaps: list[tuple[int, int | None]]
) -> None:
    assert list(missing(ranges, first, last)) == gaps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "0" * 32}, "not of the same module as vmt.kmod: vmt.kmod, sha256 000000000000"),
        ({"setup": ["--kernel", "plain"]}, "run with --kernel plain, not with no option that"),
        ({"vmtsim": "1" * 32}, "run by another vmtsim (111111111111"),
    ],
)
def test_campaign_with_other_options_is_not_resumed(
    module: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    record = stored(played(module, 3).record, tmp_path)
    for name, value in change.items():
        setattr(record, name, value)
    with pytest.raises(RecordError, match=re.escape(message)):
        played(module, 5, resumed=record)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a field is gone": (lambda data: data.pop("failures"), "`$.failures` is missing"),
    "a field is unknown": (lambda data: data.update(zeal=1), "`$.zeal` is unknown"),
    "a seed is a text": (lambda data: data.update(seeds=[[1, "a"]]), "at `$.seeds["),
    "a count is a text": (lambda data: data.update(injections="x"), "at `$.injections`"),
    "a failure lacks its rule": (
        lambda data: data["failures"][0].pop("rule"), "`rule` - at `$.failures[0]`"
    ),
    "a failure lacks its count": (
        lambda data: data["failures"][0].pop("count"), "`$.failures[0].count` is missing"
    ),
    "a failure has a text for its seed": (
        lambda data: data["failures"][0].update(seed="five"), "at `$.failures["
    ),
    "a range has one end": (lambda data: data.update(seeds=[[1]]), "`$.seeds`: [[1]] are not"),
    "ranges overlap": (
        lambda data: data.update(seeds=[[1, 5], [5, 9]]), "`$.seeds`: [[1, 5], [5, 9]] are not in"
    ),
    "seeds are listed that were not played": (
        lambda data: data.update(seeds=[[1, 400]]), "`$.played`: 10 seeds, and `$.seeds` lists 400"
    ),
    "more failed than played": (lambda data: data.update(failed=11), "`$.failed`: 11 of 10"),
    "a property has no first seed": (
        lambda data: data["first"].pop("even"), "`$.reached` and `$.first`: 'even'"
    ),
    "the status is better than a failure": (
        lambda data: data.update(status=0), "`$.status`: 0, and that of the failures is"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_shard_is_reported_with_location(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(played(module, 10).record.json(), encoding="utf-8")
    damage, message = DAMAGE[name]
    data = json.loads(good.read_text(encoding="utf-8"))
    damage(data)
    bad.write_text(json.dumps(data), encoding="utf-8")
    assert cli.main(["merge", str(bad)]) == 65
    printed = capsys.readouterr().err
    assert f"vmtsim: error: {bad}: damaged: " in printed
    assert message in printed
    assert "hint: vmtsim writes a result whole or not at all" in printed


def test_truncated_file_is_reported(tmp_path: Path) -> None:
    half = tmp_path / "half.json"
    half.write_text('{"format": "vmtsim-campaign", "ver', encoding="utf-8")
    with pytest.raises(RecordError, match=r"half\.json: not JSON: "):
        records.read(half)


def test_interrupted_shard_is_completed_by_another(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Settings(module, 1, 30, check_determinism=3, max_reports=0)
    cut = Campaign(plan, pool(), After(1)).run()
    assert cut.cut
    cut.failures, cut.status = [], 0  # the findings are not checked
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(cut.json(), encoding="utf-8")
    rest = Settings(module, cut.seeds[-1][1] + 1, 30, check_determinism=0, max_reports=0)
    missed = Campaign(rest, pool(), Lines(quiet=True)).run()
    missed.failures, missed.status = [], 0
    two.write_text(missed.json(), encoding="utf-8")
    assert cli.main(["merge", str(one)]) == 65
    assert "NOT FINISHED" in capsys.readouterr().out
    assert cli.main(["merge", str(one), str(two)]) == 0
    assert "NOT FINISHED" not in capsys.readouterr().out


# -- real processes, and seeds that are played: see also test_workers.py ---------------------------


def test_sigterm_ends_campaign_like_ctrl_c(mailbox: Path, tmp_path: Path) -> None:
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    with subprocess.Popen(
        [sys.executable, "-m", "vmtsim", "campaign", str(mailbox), "--seeds", "1:100000",
         "--jobs", "1", "--check-determinism", "2", "--json", str(result), "--html", str(page)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        until(lambda: result.exists() and result.stat().st_size, "the first copy of the result")
        # As with timeout(1) and CI, the whole process group gets the signal.
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=HANG)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "ignored" not in err
    assert "leaked" not in err
    record = records.read(result)
    assert record.cut == f"terminated (SIGTERM), after {record.played} of 100000 seeds"
    assert f"verdict NOT FINISHED: {record.cut}" in " ".join(out.split())
    assert '<p class="verdict bad">NOT FINISHED' in page.read_text(encoding="utf-8")
