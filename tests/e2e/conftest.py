"""Fixtures of the end-to-end tests, from specs to a running module."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stage import SourceTree

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def bench(root: Path) -> SourceTree:
    """The checkout itself."""
    return SourceTree(root)


def _built(bench: SourceTree, out: Path, *words: str) -> Path:
    built = bench.run("vmtgen", "build", "--out", out, "--json", *words)
    assert built.returncode == 0, built.stderr
    return Path(json.loads(built.stdout)["path"])


@pytest.fixture(scope="session")
def module(bench: SourceTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver as it ships."""
    return _built(bench, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def diagnostic(bench: SourceTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver with DIAGNOSTIC, as kernels of the current branch build it."""
    return _built(bench, tmp_path_factory.mktemp("diagnostic"), "--diagnostic")


@pytest.fixture(scope="session")
def modules(bench: SourceTree, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The driver for each machine."""
    out = tmp_path_factory.mktemp("machines")
    machines = ("amd64", "i386", "aarch64")
    return {machine: _built(bench, out, "--machine", machine) for machine in machines}


@pytest.fixture(scope="session")
def played(
    bench: SourceTree, modules: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], tuple[int, str, Path]]:
    """A function that runs a scenario on a machine, once for all tests.

    It returns the status of `vmtsim run`, its output, and its trace: the same arguments give the
    same run.
    """
    folder = tmp_path_factory.mktemp("played")

    @cache
    def play(machine: str, name: str) -> tuple[int, str, Path]:
        trace = folder / f"{machine}-{name}.jsonl"
        words = ("--scenario", name, "--summary", "--trace", trace)
        run = bench.run("vmtsim", "run", modules[machine], *words)
        return run.returncode, run.stdout + run.stderr, trace

    return play


@pytest.fixture
def source_tree(root: Path, tmp_path: Path) -> SourceTree:
    """A private copy of the specs and templates."""
    return SourceTree.copied_from(root, tmp_path)
