"""Coverage tells which lines ran; models tells what a module can call."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.coverage import ranges, table

from .modkit import MACHINES, SOURCES, built, marked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    """Five seconds in which nothing happens."""
    path = tmp_path / "five.yaml"
    path.write_text(
        "summary: five seconds\nduration: 5\nsteps:\n  - at: 1\n    guest.hostname: a\n",
        encoding="utf-8",
    )
    return str(path)


def _covered(text: str) -> dict[int, int]:
    return {
        int(line): int(runs) for line, runs in re.findall(r"^DA:(\d+),(\d+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_lines_that_ran_are_told_from_those_that_did_not(
    machine: str, scenario: str, tmp_path: Path
) -> None:
    lcov = tmp_path / "c.info"
    module = built("classic", machine)
    arguments = ["coverage", str(module), "--scenario", scenario, "--lcov", str(lcov)]
    assert cli.main(arguments) == 0
    lines = _covered(lcov.read_text(encoding="ascii"))
    (ticks,) = marked("classic", "planted: softint-with-mutex")
    (asks,) = marked("classic", r"error = sysctl_lookup")
    (attaches,) = marked("classic", r"callout_setfunc\(&sc->sc_tick")
    assert lines[ticks] == 1
    assert lines[attaches] == 1
    assert lines[asks] == 0


def test_runs_are_counted(scenario: str, tmp_path: Path) -> None:
    lcov = tmp_path / "c.info"
    arguments = ["coverage", str(built("classic")), "--scenario", scenario, "--seeds", "3"]
    assert cli.main([*arguments, "--lcov", str(lcov)]) == 0
    assert set(_covered(lcov.read_text(encoding="ascii")).values()) == {0, 3}


def test_the_page_shows_the_source(scenario: str, tmp_path: Path) -> None:
    page = tmp_path / "c.html"
    # The build calls the directory of the sources kmod.
    shutil.copytree(SOURCES, tmp_path / "kmod")
    arguments = ["coverage", str(built("classic")), "--scenario", scenario, "--html", str(page)]
    assert cli.main([*arguments, "--sources", str(tmp_path)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert re.search(r"<span class=h>[^<]*callout_setfunc\(&amp;sc-&gt;sc_tick", text)
    assert re.search(r"<span class=m>[^<]*error = sysctl_lookup", text)


def test_a_module_without_a_twin_has_no_lines(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "classic.kmod"
    shutil.copy(built("classic"), path)
    assert cli.main(["coverage", str(path), "--scenario", scenario]) == 66
    assert "classic.kmod.debug is not beside it" in capsys.readouterr().err


def test_the_table_names_ranges_that_never_ran() -> None:
    lines = {10: 1, 11: 0, 12: 0, 14: 0, 15: 2, 20: 0}
    assert ranges(lines) == ["11-14", "20"]
    assert table({"a.c": lines}) == [
        " share    run lines  file",
        "33.3 %      2     6  a.c",
        "                      never: 11-14, 20",
        "33.3 %      2     6  all",
    ]


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
