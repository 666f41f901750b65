"""docs/your-driver.md is followed word for word with drivers of other kinds."""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGE = Page(ROOT / "docs/your-driver.md", "your-driver.md")
MODULES = "tests/sim/modules"


@dataclass(frozen=True)
class Shape:
    """A driver that replaces classic.c: its file, the steps that replace the page's, its bug."""

    name: str
    steps: str
    rule: str


SHAPES = (
    Shape("seven", """
  - at: 1.0
    guest.open: {device: seven, name: a}
  - after: 0.5
    guest.read: {name: a, size: 20}
  - expect.trace: {kind: guest.done, verb: read, result: '7\\n'}
  - after: 0.5
    guest.close: a
""", "devsw-left"),
    Shape("degree", """
  - at: 1.0
    guest.envstat: degree0
  - expect.trace: {kind: guest.done, verb: envstat, result: "core: 40.000 degC"}
""", "envsys-sensor-freed"),
    Shape("ramdisk", """
  - at: 1.0
    guest.open: {device: ramdisk, name: a}
  - after: 0.5
    guest.seek: {name: a, offset: 65536}
  - after: 0.5
    guest.read: {name: a, size: 512}
  - expect.trace: {kind: guest.done, verb: read, result: EINVAL (22)}
  - after: 0.5
    guest.close: a
""", "buf-never-done"),
    Shape("beat", """
  - at: 1.0
    expect.console: "beat0: beat 3"
    within: 5
""", "callout-pending-at-detach"),
)  # fmt: skip


def _typed(shape: Shape) -> list[str]:
    """The page's commands for this checkout, with the shape's file and its steps."""
    blocks = "\n".join(block.text for block in PAGE.blocks if block.kind == "sh")
    text = blocks.replace("classic.c", f"{shape.name}.c").replace("classic driver", shape.name)
    steps = re.compile(r"^steps:\n.*?^END$", re.MULTILINE | re.DOTALL)
    text, count = steps.subn(lambda _match: f"steps:{shape.steps}END", text)
    assert count == 1
    here = re.compile(r"^cat > .*?^END$", re.MULTILINE | re.DOTALL)
    files = here.findall(text)
    return [*here.sub(lambda _match: "<FILE>", text).splitlines(), *files]


def _run(line: str, top: Path) -> int:
    """Run a line: the project's programs in this process, commands for files in a shell."""
    if not line.startswith(".venv/bin/"):
        return subprocess.run(line, shell=True, cwd=top, check=False).returncode
    words = shlex.split(line.partition(" || ")[0].partition(" >")[0])
    program = importlib.import_module(f"{Path(words[0]).name}.cli")
    with contextlib.chdir(top):
        return int(program.main(words[1:]))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_page_works_for_driver_of_another_kind(
    shape: Shape, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / MODULES).mkdir(parents=True)
    shutil.copy(ROOT / MODULES / f"{shape.name}.c", tmp_path / MODULES)
    lines = _typed(shape)
    (scenario,) = [line for line in lines if line.startswith("cat > ")]
    ours = 0
    for line in lines[: lines.index(scenario)]:
        command = scenario if line == "<FILE>" else line
        status = _run(command, tmp_path)
        out, err = capfd.readouterr()
        ours += command.startswith(".venv")
        if "/broken.kmod" in command:
            assert (status in {1, 3}, f": {shape.rule}: " in out) == (True, True), out + err
            continue
        assert status == 0, f"{command}: {out}{err}"
        if " models " in command:
            imports = re.search(r"(\d+) of (\d+) imports are modelled", out)
            assert imports is not None, out
            assert imports[1] == imports[2], out
        if " run " in command and ">/dev/null" not in command:
            assert "every property held" in out
    assert ours >= 8


def test_page_has_row_for_each_kind() -> None:
    rows = [line for line in PAGE.text.splitlines() if line.startswith(f"| `{MODULES}/")]
    assert len(rows) == len(SHAPES)
    for row, shape in zip(rows, SHAPES, strict=True):
        assert f"`{MODULES}/{shape.name}.c`" in row
        assert f"`{shape.rule}`" in row
