"""Fixtures for tests of kernel models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import Code, compile_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Code]:
    """Build C text and load it: ``load(SOURCE)`` or ``load(SOURCE, "i386", seed=7)``."""

    def loaded(source: str, machine: str = "amd64", seed: int = 1, **kernel: bool) -> Code:
        return Code(compile_module(source, tmp_path, machine), machine, seed, **kernel)

    return loaded
