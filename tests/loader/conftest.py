"""The broken modules, made once in a session."""

from __future__ import annotations

import pytest

from .mutants import Mutant, make


@pytest.fixture(scope="session")
def mutants(tmp_path_factory: pytest.TempPathFactory) -> list[Mutant]:
    return make(tmp_path_factory.mktemp("mutants"))
