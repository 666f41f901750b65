"""The linters, as tests: an absent linter skips its test, or fails it in CI."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def quiet(command: list[str], root: Path) -> None:
    """Run a linter; its output is the failure."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "NO_COLOR": "1"},
    )
    printed = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command[:6])}\n{printed}", pytrace=False)


def test_ruff_passes(root: Path, require_tool: Callable[[str], str]) -> None:
    quiet([require_tool("ruff"), "check", "--output-format=concise", "."], root)


@pytest.mark.parametrize(("packages", "version"), [("vmtgen vmtsim", "3.11"), ("vmtctl", "3.10")])
def test_mypy_passes(
    root: Path, require_tool: Callable[[str], str], packages: str, version: str
) -> None:
    named = [word for package in packages.split() for word in ("-p", package)]
    quiet([require_tool("mypy"), "--strict", f"--python-version={version}", *named], root)


def test_manual_page_passes_mandoc_lint(root: Path, require_tool: Callable[[str], str]) -> None:
    quiet([require_tool("mandoc"), "-Tlint", "-Wwarning", "kmod/vmt/vmt.4"], root)


def test_manual_page_fits_80_columns(root: Path) -> None:
    lines = (root / "kmod" / "vmt" / "vmt.4").read_text(encoding="utf-8").splitlines()
    prose = [line for line in lines if not line.startswith(".")]
    assert [line for line in prose if len(line) > 80] == []


def test_shellcheck_passes(root: Path, require_tool: Callable[[str], str]) -> None:
    shellcheck = require_tool("shellcheck")
    scripts = shell_scripts(root, require_tool("git"))
    assert root / ".ci" / "run" in scripts
    # rc.subr(8) sets and reads variables that shellcheck cannot see.
    services = [path for path in scripts if path.parent.name == "rc.d"]
    others = [path for path in scripts if path not in services]
    quiet([shellcheck, *map(str, others)], root)
    if services:
        quiet([shellcheck, "--exclude=SC2034,SC2154", *map(str, services)], root)
    # Files that other scripts source, and blocks that vmtctl inserts, have no #! line.
    parts = [root / "userland" / name for name in ("powerd/block", "rc.d/vmtools.conf")]
    quiet([shellcheck, "--shell=sh", "--exclude=SC2034", *map(str, parts)], root)


def test_codespell_passes(root: Path, require_tool: Callable[[str], str]) -> None:
    files = committed(root, require_tool("git"))
    assert root / "README.md" in files
    quiet([require_tool("codespell"), *(str(path.relative_to(root)) for path in files)], root)


def shell_scripts(root: Path, git: str) -> list[Path]:
    """Every committed file that begins by naming a shell."""
    return [path for path in committed(root, git) if names_a_shell(path)]


def committed(root: Path, git: str) -> list[Path]:
    """Every file that is in git and still there."""
    listed = subprocess.run(
        [git, "ls-files", "-z"], capture_output=True, text=True, check=False, cwd=root
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: cannot list the committed files")
    paths = [root / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def names_a_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(80)
    return first.startswith(b"#!") and first.rstrip().endswith((b"sh", b"bash"))
