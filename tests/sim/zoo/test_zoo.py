"""Each planted defect is found within a stated number of seeds, and its twin is clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.kernel.guestcode import compile_module

from .animals import ANIMALS, Animal
from .play import play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLEAN = 20  # seeds of each twin; ``make soak`` plays a thousand


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Animal, bool], Path]:
    """Build an animal once."""
    made: dict[tuple[str, bool], Path] = {}

    def build(animal: Animal, planted: bool) -> Path:
        key = (animal.name, planted)
        if key not in made:
            directory = tmp_path_factory.mktemp("zoo")
            made[key] = compile_module(animal.source(planted=planted), directory, animal.machine)
        return made[key]

    return build


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_planted_defect_is_found(built: Callable[..., Path], animal: Animal) -> None:
    path = built(animal, True)
    for seed in range(1, animal.within + 1):
        found = play(path, animal, seed)
        assert found <= animal.rules
        if found:
            return
    pytest.fail(f"{animal.name}: not found within {animal.within} seeds")


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_correct_twin_is_clean(built: Callable[..., Path], animal: Animal) -> None:
    path = built(animal, False)
    assert [play(path, animal, seed) for seed in range(1, _CLEAN + 1)] == [set()] * _CLEAN
