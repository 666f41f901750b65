"""YAML with positions: valid documents, refused ones, and the error messages."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmtgen.common.errors import MissingInputError, ReportedError
from vmtgen.common.located import LocatedErrors, Problem, Problems, load_yaml, nearest, parse_yaml

if TYPE_CHECKING:
    from pathlib import Path


def refused(text: str) -> str:
    with pytest.raises(LocatedErrors) as caught:
        parse_yaml(text, "f")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("010", 10),
        ("0o10", 8),
        ("0xff_ff", 65535),
        ("0b1010", 10),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("'true'", "true"),
        ('"0x10"', "0x10"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}", "f")["a"].scalar
    assert found == value
    assert type(found) is type(value)


def test_nodes_have_positions() -> None:
    document = parse_yaml("a:\n  b: [1, 22]\n", "f")
    second = document["a"]["b"].elements[1]
    assert (second.line, second.column, second.where) == (2, 10, "a.b[1]")
    assert document["a"]["b"].key is not None
    assert document["a"]["b"].key.column == 3


def test_null_value_has_position_of_key() -> None:
    node = parse_yaml("a:\n\n\nb: 1\n", "f")["a"]
    assert node.scalar is None
    assert node.line == 1


def test_keys_are_kept_as_written() -> None:
    assert list(parse_yaml("11.0: x\n10: y\ntrue: z\n", "f").entries) == ["11.0", "10", "true"]


def test_duplicate_key_is_refused_with_first_line() -> None:
    assert refused("a: 1\nb: 2\na: 3\n") == "f:3: a: the key 'a' stands here twice: first in line 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f:1: the file is empty"),
        ("# only a comment\n", "f:1: the file is empty"),
        ("a: 1\n---\nb: 2\n", "f:3: a second document: one file holds one document"),
        ("a: &x 1\n", "f:1: a: an anchor: write each value where it is used"),
        ("b: *x\n", "f:1: b: an alias: write the value out"),
        ("a: !int 1\n", "f:1: a: the tag !int: tags are not used here"),
        ("? [a]\n: 1\n", "f:1: a key is a name: it cannot be a sequence"),
        ("a: b: c\n", "f:1: not YAML: mapping values are not allowed here"),
    ],
)
def test_yaml_features_beyond_data_are_refused(text: str, message: str) -> None:
    assert refused(text) == message


@pytest.mark.parametrize("depth", [33, 5000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_too_deep_nesting_is_refused_with_location(depth: int, opening: str, closing: str) -> None:
    """A deep document is refused before all of it is read, which would take quadratic time."""
    assert parse_yaml(opening * 32 + "1" + closing * 32, "x.yaml").plain()
    with pytest.raises(LocatedErrors) as caught:
        parse_yaml(f"\nb: {opening * depth}1{closing * depth}\n", "x.yaml")
    (problem,) = caught.value.problems
    assert problem.line == 2
    assert problem.message == "nested deeper than 32 levels"


def test_control_character_is_refused_with_line() -> None:
    with pytest.raises(LocatedErrors) as caught:
        parse_yaml("a: 1\nb: \x01\n", "f")
    assert str(caught.value).startswith("f:2: not YAML: unacceptable character")
    assert caught.value.problems[0].column == 0, "the position is the whole line"


def test_invalid_utf_8_is_refused_with_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(LocatedErrors, match=r"a\.yaml:2: byte 8 is not UTF-8") as caught:
        load_yaml(file)
    assert caught.value.problems[0].column == 0, "the position is the whole line"


def test_missing_file_is_noinput(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"a\.yaml: no such file"):
        load_yaml(tmp_path / "a.yaml")


def test_directory_cannot_be_read_as_file(tmp_path: Path) -> None:
    with pytest.raises(ReportedError, match="cannot read"):
        load_yaml(tmp_path)


def test_problems_are_sorted_and_unique() -> None:
    problems = Problems()
    document = parse_yaml("a: 1\nb: 2\n", "f")
    problems.add(document["b"], "second", hint="c")
    problems.add(document["a"], "first")
    problems.add(document["a"], "first")
    with pytest.raises(LocatedErrors) as caught:
        problems.raise_if_any()
    assert str(caught.value) == "f:1: a: first\nf:2: b: second (did you mean 'c'?)"


def test_lines_are_sorted_as_numbers() -> None:
    errors = LocatedErrors([Problem("f", n, 0, "", "x") for n in (10, 9, 100)])
    assert [problem.line for problem in errors.problems] == [9, 10, 100]


def test_no_problems_raise_nothing() -> None:
    Problems().raise_if_any()


@pytest.mark.parametrize(
    ("name", "meant"), [("nubmer", "number"), ("NUMBER", "number"), ("zebra", None), ("", None)]
)
def test_nearest_name_is_suggested(name: str, meant: str | None) -> None:
    assert nearest(name, ["number", "name", "doc"]) == meant


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_location(text: str) -> None:
    with contextlib.suppress(LocatedErrors):
        assert parse_yaml(text, "f").line >= 1
