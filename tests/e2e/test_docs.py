"""The documentation is correct: its commands run, print what it shows, and name existing things."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import KINDS, Block, pages, shows
from vmtgen import modules
from vmtgen.build import sysroot

from tests import forked
from tests.programs import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.name: page for page in pages(ROOT)}
OURS = ("vmtgen", "vmtctl", "vmtsim")
ROOMS = "specs|gen|kmod|docs|templates|tests|sim|userland|bench|tools|pkgsrc"
# Commands that take minutes or remove shared files: only the names of make(1) targets are checked.
SLOW = re.compile(
    r"^make (test|coverage|bench|soak|mutants(?:-python)?|analyze|pictures|(?:dist)?clean)\b",
    re.MULTILINE,
)
# Programs of NetBSD, of its build and of QEMU that the pages name.
THEIRS = frozenset(
    {"cd", "make", "modload", "modunload", "modstat", "drvctl", "cp", "chmod", "echo", "cksum",
     "tar", "./build.sh", "/usr/tools/bin/nbmake-amd64", "qemu-system-x86_64", "config", "sh",
     "sysctl", "install", "mkdir", "rm", "nm", "sed", "sort", "comm", "grep", "printf", "pkgin",
     "pkg_add", "pkg_delete", "service", "vmware-rpctool"}
)  # fmt: skip


def parameters(*kinds: str) -> list[str]:
    """The pages that have blocks of a kind."""
    return [name for name, page in PAGES.items() if any(b.kind in kinds for b in page.blocks)]


@pytest.fixture(scope="module")
def ours() -> Iterator[str]:
    """How the programs start: the checkout's Python, which no page edits, for copies of it."""
    # Its key is the machine, and the headers are those of the working directory's checkout.
    with programs(*OURS, before=sysroot.own_headers.cache_clear) as command:
        yield command


@pytest.fixture(scope="module")
def made(ours: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout after `make build`."""
    top = tmp_path_factory.mktemp("a checkout") / "netbsd-vmt"
    skip = shutil.ignore_patterns(".git", ".venv", "dist", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, top, ignore=lambda at, names: {*skip(at, names), *_built(at)})
    bin_ = top / ".venv" / "bin"
    bin_.mkdir(parents=True)
    here = 'top=$(cd "$(dirname "$0")/../.." && pwd)\n'
    path = ":".join(f"$top/{room}" for room in ("gen", "sim", "userland"))
    module = "case $1/$2 in -m/" + "|-m/".join(OURS) + f') shift; exec {ours} "$@";; esac\n'
    _script(bin_ / "python", f'{module}{here}PYTHONPATH="{path}" exec "{sys.executable}" "$@"')
    for name in OURS:
        _script(bin_ / name, f'exec {ours} {name} "$@"')
    (top / ".venv" / ".complete").touch()
    # Objects are cached by content: one that another test compiled is not compiled again.
    (ROOT / "build" / ".cache").mkdir(parents=True, exist_ok=True)
    (top / "build").mkdir()
    (top / "build" / ".cache").symlink_to(ROOT / "build" / ".cache")
    built = shell("make build", top)
    assert built.returncode == 0, built.stdout
    return top


def _built(directory: str) -> list[str]:
    return ["build"] if Path(directory) == ROOT else []


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def checkout(made: Path, tmp_path: Path) -> Path:
    """A copy for one page alone."""
    return Path(shutil.copytree(made, tmp_path / "netbsd-vmt", symlinks=True))


def shell(commands: str, where: Path) -> subprocess.CompletedProcess[str]:
    """Run commands as typed, with their errors in place in the output.

    Background processes end with them: a page that fails half-way does not hang.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            ["sh", "-eu", "-c", commands],
            cwd=where,
            env={**os.environ, "MAKEFLAGS": ""},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        output.seek(0)
        return subprocess.CompletedProcess(commands, status, output.read())


def test_failing_page_ends_background_processes(tmp_path: Path) -> None:
    done = shell("sleep 1000000 &\necho before\nfalse\necho after", tmp_path)
    assert (done.returncode, done.stdout) == (1, "before\n")


def edit(block: Block, where: Path) -> None:
    """Make the edit of a block ``diff``; its line numbers may differ, its lines may not."""
    done = subprocess.run(
        ["git", "apply", "-"],
        input=block.text,
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}: the edit does not fit: {done.stderr}"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_has_a_tested_kind(name: str) -> None:
    before = ""
    for block in PAGES[name].blocks:
        assert block.kind in KINDS, f"{block.place}: ```{block.kind}: see tests/e2e/pages.py"
        if block.kind == "":
            assert before == "sh", f"{block.place}: shows output that no earlier command prints"
        else:
            before = block.kind
        if block.kind in {"text", "yaml", "c", "python", "json"}:
            typed = re.search(
                rf"^(?:(?:{'|'.join(OURS)}|make|[$#]) \S|\.venv/)", block.text, re.MULTILINE
            )
            assert typed is None, f"{block.place}: commands that are never run"


@pytest.mark.parametrize("name", parameters("sh", "diff"))
def test_commands_for_this_system_print_documented_output(name: str, checkout: Path) -> None:
    printed = ""
    for block in PAGES[name].blocks:
        if block.kind == "diff":
            edit(block, checkout)
        elif block.kind == "sh":
            done = shell(SLOW.sub(r"make -n \1 >/dev/null", block.text), checkout)
            assert done.returncode == 0, f"{block.place}: {block.text}\n{done.stdout}"
            printed = done.stdout
        elif block.kind == "":
            assert shows(block.text, printed), f"{block.place}: the output is:\n{printed}"


@pytest.fixture
def typed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """A function that types a command on a guest that has run for a minute."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "userland")
    from simguest import SimGuest

    sim_guest = SimGuest(tmp_path / "guest", made / "build/11.0/amd64/vmt.kmod")
    sim_guest.advance(60)

    def type_(command: str) -> str:
        assert command.startswith("vmtctl "), command
        tools = f'"{made}/.venv/bin/vmtctl" --tools-root "{sim_guest.root}"'
        done = shell(command.replace("vmtctl", tools, 1) + " || true", tmp_path)
        return done.stdout.replace(str(sim_guest.root), "")

    yield type_
    assert sim_guest.close() == 0, sim_guest.errors


@pytest.mark.parametrize("name", parameters("console guest"))
def test_simulated_guest_prints_documented_output(name: str, typed: Callable[[str], str]) -> None:
    for block in PAGES[name].blocks:
        if block.kind != "console guest":
            continue
        _, *pieces = re.split(r"^# (.*)\n", block.text, flags=re.MULTILINE)
        for command, expected in zip(pieces[::2], pieces[1::2], strict=True):
            printed = typed(command)
            assert shows(expected, printed), f"{block.place}: {command}: the output is:\n{printed}"


def parse(words: list[str]) -> None:
    """Parse a command line with the program's own parser; ValueError if it refuses."""
    program, verb, *rest = words
    if program == "vmtctl":
        from vmtctl import commands, exits, grammar

        try:
            grammar.parse(commands.COMMANDS, [verb, *rest])
        except exits.Failure as error:
            raise ValueError(str(error)) from error
        return
    try:
        module = importlib.import_module(f"{program}.verbs.{verb.replace('-', '_')}")
    except ImportError as error:
        raise ValueError(f"{program}: unknown command {verb}") from error
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    module.add_arguments(parser)
    try:
        parser.parse_args(rest)
    except (argparse.ArgumentError, SystemExit) as error:
        raise ValueError(str(error)) from error


@pytest.mark.parametrize(
    "name", [n for n, p in PAGES.items() if any(b.elsewhere for b in p.blocks)]
)
def test_commands_for_other_systems_are_valid(name: str) -> None:
    for block in PAGES[name].blocks:
        for words in block.words if block.elsewhere else ():
            program = words[0].rpartition("/")[2]
            if program in OURS:
                try:
                    parse([program, *words[1:]])
                except ValueError as error:
                    pytest.fail(f"{block.place}: {' '.join(words)}: {error}")
            else:
                assert words[0] in THEIRS, f"{block.place}: {words[0]}: add it to THEIRS?"
            for word in words:
                if re.match(rf"(?:{ROOMS})(?:/|$)", word):
                    assert (ROOT / word).exists(), f"{block.place}: {word}"


def test_invalid_command_line_is_detected() -> None:
    for line in (
        "vmtctl unlock",
        "vmtctl load --dri",
        "vmtgen build --machin i386",
        "vmtsim rum x",
    ):
        with pytest.raises(ValueError, match=r"."):
            parse(line.split())


def _options(words: list[str]) -> list[str]:
    return [match[0] for word in words if (match := re.match(r"--[a-z-]+", word))]


@pytest.mark.parametrize("name", PAGES)
def test_names_in_backquotes_exist(name: str, help_of: Callable[[str, str], str]) -> None:
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    for span in PAGES[name].spans:
        if re.fullmatch(rf"(?:{ROOMS})/[\w./-]*", span):
            for module in modules.known() if "NAME" in span else ("",):
                place = span.replace("NAME", module)
                assert (ROOT / place).exists(), f"{name}: {place}"
        words = span.split()
        if words[0] == "make" and len(words) == 2 and re.fullmatch(r"[a-z][a-z-]*", words[1]):
            assert words[1] in targets, f"{name}: {span}"
        if words[0] in OURS and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
            if words[1].startswith("-"):
                continue
            help_text = help_of(words[0], words[1])
            for option in _options(words[2:]):
                assert re.search(rf"{option}\b", help_text), f"{name}: {span}"


@pytest.fixture(scope="module")
def help_of() -> Callable[[str, str], str]:
    """The output of a verb's --help, cached."""
    known: dict[tuple[str, str], str] = {}

    def ask(program: str, verb: str) -> str:
        if (program, verb) not in known:
            done = forked.run(program, verb, "--help")
            assert done.returncode == 0, f"{program} {verb}: {done.stderr}"
            known[program, verb] = done.stdout
        return known[program, verb]

    return ask


def test_archive_name_has_current_version() -> None:
    from vmtgen import __version__

    assert set(re.findall(r"vmt-([0-9.]+)-netbsd", PAGES["BUILDING.md"].text)) == {__version__}


def test_documented_install_path_matches_archive() -> None:
    """The manual of the archive, the Makefile and the text name the same path."""
    assert "/usr/pkg/stand/MACHINE/RELEASE/modules/vmt/vmt.kmod" in PAGES["BUILDING.md"].text
    makefile = (ROOT / "kmod/vmt/Makefile").read_text(encoding="utf-8")
    assert "/usr/pkg/stand/${MACHINE}/${RELEASE}/modules/${KMOD}" in makefile
