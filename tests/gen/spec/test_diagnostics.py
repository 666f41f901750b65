"""Every wrong line of the fixtures gives exactly the message in its comment."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from vmtgen.common.located import LocatedErrors, Problem
from vmtgen.compiler.spec.load import load

FIXTURES = Path(__file__).parent / "fixtures"


def expected_in(directory: Path) -> list[tuple[str, int, str]]:
    """The messages that the comments ``#! MESSAGE #! MESSAGE`` announce, with file and line."""
    found = []
    for path in sorted(directory.glob("*.yaml")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            _, *messages = re.split(r" #! ", line)
            found += [(path.name, number, message.strip()) for message in messages]
    return found


def summary(problem: Problem) -> tuple[str, int, str]:
    hint = f" (did you mean {problem.hint!r}?)" if problem.hint else ""
    return Path(problem.path).name, problem.line, problem.message + hint


def differences(expected: list[tuple[str, int, str]], found: list[tuple[str, int, str]]) -> str:
    """Missing and unexpected messages, one a line; "" if both sets are equal."""
    missing = [item for item in expected if item not in found]
    unexpected = [item for item in found if item not in expected]
    lines = [f"{name}:{line}: missing: {text}" for name, line, text in missing]
    lines += [f"{name}:{line}: unexpected: {text}" for name, line, text in unexpected]
    if not lines and len(expected) != len(found):
        lines.append(f"{len(expected)} messages expected, {len(found)} found")
    return "\n".join(lines)


@pytest.mark.parametrize("name", ["shape", "meaning"])
def test_diagnostics_match_fixture_comments(small: Path, name: str) -> None:
    for path in (FIXTURES / name).glob("*.yaml"):
        shutil.copy(path, small)
    with pytest.raises(LocatedErrors) as caught:
        load(small)
    wrong = differences(expected_in(small), [summary(p) for p in caught.value.problems])
    if wrong:
        pytest.fail(wrong, pytrace=False)


def test_matcher_reports_missing_and_unexpected_messages() -> None:
    expected = [("a.yaml", 1, "one"), ("a.yaml", 2, "two")]
    found = [("a.yaml", 2, "two"), ("a.yaml", 3, "three")]
    assert differences(expected, found) == "a.yaml:1: missing: one\na.yaml:3: unexpected: three"
    assert not differences(expected, expected)
    assert differences(expected, [*expected, expected[0]])
