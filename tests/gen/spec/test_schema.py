"""The expected kind in error messages, for each kind of node in a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from vmtgen.common.schema import Entries, Length, Range, described, plural, shape
from vmtgen.compiler.model.driver import Counter
from vmtgen.compiler.spec.text import InterpolatedText


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (Annotated[int, Range(1, 9)], "an integer from 1 to 9"),
        (Annotated[str, Length(1, 9)], "a string of 1 to 9 characters"),
        (Literal["low"], "low"),
        (Literal["low", "high", "all"], "low, high or all"),
        (int | None, "an integer"),
        (int | str, "an integer or a string"),
        (tuple[int, ...], "a sequence of integers"),
        (Mapping[str, str], "a mapping of names to strings"),
        (Entries[Counter], "a mapping of names to mappings"),
        (InterpolatedText, "printable ASCII text"),
        (bytes, "<class 'bytes'>"),
    ],
)
def test_expected_kind_is_described(hint: object, words: str) -> None:
    assert described(hint).startswith(words)


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (InterpolatedText, "str"),
        (Literal[1, 2], "int"),
        (tuple[str, ...], "sequence"),
        (Entries[Counter], "mapping"),
        (Mapping[str, str], "mapping"),
        (Counter, "mapping"),
    ],
)
def test_hint_matches_shape_of_node(hint: object, kind: str) -> None:
    assert shape(hint) == kind


def test_plural_of_kinds() -> None:
    assert plural(int) == "integers"
    assert plural(Counter) == "mappings"
    assert plural(InterpolatedText) == "values"
