"""Fixtures of the end-to-end tests, from specs to a running module."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stage import SourceTree


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


@pytest.fixture
def source_tree(root: Path, tmp_path: Path) -> SourceTree:
    """A private copy of the specs and templates."""
    return SourceTree.copied_from(root, tmp_path)
