"""Text keeps to the glossary of CONTRIBUTING.md: none of the words in its third column.

Every committed text is searched, with identifiers and the file's own name, and every help text
as a user sees it. Backquotes quote a word on purpose; so does a comment ``sic`` at the end of a
line of code.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtctl import cli as vmtctl
from vmtctl.commands import COMMANDS
from vmtctl.grammar import walk
from vmtgen import cli as vmtgen
from vmtsim import cli as vmtsim

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
# Texts of others, figures and recordings: licences, measurements, a kernel's names.
OTHERS = ("LICENSE", "docs/bench/", "gen/vmtgen/kobj/kernels/", "tests/userland/recordings/")
PICTURES_AND_RECORDS = {".kmod", ".svg", ".json", ".jsonl", ".png", ".hex", ".cast"}
SIC = re.compile(r"(#|//|/\*|\\\"|\.\\\")\s*sic\b")
# The start of a line in a comment or in a string that continues from the line before.
LEADER = re.compile(r"^[\s#*/\"'|>]*(?:f[\"'])?")
FENCE = re.compile(r"^\s*```.*$", re.MULTILINE)
SPAN = re.compile(r"(`+)[^`]{1,160}?\1")


@cache
def denied() -> re.Pattern[str]:
    """The third column of the glossary as one pattern, a group for each entry."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("| term | meaning | not |")[1].split("\n\n")[0]
    rows = [line.split(" | ")[2] for line in table.splitlines() if line.count(" | ") == 2]
    turns = [turn for row in rows for turn in re.findall(r"`([^`]+)`", row)]
    assert len(rows) > 30
    return re.compile(r"\b(?:" + "|".join(map(pattern_of, turns)) + r")(?!\w)", re.IGNORECASE)


def pattern_of(turn: str) -> str:
    """A word with its inflections, or a turn of several words."""
    if " " not in turn:
        return re.escape(turn) + r"(?:s|es|d|ed|ing)?"
    words = [re.escape(word) for word in turn.split()]
    return r"\s".join(words).replace(r"\s\.\.\.\s", r"\s(?:\S+\s){1,5}?")


def plain(text: str) -> str:
    """Return the text on one line, identifiers as words, without text quoted on purpose."""
    lines = [line for line in FENCE.sub("", text).splitlines() if not SIC.search(line)]
    joined = " ".join(LEADER.sub("", line) for line in lines)
    words = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", SPAN.sub(" ", joined).replace("_", " "))
    return re.sub(r"[\s\"']+", " ", words)


def hits(text: str) -> list[str]:
    """Each hit with the words around it."""
    words = plain(text)
    return [
        words[max(0, match.start() - 35) : match.end() + 25] for match in denied().finditer(words)
    ]


@cache
def files() -> tuple[str, ...]:
    """Return every committed text of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: cannot list the committed files")
    return tuple(
        name
        for name in listed.stdout.split("\0")
        if name
        and not name.startswith(OTHERS)
        and Path(name).suffix not in PICTURES_AND_RECORDS
        and (ROOT / name).is_file()
    )


@cache
def hits_of_file(name: str) -> tuple[str, ...]:
    """The hits in a file and in its name, each with the file's name."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return tuple(f"{name}: ...{hit}..." for hit in hits(f"{name} \n{text}"))


def test_every_text_keeps_to_the_glossary() -> None:
    assert [hit for name in files() for hit in hits_of_file(name)] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("what the host was told", 1),  # sic
        ("def test_who_tells_whom():", 1),  # sic
        ("class NobodyError", 1),  # sic
        ("# two lines that hold a\n    # size against another", 1),  # sic
        ('raise Failure("a sign "\n    f"of life")', 1),  # sic
        ("define finer-grained mendacity", 0),
        ("the log has `nobody` in it", 0),  # sic
        ("x = WANTED  # sic: flag of open-vm-tools", 0),
    ],
)
def test_denied_word_is_found_unless_quoted(text: str, number: int) -> None:
    assert len(hits(text)) == number


HELP = [
    *((vmtgen.main, (*verb, "--help")) for verb in [(), *zip(vmtgen.PROGRAM.verbs)]),
    *((vmtsim.main, (*verb, "--help")) for verb in [(), *zip(vmtsim.PROGRAM.verbs)]),
    *((vmtctl.main, (*path, "--help")) for path in [(), *(path for path, _ in walk(COMMANDS))]),
]


@pytest.mark.parametrize(("main", "arguments"), HELP)
def test_help_keeps_to_the_glossary(
    main: Callable[[list[str]], int],
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with contextlib.suppress(SystemExit):
        main(list(arguments))
    text = capsys.readouterr().out
    assert "usage:" in text
    assert hits(text) == []
