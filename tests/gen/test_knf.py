"""Folding C: lines fit the width where possible, and only blanks change."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmtgen.compiler.knf import WIDTH, fold


def tokens(text: str) -> list[str]:
    """The text without the blanks outside literals."""
    return re.findall(r'"(?:[^"\\]|\\.)*"|[^\s"]+', text)


def unfolded(folded: str) -> str:
    """The text on one line, for test cases."""
    return re.sub(r"\n\s+", " ", folded)


@pytest.mark.parametrize(
    "folded",
    [
        "vmt_read_uuid(uint32_t *word0, uint32_t *word1, uint32_t *word2,\n    uint32_t *word3)",
        "int\tvmt_rpci_set_info_bytes(struct vmt_softc *, uint32_t, const void *,\n\t    int);",
        (
            "\tprintf(sc->sc_dev,\n"
            '\t    "host requested shutdown: powerd(8) runs power_button, without it the kernel",\n'
            "\t    error);"
        ),
        ('\tlog(LOG_WARNING,\n\t    "%s: lost the channel to the host (%d); opening it again\\n",'),
    ],
)
def test_long_lines_are_folded_as_in_style(folded: str) -> None:
    assert len(unfolded(folded).split("\n")) == 1
    assert fold(unfolded(folded)) == folded


@pytest.mark.parametrize(
    "text",
    [
        "/* " + "word, " * 20 + "*/",
        "#define A(a, b, c) " + "a, " * 30 + "b",
        "/*\n * " + "word, " * 20 + "\n */",
        "\tint\tx;\t\t/* " + "word, " * 20 + "*/",
    ],
)
def test_comments_and_macros_are_unchanged(text: str) -> None:
    assert fold(text) == text


def test_code_after_comment_is_folded() -> None:
    text = "/*\n * a\n */\nf(" + "argument, " * 12 + "last);"
    assert max(map(len, fold(text).split("\n"))) <= WIDTH


ARGUMENTS = st.lists(
    st.one_of(
        st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=25),
        st.text(st.sampled_from("ab c,%\\n("), max_size=90).map(
            lambda text: '"' + text.replace("\\", "\\\\") + '"'
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(ARGUMENTS, st.integers(0, 3))
def test_folding_preserves_tokens(arguments: list[str], depth: int) -> None:
    line = "\t" * depth + "call(" + ", ".join(arguments) + ");"
    folded = fold(line)
    assert tokens(folded) == tokens(line)
    assert fold(folded) == folded


@given(
    st.lists(
        st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20), min_size=1, max_size=20
    )
)
def test_foldable_lines_fit_width(arguments: list[str]) -> None:
    for line in fold("\tcall(" + ", ".join(arguments) + ");").split("\n"):
        assert len(line.expandtabs(8)) <= WIDTH
