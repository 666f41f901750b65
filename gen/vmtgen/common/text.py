"""Text for a terminal: what comes from a file, a guest or a host must not control it."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Return ``text`` with what does not print escaped, as ``\x1b``; newlines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else one_line(c) for c in text)


def one_line(text: str) -> str:
    r"""Return ``text`` with all that does not print escaped, newlines (``\n``) too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
