"""docs/peers.md: each cell cites a test or a source, or states that there is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = Page(ROOT / "docs" / "peers.md", "docs/peers.md")


def cells() -> Iterator[tuple[str, str, bool]]:
    """Every cell with the name of its row, and whether it is about this project."""
    rows = [line for line in PAGE.prose.splitlines() if line.startswith("| ")]
    for row in rows:
        what, ours, *others = [cell.strip() for cell in row.strip("|").split("|")]
        if what:
            yield what, ours, True
            yield from ((what, other, False) for other in others)


def test_cells_about_us_cite_test_or_say_not_done() -> None:
    ours = [(what, cell) for what, cell, is_ours in cells() if is_ours]
    assert len(ours) > 30
    for what, cell in ours:
        names = re.findall(r"\]\[(\w+)\]", cell)
        targets = [PAGE.definitions[name].target for name in names]
        cited = targets and all(target.startswith("../tests/") for target in targets)
        assert cited or cell.startswith("not done"), f"{what}: {cell}"


def test_cells_about_others_cite_source_or_say_unknown() -> None:
    others = [(what, cell) for what, cell, is_ours in cells() if not is_ours]
    for what, cell in others:
        names = re.findall(r"\]\[(\w+)\]", cell)
        targets = [PAGE.definitions[name].target for name in names]
        cited = targets and all(target.startswith("https://") for target in targets)
        assert cited or cell == "not known", f"{what}: {cell}"
