"""Coverage reports which lines ran."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from vmtsim import cli
from vmtsim.run.coverage import FileCoverage, percent, table

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_executed_lines_are_distinguished(driver: Path, tmp_path: Path) -> None:
    tracefile, page = tmp_path / "c.info", tmp_path / "c.html"
    arguments = ["coverage", str(driver), "--scenario", "boot-to-halt"]
    assert cli.main([*arguments, "--lcov", str(tracefile), "--html", str(page)]) == 0
    text = tracefile.read_text(encoding="utf-8")
    worker = text[text.index("kmod/vmt/vmt.c") :].partition("end_of_record")[0]
    clock = text[text.index("vmt_clock.c") :].partition("end_of_record")[0]
    assert re.search(r"^DA:\d+,2$", worker, re.MULTILINE)  # on both kernels
    assert re.search(r"^DA:\d+,0$", clock, re.MULTILINE)
    drawn = page.read_text(encoding="utf-8")
    assert re.search(r'<span class="ran"><b>[^<]*</b>[^<]*vmt_disconnect', drawn)


def test_module_without_debug_twin_has_no_lines(
    driver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "vmt.kmod"
    shutil.copy(driver, alone)
    assert cli.main(["coverage", str(alone)]) == 66
    assert "vmt.kmod.debug: not found" in capsys.readouterr().err


def test_insufficient_coverage_is_an_error(driver: Path) -> None:
    arguments = ["coverage", str(driver), "--scenario", "boot-to-halt", "--at-least"]
    assert cli.main([*arguments, "99.9"]) == 1
    assert cli.main([*arguments, "30"]) == 0


def test_table_names_unexecuted_ranges() -> None:
    file = FileCoverage("a.c", None, {10: 1, 11: 0, 12: 0, 14: 0, 15: 2, 20: 0})
    assert file.missed_ranges() == ["11-14", "20"]
    assert table([file])[1].split(maxsplit=5) == ["a.c", "6", "2", "33.3", "%", "11-14, 20"]


def test_percentage_below_100_is_not_rounded_up() -> None:
    assert percent(9999, 10000) == "99.9 %"
    assert percent(3, 3) == "100.0 %"
