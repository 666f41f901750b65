"""The driver beside itself: no data race but those that are known, on two processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.resources import root
from vmtsim.kernel.races import Races
from vmtsim.run.known import KnownRaces
from vmtsim.run.simulation import Simulation
from vmtsim.scenario import script

from . import beside

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.scenario.script import Scenario

_SEEDS = (1, 2, 3)
# The clock is stepped three times, and an administrator reads how often in between.
_READER = """
summary: an administrator reads a number beside the worker that counts
guest:
  sysctl: {machdep.vmt0.clock_sync.period: 10}
steps:
"""
for _second in (5, 25, 45):
    _READER += f"""
  - at: {_second}.0
    host.clock: {{jump: 300}}
  - at: {_second + 15}.0
    expect.sysctl: {{machdep.vmt0.clock_sync.steps: 9}}
    not: true
"""


def known() -> KnownRaces:
    checkout = root()
    assert checkout is not None
    return KnownRaces(checkout / "kmod" / "vmt" / "known-races.yaml")


def played(module: Path, scenario: Scenario, seed: int) -> tuple[list[str], dict[str, set[bool]]]:
    """Return what was found, and which known races there were."""
    simulation = Simulation(module, scenario, seed=seed, races=True, known_races=known().fields)
    outcome = simulation.run()
    return [each.message for each in outcome.findings], simulation.kernel.subject(Races).used


@pytest.mark.parametrize("scenario", ["boot-to-halt", "detach-attach", "stat_hosttime", "backup"])
def test_nothing_but_what_is_known_is_accessed_without_order(module: Path, scenario: str) -> None:
    assert [played(module, script.load(scenario), seed)[0] for seed in _SEEDS] == [[]] * len(_SEEDS)


def test_seeds_of_a_campaign_are_clean_as_they_come_and_stopped_between_calls(
    module: Path,
) -> None:
    """Up to one that needs the list's counters; ``make soak`` plays more (tests.driver.beside)."""
    stops = 0
    for seed in range(1, 11):
        played = beside.play(seed, module, known().fields)
        assert played.found == []
        stops += played.stops
        if "vmt_softc.sc_counters" in played.used:
            break
    else:
        pytest.fail("vmt_softc.sc_counters is in kmod/vmt/known-races.yaml, and no seed needs it")
    assert stops


def test_a_number_for_people_is_right_whichever_of_reader_and_writer_comes_first(
    module: Path, tmp_path: Path
) -> None:
    """Both orders are played, and what is seen of the driver is right in both."""
    name = "vmt_softc.sc_clock.c_steps"
    file = tmp_path / "reader.yaml"
    file.write_text(_READER, encoding="utf-8")
    scenario = script.load(file)
    orders: set[bool] = set()
    for seed in range(1, 7):
        found, used = played(module, scenario, seed)
        assert found == []
        orders |= used.get(name, set())
    assert orders == {True, False}
