"""Folds lines of C that values from the specs made too long, by NetBSD's style(9).

A continuation is indented by four spaces more than the statement. Lines break after a comma, but
never inside a string literal, so that messages can be searched for. Comments and preprocessor
lines stay as they are: the templates write those.
"""

from __future__ import annotations

import re

WIDTH = 80
"""Columns of a line; a tab reaches to the next multiple of eight (NetBSD share/misc/style)."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|, |[^"\',]+|.')
_PROTOTYPE = re.compile(r"[A-Za-z][\w ]*(?:\*)*\t")


def fold(text: str) -> str:
    """Return C source with each line folded to WIDTH where that is possible."""
    lines: list[str] = []
    in_comment = False
    for line in text.split("\n"):
        starts = line.lstrip().startswith("/*")
        inside = in_comment or starts or "/*" in line or line.startswith("#")
        if starts or in_comment:
            in_comment = "*/" not in line
        lines += [line] if inside or columns(line) <= WIDTH else folded(line)
    return "\n".join(lines)


def columns(line: str) -> int:
    """Return how many columns a line fills, with its tabs."""
    return len(line.expandtabs(8))


def folded(line: str, width: int = WIDTH) -> list[str]:
    """Return a line, broken where it is wider than ``width`` columns."""
    indent = _continuation(line)
    first, *others = _pieces(line)
    lines = [first]
    for piece in others:
        joined = lines[-1] + piece
        if columns(joined.rstrip()) <= width:
            lines[-1] = joined
        else:
            lines[-1] = lines[-1].rstrip()
            lines.append(indent + piece)
    return lines


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
