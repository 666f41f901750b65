"""The commands of BUILDING.md: those for this system are run, those for NetBSD are looked at."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = re.compile(r"(<!-- netbsd -->\n)?```sh\n(.*?)```", re.DOTALL)
_OURS = ("vmtgen", "vmtctl", "vmtsim")
# Programs of NetBSD and of its build that the text names.
_THEIRS = frozenset(
    {"cd", "make", "modload", "modunload", "drvctl", "cp", "chmod", "echo", "cksum", "tar",
     "./build.sh", "/usr/tools/bin/nbmake-amd64"}
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block of commands; `here` tells whether this system can run it."""

    here: bool
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each line, without comments."""
        lines = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [words for words in lines if words]


def _blocks(root: Path) -> list[Block]:
    text = (root / "BUILDING.md").read_text(encoding="utf-8")
    assert text.count("```sh") == len(_BLOCK.findall(text))
    return [Block(not marked, body) for marked, body in _BLOCK.findall(text)]


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, with an environment that runs the copy's own programs."""
    top = tmp_path_factory.mktemp("a checkout") / "netbsd-vmt"
    skip = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "tests", "bench", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(root, top, ignore=skip)
    programs = top / ".venv" / "bin"
    programs.mkdir(parents=True)
    path = ":".join(str(top / room) for room in ("gen", "sim", "userland"))
    _script(programs / "python", f'PYTHONPATH="{path}" exec "{sys.executable}" "$@"')
    for name in _OURS:
        _script(programs / name, f'exec "{programs}/python" -m {name} "$@"')
    (top / ".venv" / ".complete").touch()
    return top


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_commands_for_this_system_work(checkout: Path, root: Path) -> None:
    """In their order, because a later one may use what an earlier one made."""
    blocks = [block for block in _blocks(root) if block.here]
    assert len(blocks) >= 5
    environment = {**os.environ, "MAKEFLAGS": ""}
    for block in blocks:
        done = subprocess.run(
            ["sh", "-eu", "-c", block.text],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}{done.stderr}"
    assert (checkout / "build/11.0/amd64/vmt.kmod").is_file()
    assert (checkout / "build/11.99.5/amd64/vmt.kmod").is_file()
    assert (checkout / "dist/SHA512").is_file()


def _help(checkout: Path, program: str, verb: str) -> str:
    done = subprocess.run(
        [str(checkout / ".venv/bin" / program), verb, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program} {verb}: {done.stderr}"
    return done.stdout


def test_the_commands_for_netbsd_name_what_there_is(checkout: Path, root: Path) -> None:
    seen = 0
    for block in _blocks(root):
        if block.here:
            continue
        for program, *words in block.commands:
            name = program.rpartition("/")[2]
            if name not in _OURS:
                assert program in _THEIRS, f"{program}: is it NetBSD's? add it here"
                if program == "cd":
                    assert (root / words[0]).is_dir()
                continue
            told = _help(checkout, name, words[0])
            for word in words[1:]:
                if word.startswith("--"):
                    assert re.search(rf"{re.escape(word)}\b", told), f"{name} {words[0]} {word}"
                    seen += 1
    assert seen >= 4


def test_its_links_and_paths_lead_somewhere(root: Path) -> None:
    text = (root / "BUILDING.md").read_text(encoding="utf-8")
    titles = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in titles, anchor
    for place in re.findall(r"`((?:specs|gen|kmod|docs|templates)/[^`* ]*)`", text):
        assert (root / place).exists(), place


def test_the_archives_name_is_of_this_version(root: Path) -> None:
    from vmtgen import __version__

    text = (root / "BUILDING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"vmt-([0-9.]+)-netbsd", text)) == {__version__}


def test_the_install_place_is_the_archives(root: Path) -> None:
    """The manual of the archive, the Makefile and the text name one place."""
    text = (root / "BUILDING.md").read_text(encoding="utf-8")
    assert "/usr/pkg/stand/MACHINE/RELEASE/modules/vmt/vmt.kmod" in text
    makefile = (root / "kmod/Makefile").read_text(encoding="utf-8")
    assert "/usr/pkg/stand/${MACHINE}/${RELEASE}/modules/${KMOD}" in makefile
