"""docs/FEATURES.md names tests and scenarios; each of them exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtsim.scenario.script import shipped

if TYPE_CHECKING:
    from pathlib import Path


def _names(root: Path) -> list[str]:
    text = (root / "docs" / "FEATURES.md").read_text(encoding="utf-8")
    return re.findall(r"`([^`]+)`", text)


def test_every_named_test_exists(root: Path) -> None:
    named = [name.split(": ") for name in _names(root) if re.match(r"test_\w+: test_", name)]
    assert len(named) > 50
    for file, name in named:
        files = list((root / "tests").rglob(f"{file}.py"))
        texts = [path.read_text(encoding="utf-8") for path in files]
        assert any(f"def {name}(" in text for text in texts), f"{file}: {name}"


def test_every_named_scenario_and_file_exists(root: Path) -> None:
    scenarios = [name for name in _names(root) if re.fullmatch(r"[\w-]+\.yaml", name)]
    assert len(scenarios) > 15
    assert {name.removesuffix(".yaml") for name in scenarios} <= set(shipped())
    for name in _names(root):
        if name.startswith(("tests/", "bench/", "sim/")):
            assert (root / name).exists(), name


def test_every_row_describes_project_driver(root: Path) -> None:
    text = (root / "docs" / "FEATURES.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.rstrip("|").rpartition("|")[2].strip() for line in rows)
