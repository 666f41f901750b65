"""Splits a shell script into words, without running it.

This is POSIX token recognition (Shell Command Language 2.2 and 2.3), as in NetBSD's sh(1).
Here-documents are not supported.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATORS = ("&&", "||", ";;", "<<", ">>", ">&", "<&", ">|", "<>", "&", "|", ";", "(", ")",
              "<", ">", "\n")  # fmt: skip


class Unreadable(Exception):  # noqa: N818 - a property of the text
    """This reader does not support the rest of the text."""


class Word:
    """A word: its text without quotes, and whether it is the same in every run."""

    __slots__ = ("bare", "fixed", "operator", "text")

    def __init__(self, text: str, *, fixed: bool = True, bare: bool, operator: bool = False):
        self.text = text
        self.fixed = fixed
        self.bare = bare  # no part of it is quoted
        self.operator = operator


def tokens(text: str) -> Iterator[Word]:
    """Yield words and operators. Raises Unreadable."""
    at, end = 0, len(text)
    while at < end:
        if text[at] in " \t":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif text[at] == "#":
            while at < end and text[at] != "\n":
                at += 1
        else:
            operator = next((each for each in OPERATORS if text.startswith(each, at)), "")
            if operator == "<<":
                raise Unreadable
            if operator:
                yield Word(operator, bare=True, operator=True)
                at += len(operator)
            else:
                word, at = _word(text, at)
                yield word


def _word(text: str, at: int) -> tuple[Word, int]:
    """Read the word that begins at ``at``; returns it and where it ends."""
    parts: list[str] = []
    fixed = bare = True
    end = len(text)
    while at < end and text[at] not in " \t\n;&|()<>":
        letter = text[at]
        if letter == "'":
            close = text.find("'", at + 1)
            if close < 0:
                raise Unreadable
            parts.append(text[at + 1 : close])
            bare, at = False, close + 1
        elif letter == '"':
            inside, at = _double_quoted(text, at + 1)
            parts.append(inside)
            fixed = fixed and "$" not in inside and "`" not in inside
            bare = False
        elif letter == "\\":
            parts.append(text[at + 1 : at + 2].strip("\n"))
            bare, at = False, at + 2
        elif letter == "`" or text.startswith("$(", at):
            at = _substitution(text, at)
            fixed = False
        elif text.startswith("${", at):
            close = text.find("}", at)
            if close < 0:
                raise Unreadable
            parts.append(text[at : close + 1])
            fixed, at = False, close + 1
        else:
            fixed = fixed and letter != "$"
            parts.append(letter)
            at += 1
    return Word("".join(parts), fixed=fixed, bare=bare), at


def _double_quoted(text: str, at: int) -> tuple[str, int]:
    parts = []
    while at < len(text) and text[at] != '"':
        if text[at] == "`" or text.startswith("$(", at):
            at = _substitution(text, at)
            parts.append("$")
        elif text[at] == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            # A quoted dollar is literal; this reader does not need the distinction.
            parts.append("$" if text[at + 1] == "$" else text[at + 1].strip("\n"))
            at += 2
        else:
            parts.append(text[at])
            at += 1
    if at >= len(text):
        raise Unreadable
    return "".join(parts), at + 1


def _substitution(text: str, at: int) -> int:
    """Return where the command substitution that begins at ``at`` ends. Raises Unreadable."""
    if text[at] == "`":
        close = text.find("`", at + 1)
        if close < 0:
            raise Unreadable
        return close + 1
    depth, start = 0, at
    at += 1
    while at < len(text):
        letter = text[at]
        if letter == "'":
            at = text.find("'", at + 1)
            if at < 0:
                break
        elif letter == '"':
            at = _double_quoted(text, at + 1)[1] - 1
        elif letter == "\\":
            at += 1
        elif letter in "()":
            depth += 1 if letter == "(" else -1
            if not depth:
                # The pattern of a case ends with an unmatched parenthesis.
                if "case" in text[start:at].split():
                    raise Unreadable
                return at + 1
        at += 1
    raise Unreadable
