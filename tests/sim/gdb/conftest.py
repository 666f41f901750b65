"""The test guest, built once, and sessions with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from guestkit import Guest, build_guest


@pytest.fixture(scope="session")
def guest(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The guest with the driver as it ships inside."""
    return build_guest(root, tmp_path_factory.mktemp("guest"))
