"""Holds what `vmtgen upstream` makes against a source tree of NetBSD.

What a tree has is read off its config(5) files, as text: NetBSD's config(1) itself is not run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from vmtgen.build.sysroot import tree_version
from vmtgen.common.errors import ReportedError
from vmtgen.package.upstream import EDITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Action = Literal["delete", "remove", "want"]
_FIELDS = {"delete": 2, "remove": 3, "want": 3}


@dataclass(frozen=True)
class Edit:
    """A change that a human makes: a line of EDITS. `line` is empty for a file to delete."""

    action: Action
    file: str
    line: str


@dataclass(frozen=True)
class Finding:
    """Something of a tree that is not as EDITS and files.vmt take it to be."""

    file: str
    message: str


def edits(text: str) -> list[Edit]:
    """Return the lines of EDITS; raises ReportedError where one is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != _FIELDS.get(fields[0]) or "" in fields:
            raise ReportedError(f"{EDITS}:{number}: not an action, a file and a line: {line!r}")
        found.append(Edit(cast("Action", fields[0]), fields[1], " ".join(fields[2:])))
    return found


def check(texts: Mapping[str, str], sys: Path) -> tuple[list[Finding], list[str]]:
    """Return what does not fit the tree at `sys`, and the files that could not be looked at.

    The latter are outside of sys/ and are missing where only sys/ is there. Raises
    MissingInputError where `sys` is no NetBSD sys/ tree.
    """
    tree_version(sys)
    top = sys.resolve().parent
    wanted = edits(texts[EDITS])
    absent = sorted({e.file for e in wanted if not e.file.startswith("sys/")})
    absent = [name for name in absent if not (top / name).is_file()]
    findings = [
        Finding(edit.file, message)
        for edit in wanted
        if edit.file not in absent and (message := _wrong(edit, sys.resolve()))
    ]
    known = set(_attributes(sys))
    findings += [
        Finding("sys/dev/vmt/files.vmt", f"no files.* of the tree defines {name}")
        for name in _needed(texts["sys/dev/vmt/files.vmt"], wanted)
        if name not in known
    ]
    return findings, absent


def _wrong(edit: Edit, sys: Path) -> str | None:
    path = sys / edit.file.removeprefix("sys/")
    if not edit.file.startswith("sys/"):
        path = sys.parent / edit.file
    if not path.is_file():
        return "no such file"
    if edit.action == "delete" or edit.line in set(_lines(path)):
        return None
    return f"no line: {edit.line}"


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file without comments, and with single blanks."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        yield " ".join(line.partition("#")[0].split())


def _attributes(sys: Path) -> Iterator[str]:
    """Yield the attributes and devices that the tree's files.* define."""
    for pattern in ("conf/files*", "dev/**/files.*", "arch/*/conf/files.*"):
        for path in sorted(sys.glob(pattern)):
            for line in _lines(path):
                if match := re.match(r"(?:define|device) (\w+)", line):
                    yield match[1]


def _needed(fragment: str, wanted: list[Edit]) -> list[str]:
    """Return the attributes that our device depends on and attaches at."""
    names: list[str] = []
    for line in fragment.splitlines():
        if match := re.match(r"device\s+\w+:\s*(.*)", line):
            names += [name.strip() for name in match[1].split(",")]
    for edit in wanted:
        if match := re.fullmatch(r"attach \w+ at (\w+)", edit.line):
            names.append(match[1])
    return sorted(set(names))
