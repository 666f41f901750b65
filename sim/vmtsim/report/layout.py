"""The two columns of a report: a label of one word, and texts wrapped beside it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 96
_LABEL = 9


def field(label: str, text: str, width: int = WIDTH) -> list[str]:
    """Return ``text`` beside its label, in lines of at most ``width`` characters."""
    wrapped = textwrap.wrap(text, width - _LABEL, break_on_hyphens=False) or [""]
    return [f"{label:<{_LABEL}}{wrapped[0]}", *(f"{'':{_LABEL}}{line}" for line in wrapped[1:])]


def listed(label: str, texts: Sequence[str], most: int = 12) -> list[str]:
    """Return ``texts`` as lines beside their label, at most ``most`` of them."""
    if not texts:
        return [f"{label:<{_LABEL}}none"]
    lines = field(label, texts[0])
    for text in texts[1:most]:
        lines += field("", text)
    if len(texts) > most:
        lines += field("", f"and {len(texts) - most} more")
    return lines
