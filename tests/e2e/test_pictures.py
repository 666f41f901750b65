"""Pictures are legible: a browser lays them out, and nothing is cut off or covered."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Browser, Layout
from screenshots import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
# The required text of each page: one word of each of its parts.
SHOWN = {
    "conversation": ["VMware host", "powerd", "OS_Halt", "power_button pressed"],
    "lost-channel": ["VMware host", "driver", "lost: channel 0: forgotten by the host"],
    "coverage": ["Line coverage of vmt.kmod", "vmt_tclo.c"],
    "campaign": ["Campaign over vmt.kmod", "ok: nothing failed"],
    "failed-campaign": [
        "Campaign over mailbox.kmod",
        "NOT LIVE: the guest hangs, or did not recover",
    ],
}


@pytest.fixture(scope="module")
def made(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return make(module, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def browser(require_tool: Callable[[str], str]) -> Iterator[Browser]:
    with contextlib.closing(Browser(require_tool("chromium"))) as browser:
        yield browser


def colours(png: Path) -> int:
    """Count the different rows of pixels in a PNG: a blank page has one or two."""
    data, at, packed, width = png.read_bytes(), 8, b"", 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IHDR":
            width = int.from_bytes(data[at + 8 : at + 12], "big")
            channels = {2: 3, 6: 4}[data[at + 17]]
        elif kind == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += size + 12
    pixels = zlib.decompress(packed)
    row = width * channels + 1
    return len({pixels[start : start + row] for start in range(0, len(pixels), row)})


def check(layout: Layout, png: Path) -> None:
    assert layout.cut == []
    assert layout.over == []
    assert layout.fetched == [], "a page must contain everything that it shows"
    assert colours(png) > 20, "nothing is drawn"


@pytest.mark.parametrize("name", SHOWN)
def test_picture_shows_all_parts_without_overlap(
    name: str, made: Mapping[str, Path], browser: Browser, tmp_path: Path
) -> None:
    png = tmp_path / "shot.png"
    layout = browser.look(made[name], png)
    for text in SHOWN[name]:
        assert any(text in shown for shown in layout.texts), f"{text!r} is missing"
    check(layout, png)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.svg")), ids=lambda page: page.stem)
def test_picture_in_documentation_is_complete(page: Path, browser: Browser, tmp_path: Path) -> None:
    png = tmp_path / "shot.png"
    check(browser.look(page, png), png)


def test_browser_detects_cut_covered_or_fetched_content(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.svg"
    bad.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="80">'
        '<text x="150" y="20">much too long for it</text>'
        '<text x="5" y="50">one</text><text x="8" y="52">two</text></svg>',
        encoding="utf-8",
    )
    layout = browser.look(bad, tmp_path / "bad.png")
    assert layout.cut == ["much too long for it"]
    assert layout.over == [("one", "two")]
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><link rel="stylesheet" href="a.css"><style>p {background: url(b.png)}'
        '</style><p>x<a href="https://www.netbsd.org/">a link is allowed</a><img src="data:,">',
        encoding="utf-8",
    )
    assert browser.look(page, tmp_path / "page.png").fetched == ["a.css", "b.png"]
