"""Text for a terminal: escapes control characters from a file, a guest or a host."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Return ``text`` with unprintable characters escaped, as ``\x1b``; newlines, tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else one_line(c) for c in text)


def one_line(text: str) -> str:
    r"""Return ``text`` with all unprintable characters escaped, newlines (``\n``) too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
