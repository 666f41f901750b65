"""Sets of specs for tests: a small valid one, and changes to it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = re.compile(r"#! (.*)$")


@pytest.fixture
def small(tmp_path: Path, root: Path) -> Path:
    """A copy of the small set, which may be changed; the targets are the real ones."""
    directory = tmp_path / "specs" / "small"
    shutil.copytree(FIXTURES / "small", directory)
    shutil.copy(root / "specs" / "netbsd.yaml", directory.parent)
    return directory


@pytest.fixture
def change(small: Path) -> Callable[[str, str, str], Path]:
    """A function that replaces a piece of text in one file of the small set."""

    def replace(name: str, old: str, new: str) -> Path:
        path = small / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} must have {old!r} exactly once"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return small

    return replace
