"""docs/your-driver.md, followed literally: its commands run, and print what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"```(sh)?\n(.*?)```", re.DOTALL)


def test_every_command_prints_what_the_page_shows(root: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / "tests").symlink_to(root / "tests")
    text = (root / "docs" / "your-driver.md").read_text(encoding="utf-8")
    printed = ""
    blocks = _BLOCK.findall(text)
    assert len(blocks) == 8
    for language, body in blocks:
        if language == "sh":
            done = subprocess.run(
                ["/bin/sh", "-ec", body], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, body + done.stdout + done.stderr
            printed = done.stdout
            continue
        place = 0
        for line in body.splitlines():
            if line == "...":
                continue
            found = printed.find(line, place)
            assert found >= 0, f"the page shows {line!r}, the command printed {printed}"
            place = found + len(line)
