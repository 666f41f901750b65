"""Each row of the pages of differences from NetBSD has a test that exists, or a reason."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("docs/kernel-differences-*.md"))
# Rows of the review of part 1: A1 to A39, B1 to B47; of part 2: 1 to 52; of the probe: a to i.
ROWS = {*(f"A{n}" for n in range(1, 40)), *(f"B{n}" for n in range(1, 48))}
ROWS_2 = {*map(str, range(1, 53)), *(f"S2-7{letter}" for letter in "abcdefghi"), "S1-1"}


@cache
def known() -> set[str]:
    """The names of all tests."""
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    } | {path.stem for path in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_named_in_pages_exists(page: Path) -> None:
    named = set(re.findall(r"\b(test_\w+)", page.read_text("utf-8")))
    assert named
    assert named - known() == set()


def test_every_row_of_part_1_is_present() -> None:
    rows: dict[str, tuple[str, str]] = {}
    for line in PAGES[0].read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"[AB]\d+(, [AB]\d+)*", cells[0]):
            rows.update(dict.fromkeys(cells[0].split(", "), (cells[1], cells[2])))
    assert set(rows) == ROWS
    assert [row for row, (now, shown) in rows.items() if not shown and "Stays:" not in now] == []


def test_every_row_of_part_2_is_present() -> None:
    text = PAGES[1].read_text("utf-8")
    changed, _, rest = text.partition("## Remaining differences")
    stays, _, probe = rest.partition("## The probe: 97 checks")
    found: dict[str, str] = {}
    for part, shown in ((stays, r"\w+"), (changed + probe, r"test_\w+")):
        for line in part.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if re.fullmatch(r"(\d+|S[12]-\d\w?)(, \d+)*", cells[0]):
                assert re.search(shown, cells[2]), line
                found.update(dict.fromkeys(cells[0].split(", "), cells[2]))
    assert set(found) == ROWS_2
