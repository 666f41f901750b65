"""A missing barrier shows with store buffers; otherwise nothing shows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.sim.kernel.guestcode import MACHINES, compile_module

from .weak_cases import WEAK, Weak, wrong

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLEAN = 3  # seeds of each that must stay clean; ``make soak`` runs a thousand
_CASES = [(weak, machine) for weak in WEAK for machine in MACHINES]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Weak, str, bool], Path]:
    """Build one once."""

    @cache
    def build(weak: Weak, machine: str, planted: bool) -> Path:
        directory = tmp_path_factory.mktemp("weak")
        return compile_module(weak.source(planted=planted), directory, machine)

    return build


@pytest.mark.parametrize(("weak", "machine"), _CASES, ids=lambda each: getattr(each, "name", each))
def test_missing_barrier_shows_on_weakly_ordered_machine(
    built: Callable[..., Path], weak: Weak, machine: str
) -> None:
    path = built(weak, machine, True)
    seeds = range(1, weak.within + 1)
    found = next((seed for seed in seeds if wrong(path, machine, seed)), None)
    if machine not in weak.machines:
        assert found is None  # x86 keeps the order of stores
        return
    assert found is not None
    # Without buffers the same seeds show nothing: a switch of threads is not the cause.
    assert not any(wrong(path, machine, seed, store_buffers=False) for seed in seeds)


@pytest.mark.parametrize(("weak", "machine"), _CASES, ids=lambda each: getattr(each, "name", each))
def test_correct_barrier_shows_nothing(
    built: Callable[..., Path], weak: Weak, machine: str
) -> None:
    path = built(weak, machine, False)
    assert not any(wrong(path, machine, seed) for seed in range(1, _CLEAN + 1))
