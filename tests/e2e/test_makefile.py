"""GNU make and NetBSD's make run the same commands from the Makefile."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)


def commands(make: str, root: Path, *words: str) -> list[str]:
    result = subprocess.run(
        [make, "-n", *words], cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    # GNU make prints a command of several lines unchanged.
    joined = result.stdout.replace("\\\n", " ").splitlines()
    lines = [" ".join(line.split()) for line in joined]
    return [line for line in lines if not line.startswith(("make", "bmake"))]


@pytest.mark.parametrize("target", TARGETS)
def test_gnu_make_and_bmake_run_same_commands(
    root: Path, require_tool: Callable[[str], str], target: str
) -> None:
    gnu, bsd = require_tool("make"), require_tool("bmake")
    assert commands(gnu, root, target) == commands(bsd, root, target)


@pytest.mark.parametrize("make", ["make", "bmake"])
@pytest.mark.parametrize(
    ("machine", "folder"), [("amd64", "amd64"), ("aarch64", "aarch64"), ("evbarm", "aarch64")]
)
def test_each_machine_alias_builds_to_documented_path(
    root: Path, require_tool: Callable[[str], str], make: str, machine: str, folder: str
) -> None:
    result = commands(require_tool(make), root, f"MACHINE={machine}", "all")
    assert result[-1].endswith(f" build/11.0/{folder}/vmt.kmod")
    assert any(line.endswith(f"--machine {machine}") for line in result)
