"""Every link of the pages has an existing target: a file, a heading, a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import Page, pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.path: page for page in pages(ROOT)}


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Page) -> None:
    for link in page.links:
        if link.target.startswith("https://"):
            continue
        assert not re.match(r"\w+:", link.target), f"{page.name}: {link.target}"
        file, _, anchor = link.target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        assert path.exists(), f"{page.name}: {link.target}"
        assert path.is_relative_to(ROOT), f"{page.name}: {link.target}"
        if anchor:
            assert anchor in PAGES[path].anchors, f"{page.name}: {link.target}"


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_titles_of_test_links_name_existing_tests(page: Page) -> None:
    for link in page.links:
        path = page.path.parent / link.target
        if link.title and path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            assert re.search(rf"^ *def {link.title}\(", text, re.MULTILINE), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_link_names_are_defined_and_used(page: Page) -> None:
    assert page.references == set(page.definitions), page.name
