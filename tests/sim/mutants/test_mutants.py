"""A few mutants in every run of the tests; ``python -m tests.sim.mutants`` judges them all."""

from __future__ import annotations

import pytest

from .mutation import Mutant, judge, killers, mutants, scenario_of, stale

_ALL = mutants()


def test_every_mutant_applies_to_driver() -> None:
    assert stale(_ALL) == []


def test_mutants_have_unique_names_and_required_number() -> None:
    assert len({mutant.name for mutant in _ALL}) == len(_ALL) >= 40
    assert all(mutant.why and mutant.killers for mutant in _ALL)


def test_scenario_of_every_killer_is_valid() -> None:
    names = [each for each in killers(_ALL) if each.split()[0] not in {"check", "seeds", "driver"}]
    assert names
    for name in names:
        assert scenario_of(name).summary, name


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in _ALL if mutant.sample], ids=lambda mutant: mutant.name
)
def test_mutant_is_killed(mutant: Mutant) -> None:
    verdict = judge(mutant)
    assert verdict.killed, verdict.reason
