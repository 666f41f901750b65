"""A headless Chromium that looks at a page: what it lays out, and a screenshot."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from tests.patience import HANG

# Room for all of a page of this project; a screenshot shows what fits.
WIDTH, HEIGHT = 1280, 1600
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}",
)  # fmt: skip
# Checks every piece of text as it was laid out, and writes the defects as JSON.
_LOOK = """
<script>
window.addEventListener("load", () => {
  const seen = [], cut = [], over = [];
  const say = (text) => text.trim().replace(/\\s+/g, " ").slice(0, 60);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, style, title, desc, details:not([open])"))
      continue;
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width === 0) continue;
    const chart = parent.closest("svg");
    const frame = (chart || document.documentElement).getBoundingClientRect();
    const right = chart ? frame.right : document.documentElement.clientWidth;
    if (box.left < frame.left - 1 || box.right > right + 1) cut.push(say(node.data));
    else if (chart && (box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
      cut.push(say(node.data));
    if (chart)
      for (const other of seen)
        if (other.chart === chart &&
            Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left) > 1 &&
            Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top) >
              Math.min(box.height, other.box.height) / 3)
          over.push([other.text, say(node.data)]);
    seen.push({chart, box, text: say(node.data)});
  }
  const fetched = [...document.querySelectorAll("[src], link[href], image[href], use[href]")]
    .map((each) => each.getAttribute("src") || each.getAttribute("href"))
    .concat([...document.querySelectorAll("style")].flatMap(
      (each) => [...each.textContent.matchAll(/url\\(([^)]*)\\)|@import ([^;]*)/g)]
        .map((found) => found[1] || found[2])))
    .filter((from) => !from.startsWith("#") && !from.startsWith("data:"));
  const found = document.createElement("pre");
  found.id = "laid-out";
  found.hidden = true;
  found.textContent = JSON.stringify({texts: seen.map((each) => each.text), cut, over, fetched});
  document.body.append(found);
});
</script>
"""


@dataclass(frozen=True)
class Layout:
    """The result of laying out a page.

    ``texts`` are all pieces of text that show; ``cut`` those that leave the page or their chart;
    ``over`` pairs in a chart of which one covers the other; ``fetched`` what the page loads
    from elsewhere.
    """

    texts: list[str]
    cut: list[str]
    over: list[tuple[str, str]]
    fetched: list[str]


def look(chromium: str, page: Path, screenshot: Path, *, dark: bool = False) -> Layout:
    """Open an HTML page or an SVG picture, write a PNG, and return how it was laid out."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".svg":
        # As a browser shows a picture of a README: on a page of its own colour.
        ground = "#0d1117" if dark else "#ffffff"
        text = (
            f'<!doctype html><meta charset="utf-8"><body style="margin:0;background:{ground}">'
            f"{text[text.index('<svg') :]}"
        )
    # Processes of the browser may still write into its profile for a moment.
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as place:
        copy = Path(place, "page.html")
        copy.write_text(text + _LOOK, encoding="utf-8")
        command = [chromium, *_OPTIONS, f"--user-data-dir={place}/profile"]
        if dark:
            command.append("--blink-settings=preferredColorScheme=0")
        command += ["--dump-dom", f"--screenshot={screenshot.resolve()}", copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    found = re.search(r'<pre id="laid-out"[^>]*>(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"{page}: Chromium did not lay it out:\n{done.stderr[-2000:]}"
    layout = json.loads(unescape(found[1]))
    layout["over"] = [tuple(pair) for pair in layout["over"]]
    return Layout(**layout)
