"""Fixtures of the tests that go all the way from specs to a running module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stage import Workshop


@pytest.fixture
def workshop(root: Path, tmp_path: Path) -> Workshop:
    """A private copy of the specs and templates."""
    return Workshop.copied_from(root, tmp_path)
