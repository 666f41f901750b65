"""The cost of larger specs: with up to ten times the commands, settings, texts and items.

The copies are of the simplest kind, so that only the specs grow: a command that logs and replies,
a setting that is ignored, a log text, a text item of guest information.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Found, Growth, Series
from bench.timing import python, run_measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Plan

ROOT = Path(__file__).resolve().parents[1]
FACTORS = (1, 2, 5, 10)
# Keys of guest information go up to 255; 1 to 11 are in use.
_FIRST_KEY = 20


def _item(number: int) -> str:
    return (
        f'bench-{number}: {{key: {_FIRST_KEY + number}, value: "{{hostname}} {number}",'
        " send: change, period: 60, limit: 128}"
    )


# The file, its top-level mapping, and the text of one more entry.
KINDS: tuple[tuple[str, str, Callable[[int], str]], ...] = (
    ("tclo.yaml", "commands", lambda n:
        f"Bench_{n}: {{doc: Copy {n}., arguments: none, log: bench-{n}, reply: copy {n}}}"),
    ("tclo.yaml", "options", lambda n: f"bench.option.{n}: {{type: ignored, doc: Copy {n}.}}"),
    ("driver.yaml", "logs", lambda n:
        f"bench-{n}: {{level: notice, console: true, host: true, text: the host sent {n}}}"),
    ("guestinfo.yaml", "items", _item),
)  # fmt: skip


def entries(text: str, section: str) -> int:
    """Return how many entries a top-level mapping of a spec has."""
    lines = iter(text.splitlines())
    for line in lines:
        if line == f"{section}:":
            break
    count = 0
    for line in lines:
        if line and not line.startswith((" ", "#")):
            break
        count += line.startswith("  ") and line[2:3] not in {" ", "#", ""}
    return count


def grow(specs: Path, factor: int) -> int:
    """Multiply the entries of the specs in a directory by ``factor``; return their number.

    Raises RuntimeError where a file lacks the section.
    """
    total = 0
    # Each command names its own log text, so that there are as many of these.
    commands = entries((specs / "tclo.yaml").read_text(encoding="utf-8"), "commands")
    for file, section, entry in KINDS:
        path = specs / file
        text = path.read_text(encoding="utf-8")
        before = entries(text, section)
        if before == 0 or text.count(f"\n{section}:\n") != 1:
            raise RuntimeError(f"{path}: where is the mapping {section!r}?")
        more = (factor - 1) * (max(before, commands) if section == "logs" else before)
        lines = "".join(f"  {entry(number)}\n" for number in range(more))
        path.write_text(text.replace(f"\n{section}:\n", f"\n{section}:\n{lines}"), encoding="utf-8")
        total += before + more
    return total


def _steps(top: Path, cache: Path) -> dict[str, tuple[str, ...]]:
    out, module = top / "out", top / "module"
    return {
        "generate": python(
            "-m",
            "vmtgen",
            "generate",
            "--module",
            "vmt",
            "--specs",
            str(top / "specs"),
            "--out",
            str(out),
        ),
        "build from nothing": python(
            "-m", "bench.cold", str(out / "kmod" / "vmt"), str(module), str(cache)
        ),
        "lint": python("-m", "vmtgen", "lint", str(module / "vmt.kmod")),
    }


def _sizes(module: Path) -> dict[str, float]:
    """Return the KiB of the module's parts; another process reads them, as it may grow large."""
    import json  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    ask = (
        "import json, sys; from pathlib import Path; from vmtgen.kobj import read_module;"
        "print(json.dumps(read_module(Path(sys.argv[1])).sizes))"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask, str(module)], capture_output=True, check=True, cwd=ROOT
    )
    return {name: size / 1024 for name, size in json.loads(done.stdout).items()}


def measure(plan: Plan) -> Found:
    """Measure each factor with empty caches; the minimum of two runs counts."""
    factors = FACTORS[:2] if plan.quick else FACTORS
    names = ("generate", "build from nothing", "lint")
    cpu: dict[str, list[float]] = {name: [] for name in names}
    parts: dict[str, list[float]] = {name: [] for name in ("text", "rodata", "data")}
    counts: list[int] = []
    for factor in factors:
        with tempfile.TemporaryDirectory() as name:
            top = Path(name)
            shutil.copytree(ROOT / "specs", top / "specs")
            counts.append(grow(top / "specs" / "vmt", factor))
            least = dict.fromkeys(names, float("inf"))
            for run in range(1 if plan.quick else 2):
                shutil.rmtree(top / "out", ignore_errors=True)
                for step, command in _steps(top, top / f"cache{run}").items():
                    least[step] = min(least[step], run_measured(command, cwd=ROOT).cpu)
            for step, value in least.items():
                cpu[step].append(value)
            weights = _sizes(top / "module" / "vmt.kmod")
            for part, found in parts.items():
                found.append(weights[part])
    growth = Growth(
        "specs",
        "Specs",
        f"The driver from specs with {counts[0]} entries (commands, settings, log texts, items of"
        f" guest information) and with up to {factors[-1]} times as many.",
        "times the entries",
        factors,
        (
            *(Series(step, "CPU s", tuple(values)) for step, values in cpu.items()),
            *(Series(part, "KiB", tuple(values)) for part, values in parts.items()),
        ),
    )
    return Found(growth=(growth,))
