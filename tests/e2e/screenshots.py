"""Makes every kind of picture and page, and takes a screenshot of each.

``python -m tests.e2e.screenshots DIRECTORY`` leaves pages and PNG files there, to be looked at;
those of docs/ are among them.  It needs build/11.0/amd64/vmt.kmod.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests import forked
from tests.e2e.browser import Browser
from tests.sim import modkit

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]


def make(driver: Path, directory: Path) -> Mapping[str, Path]:
    """Write one of each kind into ``directory``, from the driver and from a broken one."""
    # A sleep that no signal ends: one of the seeds finds it, and its schedule is reduced quickly.
    broken = modkit.built("mailbox", flags=("-DBUG=2",))
    made = {
        "conversation": directory / "conversation.svg",
        "lost-channel": directory / "lost-channel.svg",
        "coverage": directory / "coverage.html",
        "campaign": directory / "campaign.html",
        "failed-campaign": directory / "failed-campaign.html",
    }
    commands = [
        ["run", driver, "--svg", made["conversation"]],
        ["run", driver, "--scenario", "lost-channel", "--svg", made["lost-channel"]],
        ["coverage", driver, "--scenario", "boot-to-halt", "--html", made["coverage"]],
        ["campaign", driver, "--seeds", "5", "--jobs", "1", "--check-determinism", "0",
         "--html", made["campaign"]],
        ["campaign", broken, "--seeds", "1:8", "--jobs", "1",
         "--check-determinism", "0", "--max-reports", "1", "--html", made["failed-campaign"]],
    ]  # fmt: skip
    for words in commands:
        done = forked.run("vmtsim", *words)
        # A campaign that found something ends with 1 to 3.
        assert done.returncode in {0, 1, 2, 3}, f"{words}: {done.stderr}"
    return made


def main() -> int:
    """Make the pages, and take a screenshot of each on a light and on a dark background."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m tests.e2e.screenshots DIRECTORY\n")
        return 64
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("screenshots: no chromium here: install Debian's package of that name\n")
        return 69
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    pictures = dict(make(ROOT / "build/11.0/amd64/vmt.kmod", directory))
    pictures |= {f"docs-{path.stem}": path for path in sorted(ROOT.glob("docs/**/*.svg"))}
    with contextlib.closing(Browser(chromium)) as browser:
        for name, page in pictures.items():
            for dark in (False, True):
                png = directory / f"{name}{'-dark' if dark else ''}.png"
                browser.look(page, png, dark=dark)
                sys.stdout.write(f"{png}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
