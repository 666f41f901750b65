"""Folds lines of C that got too long when the specs filled in, as NetBSD's style(9) has it.

A continuation is indented by four spaces more than the statement. Lines break after a comma,
and inside a string literal, after a blank, where no comma helps. Comments and preprocessor lines
stay as they are: the templates write those.
"""

from __future__ import annotations

import re

WIDTH = 80
"""Columns of a line; a tab reaches to the next multiple of eight (NetBSD share/misc/style)."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|, |[^"\',]+|.')
_PROTOTYPE = re.compile(r"[a-z][\w ]*(?:\*)*\t")


def fold(text: str) -> str:
    """Return C source with every line that can be folded no wider than WIDTH."""
    folded: list[str] = []
    in_comment = False
    for line in text.split("\n"):
        starts = line.lstrip().startswith("/*")
        inside = in_comment or starts or "/*" in line or line.startswith("#")
        if starts or in_comment:
            in_comment = "*/" not in line
        folded += [line] if inside or _width(line) <= WIDTH else _folded(line)
    return "\n".join(folded)


def _width(line: str) -> int:
    return len(line.expandtabs(8))


def _folded(line: str) -> list[str]:
    indent = _continuation(line)
    lines: list[str] = []
    current = ""
    fresh = True  # nothing but the indent stands in `current`
    for piece in _pieces(line):
        joined = current + piece
        if fresh or _width(joined.rstrip()) <= WIDTH:
            current, fresh = joined, False
            continue
        # A literal that fits a line of its own stays whole.
        whole = _width((indent + piece).rstrip()) <= WIDTH
        literal = None if whole else _literal_split(current, piece)
        if literal is not None:
            current += literal[0]
        lines.append(current.rstrip())
        rest = piece if literal is None else literal[1]
        while _width((indent + rest).rstrip()) > WIDTH:
            literal = _literal_split(indent, rest)
            if literal is None:
                break
            lines.append(indent + literal[0])
            rest = literal[1]
        current = indent + rest
    return [*lines, current.rstrip()]


def _continuation(line: str) -> str:
    """Return the indent of what follows ``line``."""
    if _PROTOTYPE.match(line):
        return "\t    "
    found = re.match(r"(\t*)", line)
    return (found.group(1) if found else "") + "    "


def _pieces(line: str) -> list[str]:
    """Return the stretches of ``line`` between which it may break, each with its comma."""
    pieces = [""]
    for token in _TOKEN.findall(line):
        pieces[-1] += token
        if token == ", ":
            pieces.append("")
    return [piece for piece in pieces if piece]


def _literal_split(before: str, piece: str) -> tuple[str, str] | None:
    """Split a string literal that ``piece`` starts with so that its head fits behind ``before``."""
    if not piece.startswith('"'):
        return None
    room = WIDTH - _width(before) - 1  # for the closing quote
    end = piece.find('"', 1)
    blank = piece.rfind(" ", 1, max(min(room, end if end > 0 else room), 1))
    if blank < 20:
        return None
    return piece[: blank + 1] + '"', '"' + piece[blank + 1 :]
