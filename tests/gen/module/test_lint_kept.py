"""The linter's cache of findings in code: the same findings, and not those of other code."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.lint import code, kept
from vmtgen.lint.check import lint_file

from .c_cases import source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "netbsd-vmt"


@pytest.fixture
def faulty(build: Any) -> Path:
    """A module with a finding in its code."""
    path: Path = build(source(body='__asm volatile("vzeroupper");')).path
    return path


def _entries(home: Path) -> set[str]:
    return {path.name for path in home.glob("code-*")}


def test_second_run_uses_cache_without_disassembler(
    faulty: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lint_file(faulty)
    assert "fpu-code" in {found.rule for found in first}
    assert len(_entries(home)) == 1
    monkeypatch.setattr(code, "code_problems", None)  # not called again
    assert lint_file(faulty) == first


def test_changed_linter_invalidates_cache(
    faulty: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "lint"
    room.mkdir()
    file = room / "rule.py"
    file.write_text("a = 1\n", encoding="utf-8")
    monkeypatch.setattr(kept, "_MAKERS", (room,))
    lint_file(faulty)
    before = _entries(home)
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    lint_file(faulty)
    assert len(_entries(home) - before) == 1


@pytest.mark.parametrize("entry", [{}, "a", 3, [1], [["fpu-code", "f+0x1"]], [["a", "b", 3]]])
def test_damaged_cache_entry_is_ignored(faulty: Path, home: Path, entry: object) -> None:
    expected = lint_file(faulty)
    assert _entries(home)
    for path in home.glob("code-*"):
        path.write_text(json.dumps(entry), encoding="utf-8")
    assert lint_file(faulty) == expected
