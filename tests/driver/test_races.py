"""The driver on two processors: no data race except the listed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.resources import root
from vmtsim.campaign.player import KNOWN, STOPPED, play
from vmtsim.campaign.subject import Setup
from vmtsim.kernel.races import Races
from vmtsim.kernel.storebuffers import StoreBuffers
from vmtsim.run.known import KnownRaces
from vmtsim.run.simulation import Simulation
from vmtsim.scenario import script

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.scenario.script import Scenario

_SEEDS = (1, 2, 3)
# Field of kmod/vmt/known-races.yaml -> a sysctl node that copies it.
_NUMBERS = {
    "vmt_softc.sc_counters": "machdep.vmt0.stats.polls",
    "vmt_softc.sc_clock.c_steps": "machdep.vmt0.clock_sync.steps",
}
# The clock is stepped three times, and an administrator reads numbers in between.
_READER = """
summary: an administrator reads numbers beside the thread that counts
guest:
  sysctl: {machdep.vmt0.clock_sync.period: 10}
steps:
"""
for _second in (5, 25, 45):
    _READER += f"""
  - at: {_second}.0
    host.clock: {{jump: 300}}
"""
    for _node in _NUMBERS.values():
        _READER += f"""
  - at: {_second + 15}.0
    expect.sysctl: {{{_node}: -1}}
    not: true
"""

# The worker reads settings without the lock while an administrator sets them.
_SETTER = """
summary: an administrator changes settings while the worker uses them
guest:
  sysctl: {machdep.vmt0.clock_sync.period: 1, machdep.vmt0.info.memory_period: 1}
steps:
"""
for _second in range(3, 16):
    _SETTER += f"""
  - at: {_second}.0
    host.tclo: Set_Option synctime {_second % 2}
  - at: {_second}.0
    guest.sysctl: {{machdep.vmt0.clock_sync.follow_host: {_second % 2}}}
  - at: {_second}.0
    guest.sysctl: {{machdep.vmt0.clock_sync.period: {1 + _second % 2}}}
  - at: {_second}.0
    guest.sysctl: {{machdep.vmt0.info.memory_period: {1 + _second % 3}}}
"""


def known() -> KnownRaces:
    checkout = root()
    assert checkout is not None
    return KnownRaces(checkout / "kmod" / "vmt" / "known-races.yaml")


def played(module: Path, scenario: Scenario, seed: int) -> tuple[list[str], dict[str, set[bool]]]:
    """Return the findings, and which listed races occurred."""
    simulation = Simulation(module, scenario, seed=seed, races=True, known_races=known().fields)
    outcome = simulation.run()
    return [each.message for each in outcome.findings], simulation.kernel.subject(Races).used


@pytest.mark.parametrize("scenario", ["boot-to-halt", "detach-attach", "stat_hosttime", "backup"])
def test_no_unlisted_data_race(module: Path, scenario: str) -> None:
    assert [played(module, script.load(scenario), seed)[0] for seed in _SEEDS] == [[]] * len(_SEEDS)


def test_settings_are_written_as_the_worker_reads_them(module: Path, tmp_path: Path) -> None:
    """Atomically.  Seed 596 of a campaign found a plain store to the clock's period."""
    file = tmp_path / "settings.yaml"
    file.write_text(_SETTER)
    scenario = script.load(file)
    assert [played(module, scenario, seed)[0] for seed in _SEEDS] == [[]] * len(_SEEDS)


def test_campaign_seeds_are_clean_with_and_without_preemption(
    module: Path,
) -> None:
    """Up to one that needs the list's counters; ``make soak`` runs more."""
    setup = Setup(cpus=2, races=True, known=known().fields, preempt=2)
    reached: set[str] = set()
    for seed in range(1, 11):
        played = play(module, seed, setup)
        assert (played.trouble, played.findings) == ("", [])
        assert played.orders
        reached |= {name for name, count in played.reached.items() if count}
        if f"{KNOWN}vmt_softc.sc_counters" in reached:
            break
    else:
        pytest.fail("vmt_softc.sc_counters is in kmod/vmt/known-races.yaml, and no seed needs it")
    assert STOPPED in reached


@pytest.mark.parametrize("scenario", ["boot-to-halt", "backup"])
def test_driver_works_on_weakly_ordered_memory(module: Path, scenario: str) -> None:
    late = 0
    for seed in _SEEDS:
        simulation = Simulation(module, script.load(scenario), seed=seed, store_buffers=True)
        assert simulation.run().findings == []
        late += simulation.kernel.subject(StoreBuffers).late
    assert late


def test_point_after_trap_is_reached_and_point_after_next_call_is_not(module: Path) -> None:
    """Between two calls the guest may call the host, where threads could switch, too."""
    scenario = script.load("alone")

    def simulation(points: dict[int, int]) -> Simulation:
        return Simulation(module, scenario, seed=1, cpus=2, preempt=points)

    first = simulation({})
    scheduler, cpu = first.kernel.scheduler, first.kernel.cpu
    preempt = cpu.preempt
    calls: list[int] = []  # the number of the kernel call before each switch at a trap

    def preempted() -> None:
        calls.append(scheduler.calls)
        preempt()

    cpu.preempt = preempted  # type: ignore[method-assign]
    first.run()
    call = calls[0]
    hits = []
    for count in (20, 50_000):
        stopped = simulation({call: count})
        stopped.run()
        hits.append(stopped.kernel.scheduler.hits)
    assert hits == [1, 0]


def test_listed_races_show_correct_values_in_both_orders(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both orders of each entry are run; the driver's visible values are correct in both."""
    file = tmp_path / "reader.yaml"
    file.write_text(_READER, encoding="utf-8")
    scenario = script.load(file)
    seen: dict[str, list[Any]] = {}
    read = Simulation.sysctl

    def sysctl(simulation: Simulation, name: str, /) -> Any:
        value = read(simulation, name)
        seen.setdefault(name, []).append(value)
        return value

    monkeypatch.setattr(Simulation, "sysctl", sysctl)
    assert set(_NUMBERS) == known().fields
    orders: dict[str, set[bool]] = {}
    for seed in range(1, 7):
        seen.clear()
        found, used = played(module, scenario, seed)
        assert found == []
        for name, ways in used.items():
            orders.setdefault(name, set()).update(ways)
        steps = seen[_NUMBERS["vmt_softc.sc_clock.c_steps"]]
        polls = seen[_NUMBERS["vmt_softc.sc_counters"]]
        assert steps == [1, 2, 3]
        assert 0 < polls[0] < polls[1] < polls[2]
    assert orders == {name: {True, False} for name in _NUMBERS}
