"""A headless Chromium that loads a page: returns the layout, and a screenshot."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import HANG

# Large enough for a whole page of this project; a screenshot has this size.
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
  const shortened = (text) => text.trim().replace(/\\s+/g, " ").slice(0, 60);
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
    if (box.left < frame.left - 1 || box.right > right + 1) cut.push(shortened(node.data));
    else if (chart && (box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
      cut.push(shortened(node.data));
    if (chart)
      for (const other of seen)
        if (other.chart === chart &&
            Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left) > 1 &&
            Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top) >
              Math.min(box.height, other.box.height) / 3)
          over.push([other.text, shortened(node.data)]);
    seen.push({chart, box, text: shortened(node.data)});
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


class Browser:
    """A Chromium that stays for many pages, spoken to over a pair of pipes.

    Chromium reads commands from descriptor 3 and writes answers to 4, each a JSON text followed
    by a NUL: the Chrome DevTools Protocol, chromedevtools.github.io/devtools-protocol.
    """

    def __init__(self, chromium: str) -> None:
        # Processes of the browser may still write into its profile for a moment.
        self._place = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        ours, theirs = os.pipe(), os.pipe()
        # Above 3 and 4, which the new process gets.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (*ours, *theirs)]
        for end in (*ours, *theirs):
            os.close(end)
        command = [chromium, *_OPTIONS, "--remote-debugging-pipe"]
        command += [f"--user-data-dir={self._place.name}/profile", "about:blank"]
        self._log = Path(self._place.name, "log")
        self._pid = os.posix_spawn(
            chromium, command, os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, ends[0], 3),
                (os.POSIX_SPAWN_DUP2, ends[3], 4),
                (os.POSIX_SPAWN_OPEN, 2, str(self._log), os.O_WRONLY | os.O_CREAT, 0o600),
            ],
            setsid=True,
        )  # fmt: skip
        os.close(ends[0])
        os.close(ends[3])
        self._to = os.fdopen(ends[1], "wb", buffering=0)
        self._from = os.fdopen(ends[2], "rb", buffering=0)
        self._read = b""
        self._number = 0

    def close(self) -> None:
        """End the browser and all of its processes."""
        with contextlib.suppress(OSError, AssertionError):
            self._ask("Browser.close")
            while self._message():
                pass  # until it closes its pipe
        with contextlib.suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._to.close()
        self._from.close()
        self._place.cleanup()

    def look(self, page: Path, screenshot: Path, *, dark: bool = False) -> Layout:
        """Open an HTML page or an SVG picture, write a PNG, and return how it was laid out."""
        copy = Path(self._place.name, "page.html")
        copy.write_text(_document(page, dark=dark) + _LOOK, encoding="utf-8")
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", session, features=[scheme])
        self._ask("Page.enable", session)
        self._ask("Page.navigate", session, url=copy.as_uri())
        while self._message().get("method") != "Page.loadEventFired":
            pass
        text = 'document.getElementById("laid-out")?.textContent'
        found = self._ask("Runtime.evaluate", session, expression=text)["result"].get("value")
        assert found, f"{page}: Chromium did not lay it out:\n{self._words()}"
        png = self._ask("Page.captureScreenshot", session)["data"]
        screenshot.write_bytes(base64.b64decode(png))
        self._ask("Target.closeTarget", targetId=target)
        layout = json.loads(found)
        layout["over"] = [tuple(pair) for pair in layout["over"]]
        return Layout(**layout)

    def _ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events before it are skipped."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        self._to.write(json.dumps(command).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            pass
        assert "result" in answer, f"{method}: {answer}"
        result: dict[str, Any] = answer["result"]
        return result

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], HANG)
            assert ready, f"Chromium does not answer:\n{self._words()}"
            more = self._from.read(1 << 16)
            assert more, f"Chromium has exited:\n{self._words()}"
            self._read += more
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _document(page: Path, *, dark: bool) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".svg":
        return text
    # As a browser shows a picture of a README: on a page with another background.
    ground = "#0d1117" if dark else "#ffffff"
    return (
        f'<!doctype html><meta charset="utf-8"><body style="margin:0;background:{ground}">'
        f"{text[text.index('<svg') :]}"
    )
