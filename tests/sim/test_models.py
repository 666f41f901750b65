"""``vmtsim models`` tells what a module can call."""

from __future__ import annotations

import json

import pytest
from vmtsim import cli

from .modkit import built


def test_models_are_listed_with_their_prototypes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    text = capsys.readouterr().out
    assert "    int cv_timedwait(kcondvar_t *cv, kmutex_t *mtx, int ticks)\n" in text
    assert "x86_curlwp" in text
    assert cli.main(["models", "--machine", "aarch64"]) == 0
    assert "x86_curlwp" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "status", "expected"),
    [
        ((), 0, {"unmodelled": [], "unknown": []}),
        (("-DUNMODELLED",), 1, {"unmodelled": ["acpi_match_hid"], "unknown": []}),
        (("-DMISSING",), 1, {"unmodelled": [], "unknown": ["no_such_function", "nor_this_one"]}),
    ],
)
def test_what_a_module_lacks_is_known_before_it_runs(
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    status: int,
    expected: dict[str, list[str]],
) -> None:
    assert cli.main(["models", "--json", str(built("twin", "amd64", flags))]) == status
    assert json.loads(capsys.readouterr().out) == expected
