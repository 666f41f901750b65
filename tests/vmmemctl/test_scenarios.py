"""The balloon driver, as built, against every kind of host that has a balloon."""

from __future__ import annotations

from pathlib import Path

import pytest
from vmtgen.common.dataclass import replace
from vmtsim import cli
from vmtsim.campaign.player import play
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import load, shipped

HERE = Path(__file__).parent
SEEDS = range(1, 7)


@pytest.mark.parametrize("machine", ["amd64", "i386"])
@pytest.mark.parametrize("balloon", ["old", "basic", "batched"])
@pytest.mark.parametrize("name", ["target", "trouble"])
def test_balloon_follows_target(
    modules: dict[str, Path], machine: str, balloon: str, name: str
) -> None:
    scenario = load(HERE / f"{name}.yaml")
    host = replace(scenario.host, balloon=balloon)  # type: ignore[arg-type]
    outcome = Simulation(modules[machine], replace(scenario, host=host)).run()
    assert outcome.findings == []


@pytest.mark.parametrize("machine", ["amd64", "i386"])
@pytest.mark.parametrize("balloon", ["old", "basic", "batched"])
@pytest.mark.parametrize("name", sorted(shipped("vmmemctl")))
def test_scenarios_that_ship_are_ok(
    modules: dict[str, Path], machine: str, balloon: str, name: str
) -> None:
    scenario = load(shipped("vmmemctl")[name])
    host = replace(scenario.host, balloon=balloon)  # type: ignore[arg-type]
    outcome = Simulation(modules[machine], replace(scenario, host=host)).run()
    assert outcome.findings == []


def test_run_without_scenario_takes_that_of_the_module(
    modules: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make MODULE=vmmemctl` does."""
    assert cli.main(["run", "--summary", str(modules["amd64"])]) == 0
    assert "48 virtual s" in capsys.readouterr().out


def test_wrong_size_is_detected(modules: dict[str, Path]) -> None:
    scenario = load(HERE / "target.yaml")
    steps = tuple(
        replace(step, argument={"machdep.vmmemctl0.size": 5_999})
        if step.argument == {"machdep.vmmemctl0.size": 6_000}
        else step
        for step in scenario.steps
    )
    assert steps != scenario.steps
    (finding,) = Simulation(modules["amd64"], replace(scenario, steps=steps)).run().findings
    assert "6000" in finding.message


@pytest.mark.parametrize("first", ["vmt", "vmmemctl"])
@pytest.mark.parametrize("builtin", [False, True], ids=["plain", "builtin"])
def test_both_drivers_run_together(
    modules: dict[str, Path], vmt: Path, first: str, *, builtin: bool
) -> None:
    """The first is loaded before the other, and unloaded after it."""
    paths = {"vmt": vmt, "vmmemctl": modules["amd64"]}
    scenario = load(HERE / "beside.yaml")
    guest = replace(scenario.guest, modules=(str(paths.pop(first)),))
    (second,) = paths.values()
    outcome = Simulation(second, replace(scenario, guest=guest), builtin_vmt=builtin).run()
    assert outcome.findings == []


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_campaign_seeds_are_clean(modules: dict[str, Path], machine: str) -> None:
    for seed in SEEDS:
        played = play(modules[machine], seed)
        assert (played.trouble, played.findings) == ("", []), seed
        assert "balloon" in played.subject or played.subject.startswith("a driver without")
        assert "counter: stats.refused" in played.expected, "a node with a handler"
        assert played.reached["counter: stats.polls"] > 0
