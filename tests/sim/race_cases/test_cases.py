"""Each planted defect is found within a stated number of seeds, and its twin is clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.kernel.guestcode import compile_module

from .cases import CASES, Case
from .play import play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLEAN = 20  # seeds of each twin; ``make soak`` runs a thousand


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case, bool], Path]:
    """Build a case once."""
    made: dict[tuple[str, bool], Path] = {}

    def build(case: Case, planted: bool) -> Path:
        key = (case.name, planted)
        if key not in made:
            directory = tmp_path_factory.mktemp("race_cases")
            made[key] = compile_module(case.source(planted=planted), directory, case.machine)
        return made[key]

    return build


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_planted_defect_is_found(built: Callable[..., Path], case: Case) -> None:
    path = built(case, True)
    for seed in range(1, case.within + 1):
        found = play(path, case, seed)
        assert found <= case.rules
        if found:
            return
    pytest.fail(f"{case.name}: not found within {case.within} seeds")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_correct_twin_is_clean(built: Callable[..., Path], case: Case) -> None:
    path = built(case, False)
    assert [play(path, case, seed) for seed in range(1, _CLEAN + 1)] == [set()] * _CLEAN
