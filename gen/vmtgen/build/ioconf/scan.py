"""Reads config(5) files into statements of tokens; it resolves includes and conditionals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import from_os_error
from vmtgen.common.files import shown
from vmtgen.common.located import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# usr.bin/config/scan.l: PATH, QCHARS, WORD and the numbers, longest first.
_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t]+|\#.*)
  | (?P<string>"(?:\\.|[^\\"])*")
  | (?P<path>[A-Za-z_0-9]*[./][-A-Za-z_0-9./]*)
  | (?P<word>[A-Za-z_][-A-Za-z_0-9]*)
  | (?P<number>0[xX][0-9a-fA-F]+|[0-9]+)
  | (?P<sign>\+=|:=|.)
    """,
    re.VERBOSE,
)
_CONDITIONAL = re.compile(r"[ \t]*(ifdef|ifndef|elifdef|elifndef|else|endif)\b[ \t]*([^\s#]*)")


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``kind`` is string, path, word, number or sign."""

    kind: str
    text: str

    @property
    def number(self) -> int:
        """The value of a number: decimal, 0x hexadecimal or 0 octal."""
        return int(self.text, 8 if self._octal else 0)

    @property
    def canonical(self) -> str:
        """A number as config(1) writes it: in its original base, without padding."""
        if self._octal:
            return f"0{self.number:o}" if self.number else "0"
        return hex(self.number) if self.text[:2].lower() == "0x" else str(self.number)

    @property
    def _octal(self) -> bool:
        return self.text[:1] == "0" and self.text.isdigit()


@dataclass(frozen=True, slots=True)
class Statement:
    """A line with its continuations (lines that begin with a blank), and where it begins."""

    path: str
    line: int
    tokens: tuple[Token, ...]

    def problem(self, message: str) -> Problem:
        """Return a problem of this statement."""
        return Problem(self.path, self.line, 0, "", message)


class Scanner:
    """Yields the statements of a file and of the files that it includes.

    ``is_attribute`` returns whether an attribute is defined so far, for ifdef.  ``problems``
    collects what cannot be read; the scan continues.
    """

    def __init__(self, sys: Path, is_attribute: Callable[[str], bool]) -> None:
        self._sys = sys
        self._is_attribute = is_attribute
        self._prefixes: list[str] = []
        self.problems: list[Problem] = []

    def statements(self, file: Path) -> Iterator[Statement]:
        """Iterate over the statements of ``file``. Raises ReportedError if it cannot be read."""
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise from_os_error(error, f"read {shown(file)}") from error
        name = shown(file)
        for line, joined in self._active(name, text):
            tokens = tuple(self._tokens(joined))
            if not tokens:
                continue
            statement = Statement(name, line, tokens)
            word = tokens[0].text
            if word in {"include", "cinclude"} and len(tokens) == 2:
                yield from self._included(statement, file.parent)
            elif word == "prefix":
                self._prefix(statement)
            else:
                yield statement

    def _tokens(self, text: str) -> Iterator[Token]:
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup or "sign"
            if kind == "string":
                yield Token(kind, match[0][1:-1])
            elif kind != "blank":
                yield Token(kind, match[0])

    def _prefix(self, statement: Statement) -> None:
        if len(statement.tokens) == 1:
            if self._prefixes:
                self._prefixes.pop()
            else:
                self.problems.append(statement.problem("no prefix is open"))
            return
        # util.c, prefixlist_push: a prefix is relative to the one that is open.
        self._prefixes.append("/".join([*self._prefixes[-1:], statement.tokens[1].text]))

    def _included(self, statement: Statement, directory: Path) -> Iterator[Statement]:
        name = statement.tokens[1].text
        # scan.l, include(): beside this file, or below the source directory (-s) and the prefix.
        if name.startswith("./"):
            file = directory / name
        else:
            file = self._sys.joinpath(*self._prefixes[-1:], name)
        if file.is_file():
            yield from self.statements(file)
        elif statement.tokens[0].text == "include":
            self.problems.append(statement.problem(f"cannot open {shown(file)}"))

    def _active(self, name: str, text: str) -> Iterator[tuple[int, str]]:
        """Join continuations, and omit lines that conditionals disable."""
        open_: list[_Condition] = []
        start, joined = 0, ""
        for number, line in enumerate(text.splitlines(), 1):
            found = _CONDITIONAL.match(line)
            if found:
                self._conditional(open_, name, number, found[1], found[2])
                continue
            if not all(condition.on for condition in open_):
                continue
            if line[:1] in {" ", "\t"} and joined:
                joined += " " + _without_comment(line)
                continue
            if joined:
                yield start, joined
            start, joined = number, _without_comment(line)
        if joined:
            yield start, joined
        if open_:
            self.problems.append(Problem(name, open_[-1].line, 0, "", "no endif for this ifdef"))

    def _conditional(
        self, open_: list[_Condition], name: str, line: int, word: str, attribute: str
    ) -> None:
        if word in {"ifdef", "ifndef"}:
            truth = self._is_attribute(attribute) == (word == "ifdef")
            open_.append(_Condition(line, truth))
        elif not open_:
            self.problems.append(Problem(name, line, 0, "", f"{word} without ifdef"))
        elif word == "endif":
            open_.pop()
        elif word == "else":
            open_[-1].turn(truth=True)
        else:
            open_[-1].turn(truth=self._is_attribute(attribute) == (word == "elifdef"))


class _Condition:
    """One ifdef: whether its current branch is active, and whether one was active before."""

    def __init__(self, line: int, truth: bool) -> None:
        self.line = line
        self.on = self._taken = truth

    def turn(self, *, truth: bool) -> None:
        """Go to the next branch, active if ``truth`` is true and no branch was active before."""
        self.on = truth and not self._taken
        self._taken |= truth


def _without_comment(line: str) -> str:
    # A "#" inside a string is kept; the tokenizer drops the rest of comments.
    quoted = False
    for place, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == "#" and not quoted:
            return line[:place]
    return line
