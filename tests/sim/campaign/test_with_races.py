"""Campaigns that detect data races and preempt threads between two calls."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.campaign import plan
from vmtsim.campaign.player import KNOWN, STOPPED, perform, play
from vmtsim.campaign.subject import Setup, subject_of
from vmtsim.verbs import campaign

from tests.sim import modkit

if TYPE_CHECKING:
    from pathlib import Path

_RACES = Setup(races=True)
_WITHIN = 10
_KNOWN = """
races:
  - field: age
    benign: a statistic that no code uses
    test: tests/sim/campaign/test_with_races.py
"""


@pytest.fixture(scope="module")
def racy() -> Path:
    """The mailbox with an age that is read without its lock."""
    return modkit.built("mailbox", flags=("-DBUG=9",))


@pytest.fixture(scope="module")
def seed(racy: Path) -> int:
    """The first seed whose first run finds the race."""
    for each in range(1, _WITHIN + 1):
        if any(found.rule == "data-race" for found in play(racy, each, _RACES).findings):
            return each
    raise AssertionError(f"{_WITHIN} seeds do not find the race")


def test_same_options_give_same_result(
    racy: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "campaign",
        str(racy),
        "--seeds",
        str(seed),
        "--jobs",
        "1",
        "--check-determinism",
        "0",
        "--quiet",
    ]
    assert cli.main([*words, "--races", "--preempt", "2"]) == 1
    out = capsys.readouterr().out
    assert " of two accesses to shared memory" in out
    (again,) = (line for line in out.splitlines() if line.startswith("replay "))
    command = again.split()[2:]
    assert "--races --preempt 2" in again
    assert cli.main([*command, "--summary"]) == 1
    assert "finding  data-race: age, 4 bytes" in capsys.readouterr().out
    # Without the option there is no race detector.
    assert cli.main(["replay", str(racy), "--seed", str(seed), "--summary"]) == 0


def test_listed_race_is_no_failure_and_counts_as_reached(
    racy: Path, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, result = tmp_path / "known.yaml", tmp_path / "result.json"
    file.write_text(_KNOWN, encoding="utf-8")
    words = ["campaign", str(racy), "--jobs", "1", "--check-determinism", "0", "--quiet"]
    words += ["--races", "--known-races", str(file)]
    assert cli.main([*words, "--seeds", str(seed), "--json", str(result)]) == 0
    capsys.readouterr()
    record = json.loads(result.read_text(encoding="utf-8"))
    assert record["reached"][f"{KNOWN}age"] == 1
    assert record["setup"] == ["--races", "--known-races", str(file)]
    orders = record["orders"]
    # The same command resumes it.
    assert cli.main([*words, "--seeds", f"{seed}:{seed + 1}", "--resume", str(result)]) == 0
    record = json.loads(result.read_text(encoding="utf-8"))
    assert record["seeds"] == [[seed, seed + 1]]
    assert orders.items() <= record["orders"].items()


def test_each_seed_of_any_driver_draws_its_processors() -> None:
    subject = subject_of(modkit.built("mailbox"), _RACES)
    drawn = {plan.draw(each, subject).scenario.guest.cpus for each in range(1, 30)}
    assert drawn == {1, 2, 3, 4}
    assert {plan.draw(each, subject, cpus=3).scenario.guest.cpus for each in range(9)} == {3}


@pytest.mark.parametrize(("name", "seeds"), [("mailbox", 5), ("seven", 3), ("worker", 3)])
def test_clean_twin_has_no_races_with_and_without_preemption(name: str, seeds: int) -> None:
    module = modkit.built(name)
    setup = Setup(races=True, preempt=3)
    reached = set()
    for each in range(1, seeds + 1):
        played = play(module, each, setup)
        assert (played.trouble, played.findings) == ("", []), each
        assert STOPPED in played.expected
        reached |= {name for name, count in played.reached.items() if count}
    assert STOPPED in reached


def test_kernel_read_without_the_lock_of_the_driver_is_a_race() -> None:
    # A sysctl node's own variable, which a callout writes: sysctl_lookup() takes no such lock.
    module = modkit.built("classic")
    rules = {each.rule for seed in range(1, _WITHIN + 1)
             for each in play(module, seed, _RACES).findings}  # fmt: skip
    assert rules == {"data-race"}


def test_preempted_seed_gives_same_trace() -> None:
    module, setup = modkit.built("mailbox"), Setup(cpus=3, races=True, preempt=3)
    subject = subject_of(module, setup)
    drawn = plan.draw(2, subject, cpus=setup.cpus)
    one, two = (perform(module, drawn, subject, setup) for _ in range(2))
    assert one.player.points
    assert one.player.points == two.player.points
    assert one.orders == two.orders
    assert [str(each.json()) for each in one.player.trace.events] == [
        str(each.json()) for each in two.player.trace.events
    ]
    assert len(one.player.simulation.kernel.processors) == 3


@pytest.mark.parametrize(
    "setup",
    [
        Setup(),
        Setup(cpus=3),
        Setup(cpus=2, races=True, preempt=2),
        Setup(store_buffers=True),
    ],
)
def test_setup_follows_options(setup: Setup) -> None:
    parser = argparse.ArgumentParser()
    campaign.add_setup(parser)
    assert campaign.setup(parser.parse_args(setup.options)) == setup


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preempt", "2"], "--preempt requires --races"),
        (["--known-races", "x.yaml"], "--known-races requires --races"),
        (["--races", "--cpus", "1"], "--races needs two processors or more"),
        (["--store-buffers", "--cpus", "1"], "--store-buffers needs two processors or more"),
        (["--races", "--preempt", "all"], "'all': expected 1 to 9 points"),
        (["--settled", "3"], "--settled: expected a number of seeds from 1 on, and --races"),
    ],
)
def test_conflicting_options_are_refused(
    racy: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(["campaign", str(racy), *options])
    except SystemExit as end:
        status = end.code
    assert status == 64
    assert message in capsys.readouterr().err
