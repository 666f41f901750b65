"""Campaigns: the meaning of a seed, the findings, and tests of the detectors."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common.dataclass import replace
from vmtsim import cli
from vmtsim.campaign import investigate
from vmtsim.campaign import plan as plans
from vmtsim.campaign import reduce as reducing
from vmtsim.campaign.player import Played, Player, play
from vmtsim.campaign.record import Failure, Record, RecordError, merge
from vmtsim.campaign.runner import divergence
from vmtsim.campaign.subject import Subject
from vmtsim.run.findings import Finding
from vmtsim.run.survey import Survey
from vmtsim.scenario.script import Phase
from vmtsim.verbs.campaign import part

if TYPE_CHECKING:
    from pathlib import Path


VMT = Subject(Survey("vmt", vmware=True, devices=(("vmt0", "cpu0"),), unload=0), vmware=True)


def test_seed_determines_plan() -> None:
    assert plans.draw(7, VMT) == plans.draw(7, VMT)
    assert plans.draw(7, VMT) != plans.draw(8, VMT)


@pytest.mark.parametrize("seed", range(1, 60))
def test_every_seed_runs_ten_minutes_with_detach_and_attach(seed: int) -> None:
    plan = plans.draw(seed, VMT)
    assert plan.scenario.duration >= 600 * 10**9
    verbs = [step.verb for step in plan.scenario.steps[: plan.actions]]
    assert {"guest.detach", "guest.unload"} & set(verbs)
    assert {"guest.rescan", "guest.load"} & set(verbs)
    assert all(step.at <= plan.second_phase for step in plan.scenario.steps[: plan.actions])


def test_each_fault_occurs_in_some_seeds_only() -> None:
    drawn = [set(plans.draw(seed, VMT).odds) for seed in range(1, 60)]
    for name in plans.ALL_FAULTS:
        assert any(name in odds for odds in drawn)
        assert any(name not in odds for odds in drawn)


def test_campaign_uses_hosts_of_every_log() -> None:
    hosts = [plans.draw(seed, VMT).scenario.host for seed in range(1, 200)]
    assert all(host.ports and host.cookies for host in hosts)
    for option, values in {
        "age": {"current", "old"},
        "second_client": {"newest", "first", "both"},
        "nul_terminated": {"none", "ping", "all"},
        "setinfo": {True, False},
    }.items():
        assert {getattr(host, option) for host in hosts} == values


def test_replayed_seed_gives_same_trace(driver: Path) -> None:
    one, two = (play(driver, 5, keep_trace=True) for _ in range(2))
    assert one.trace is not None
    assert one.trace == two.trace
    assert one.status == 0, one.findings


def test_counter_counts_by_the_name_of_its_node(driver: Path) -> None:
    """Seed 12 looks at the driver while evcnt(9) has its counters and sysctl(9) no nodes yet."""
    names = [name for name in play(driver, 12).expected if name.startswith("counter: ")]
    assert "counter: stats.polls" in names
    assert [name for name in names if "." not in name] == []


def test_last_rescan_comes_after_a_detach_that_waits_for_entropy() -> None:
    """Seed 918 with races: the rescan came within a detach, and vmt0 stayed detached.

    A driver waits for two rounds of entropy_consolidate(9) at most; the kernel's thread rests a
    second after each (NetBSD sys/kern/kern_entropy.c, entropy_thread).
    """
    plan = plans.draw(918, VMT)
    last = {step.verb: step.at for step in plan.scenario.steps if step.phase is Phase.LIVENESS}
    assert last["guest.rescan"] - last["guest.detach"] > 2 * 10**9


def test_endless_seed_violates_liveness(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmtsim.campaign.player.LIMIT", 3000)
    played = play(driver, 5)
    assert [finding.rule for finding in played.findings] == ["spinning"]
    assert "3000 kernel calls and traps in " in played.findings[0].message
    assert played.status == 2


def test_recorded_schedule_reproduces_random_faults(channel_leak: Path) -> None:
    plan = plans.draw(_failing(channel_leak), VMT)
    first = Player(channel_leak, plan, VMT)
    first.play()
    items = reducing.schedule(first)
    again = Player(channel_leak, plan, VMT, choice=reducing.choice_of(items))
    assert {finding.rule for finding in again.play()} >= {"channel-abandoned"}
    assert [s.name for s in again.injector.injections][:3] == [
        s.name for s in first.injector.injections
    ][:3]


@functools.cache
def _failing(module: Path) -> int:
    for seed in range(4, 16):  # the fourth does, today
        if any(finding.rule == "channel-abandoned" for finding in play(module, seed).findings):
            return seed
    raise AssertionError("no seed finds it")


def test_failure_is_minimised_and_reported_with_source_line(channel_leak: Path) -> None:
    seed = _failing(channel_leak)
    reduced = reducing.reduce(channel_leak, seed, "channel-abandoned", budget=60)
    assert reduced is not None
    assert len(reduced.items) <= 3 < reduced.total
    text = "\n".join(investigate.describe(channel_leak, seed, "channel-abandoned", reduced=reduced))
    assert text.startswith("FAILED   channel-abandoned:")
    assert "vmt_channel_open (vmt_rpc.c:" in text
    assert "source   vmt_rpc.c:" in text
    assert f"--seed {seed} --only {reduced.only}" in text
    assert cli.main(["replay", str(channel_leak), "--seed", str(seed), "--only", reduced.only]) == 1


def test_ddmin_finds_minimal_set() -> None:
    tried = []

    def fails(items: tuple[int, ...]) -> bool:
        tried.append(items)
        return {3, 17} <= set(items)

    assert reducing.ddmin(range(40), fails) == (3, 17)
    assert reducing.ddmin(range(5), lambda _items: True) == ()
    assert len(tried) < 80


def test_parallel_campaign_detects_canary(
    mailbox: Path,
    leaky_mailbox: Path,
    leak: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result, page = tmp_path / "r.json", tmp_path / "r.html"
    # The canary fails at the first.
    seeds = f"{leak}:{leak + 1}"
    arguments = ["campaign", str(mailbox), "--seeds", seeds, "--jobs", "2", "--quiet"]
    arguments += ["--json", str(result), "--html", str(page), "--canary", str(leaky_mailbox)]
    assert cli.main(arguments) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "verdict  ok" in printed
    assert "mailbox.kmod: caught at seed" in printed
    data = json.loads(result.read_text(encoding="utf-8"))
    assert data["played"] == 2
    assert data["replayed"] >= 1
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_surviving_canary_fails_campaign(mailbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "campaign",
        str(mailbox),
        "--seeds",
        "5",
        "--jobs",
        "1",
        "--check-determinism",
        "0",
        "--quiet",
    ]
    assert cli.main([*arguments, "--canary", str(mailbox), "--canary-seeds", "2"]) == 70
    assert "NOT CAUGHT" in capsys.readouterr().out


def test_exit_status_gives_class_of_failure(leaky_mailbox: Path, leak: int) -> None:
    arguments = ["campaign", str(leaky_mailbox), "--seeds", str(leak), "--jobs", "1", "--quiet"]
    assert cli.main([*arguments, "--max-reports", "0", "--check-determinism", "0"]) == 1


def test_first_divergence_is_shown() -> None:
    lines = divergence(["a", "b", "c", "d"], ["a", "b", "x", "d"])
    assert lines == ["the first 2 events are the same; then", "    a", "    b", "  1 c", "  2 x"]
    assert divergence(["a"], ["a", "b"])[-2:] == ["  1 (the end)", "  2 b"]


def _played(seed: int, **changes: Any) -> Played:
    return replace(
        Played(seed, module="vmt", virtual=10**9, reached={"fault: burst": 2}), **changes
    )


def _shard(path: Path, *seeds: int, digest: str = "same") -> Path:
    record = Record(file="vmt.kmod", digest=digest)
    for seed in seeds:
        finding = Finding("leak", f"seed {seed}", 5, 1)
        record.add(_played(seed, findings=[finding], status=1))
    path.write_text(record.json(), encoding="utf-8")
    return path


def test_shards_are_summed(tmp_path: Path) -> None:
    one = _shard(tmp_path / "1.json", 3, 4)
    two = _shard(tmp_path / "2.json", 1, 2)
    whole = merge([one, two])
    assert whole.seeds == [[1, 4]]
    assert whole.played == 4
    assert whole.reached == {"fault: burst": 8}
    assert whole.failures == [Failure("leak", 1, "seed 1", 1, count=4)]


def test_duplicate_seed_is_counted_once(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="seed 2 is in "):
        merge([_shard(tmp_path / "1.json", 1, 2), _shard(tmp_path / "2.json", 2, 3)])


def test_shards_of_two_modules_are_not_combined(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not of the same module"):
        merge([_shard(tmp_path / "1.json", 1), _shard(tmp_path / "2.json", 2, digest="other")])


def test_parts_cover_all_seeds_once() -> None:
    parts = [part(5, 21, number, 4) for number in (1, 2, 3, 4)]
    seeds = [seed for first, last in parts for seed in range(first, last + 1)]
    assert seeds == list(range(5, 22))
