"""Fixtures for tests of kernel models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .guestcode import Code, compile_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def _built() -> dict[tuple[str, str], Path]:
    """Modules built in this run, by source text and machine: they are loaded and not changed."""
    return {}


@pytest.fixture
def load(
    _built: dict[tuple[str, str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Code]:
    """Build C text and load it: ``load(SOURCE)`` or ``load(SOURCE, "i386", seed=7)``."""

    def loaded(source: str, machine: str = "amd64", seed: int = 1, **kernel: Any) -> Code:
        key = (source, machine)
        if key not in _built:
            _built[key] = compile_module(source, tmp_path_factory.mktemp("tried"), machine)
        return Code(_built[key], machine, seed, **kernel)

    return loaded
