"""The real driver in every scenario that ships, on a kernel without a vmt of its own and on one
with: the observations of host and kernel, and no leftovers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from vmtsim.scenario.script import shipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stage import SourceTree


@pytest.mark.parametrize("name", sorted(shipped()))
def test_driver_passes_scenario(
    played: Callable[[str, str], tuple[int, str, Path]], name: str
) -> None:
    status, output, _ = played("amd64", name)
    assert status == 0, output


@pytest.mark.parametrize("name", sorted(shipped()))
def test_driver_passes_scenario_beside_built_in_driver(
    module: Path, bench: SourceTree, name: str
) -> None:
    run = bench.run("vmtsim", "run", module, "--scenario", name, "--kernel", "builtin")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("seed", range(1, 6))
def test_driver_is_independent_of_schedule(module: Path, bench: SourceTree, seed: int) -> None:
    run = bench.run("vmtsim", "run", module, "--scenario", "detach-attach", "--seed", str(seed))
    assert run.returncode == 0, run.stdout + run.stderr


def test_same_seed_gives_identical_output(module: Path, bench: SourceTree, tmp_path: Path) -> None:
    traces = []
    for number in (1, 2):
        trace = tmp_path / f"{number}.jsonl"
        # Separate processes: each hashes strings differently.
        run = bench.command("vmtsim", "run", module, "--seed", "7", "--trace", trace)
        assert run.returncode == 0
        traces.append(trace.read_bytes())
    assert traces[0] == traces[1]
    assert all(json.loads(line) for line in traces[0].splitlines())


def test_readme_picture_matches_conversation(
    module: Path, bench: SourceTree, root: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "conversation.svg"
    assert bench.run("vmtsim", "run", module, "--svg", drawn).returncode == 0
    assert drawn.read_text() == (root / "docs" / "conversation.svg").read_text(), "make pictures"


def test_diagnostic_build_passes_scenario(diagnostic: Path, bench: SourceTree) -> None:
    run = bench.run("vmtsim", "run", diagnostic)
    assert run.returncode == 0, run.stdout + run.stderr
