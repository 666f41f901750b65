"""The bench prints and stores what it measures.  No test depends on a measured value."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vmtgen.compiler.spec.load import load

from bench import beside, page, specs, table
from bench.figures import Figure, Growth, Plan, Result, Series
from bench.run import PARTS, run

from ..conftest import IN_CI

ROOT = Path(__file__).resolve().parents[2]

FIGURES = (
    Figure("speed", "slow", 3.0, "CPU s", "Python alone", 0.5, goal=2.0),
    Figure("speed", "quick", 12345.6, "per s", goal=10000, at_least=True),
    Figure("speed", "start", 20.0, "CPU ms", "Python alone", 10.0, goal=2.5, of_ratio=True),
    Figure("calls", "an hour", 6000, "calls", "stock", 8000, "Counted elsewhere."),
    Figure("calls", "with QEMU", None, "calls", note="there is none", goal=1),
)
GROWTH = Growth(
    "messages",
    "Messages",
    "What they cost.",
    "bytes",
    (16, 64, 256),
    (
        Series("sent", "calls", (7, 7, 70)),
        Series("received", "calls", (1, 2, None)),
        Series("sent", "CPU ms", (0.5, None, None)),
    ),
    "A note.",
)
MACHINE = {"cores": 2, "cpu": "a processor", "python": "3.11.2"}


def made() -> Result:
    """A made-up result."""
    return Result(MACHINE, quick=True, seconds=3.0, figures=list(FIGURES), growth=[GROWTH])


def rows(text: str) -> list[list[str]]:
    """The rows of all tables of a Markdown text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_goal_is_maximum_or_minimum_or_ratio() -> None:
    assert [figure.met for figure in FIGURES] == [False, True, True, None, None]
    assert [figure.ratio for figure in FIGURES] == [6.0, None, 2.0, 0.75, None]


def test_table_shows_goal_beside_value() -> None:
    assert rows(table.figures_table(FIGURES))[2:] == [
        ["speed", "slow", "3 CPU s", "Python alone: 0.5 CPU s", "6.00", "≤ 2 CPU s", "**missed**"],
        ["", "quick", "12,346 per s", "", "", "≥ 10,000 per s", "met"],
        ["", "start", "20 CPU ms", "Python alone: 10 CPU ms", "2.00", "≤ 2.5 times", "met"],
        ["calls", "an hour", "6,000 calls", "stock: 8,000 calls [^stock]", "0.75", "", ""],
        ["", "with QEMU", "not measured: there is none", "", "", "≤ 1 calls", ""],
    ]
    assert table.sources(FIGURES) == "[^stock]: Counted elsewhere.\n"


def test_growth_is_shown_for_measured_range() -> None:
    assert rows(table.growth_table(GROWTH)) == [
        ["bytes", "sent (calls)", "received (calls)", "sent (CPU ms)"],
        ["---:", "---:", "---:", "---:"],
        ["16", "7", "1", "0.5"],
        ["64", "7", "2", "not measured"],
        ["256", "70", "not measured", "not measured"],
        ["growth over 16x", "10x", "2x over 4x", ""],
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "0"), (7.0, "7"), (1234567.8, "1,234,568"), (99.96, "100"), (45.678, "45.7"),
     (0.01234, "0.0123"), (0.000012, "0.000012"), (-3.14159, "-3.14")],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, message: str) -> None:
    assert table.number(value) == message


def test_result_round_trips_through_json() -> None:
    reported = json.loads(json.dumps(made().to_json()))
    assert Result.from_json(reported) == made()
    assert reported["figures"][0]["met"] is False
    with pytest.raises(ValueError, match="run the bench again"):
        Result.from_json({**reported, "version": 1})


def test_failed_part_is_reported_and_others_are_measured(tmp_path: Path) -> None:
    """The driver's module is missing: parts that load it fail, other parts are measured."""
    result = run(("startup", "speed"), Plan(tmp_path / "missing", quick=True), build=False)
    assert {figure.group for figure in result.figures} == {"vmtctl"}
    assert list(result.failed) == ["speed"]
    assert "speed was not measured: " in table.whole(result)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """A short run: its output, and the files that it writes."""
    out = tmp_path_factory.mktemp("a bench")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--out", str(out), "--parts", "making",
         "driver", "messages", "speed", "addresses", "length", "seeds"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    return done.stdout, kept, out


def test_printed_figures_match_stored_figures(quick: tuple[str, dict[str, Any], Path]) -> None:
    printed, kept, _ = quick
    assert kept["failed"] == {}
    assert kept["quick"] is True
    assert set(kept["machine"]) == {"cores", "cpu", "python"}
    found = rows(printed)
    for figure in kept["figures"]:
        (row,) = [row for row in found if row[1] == figure["name"]]
        assert row[2].startswith(table.amount(figure["value"], figure["unit"]))
        if figure["base"] is not None:
            assert figure["ratio"] == pytest.approx(figure["value"] / figure["base"])
            assert row[4] == f"{figure['ratio']:.2f}"
    for growth in kept["growth"]:
        assert f"### {growth['title']}" in printed
        for at, size in enumerate(growth["sizes"]):
            values = [each["values"][at] for each in growth["series"]]
            expected = [
                "not measured" if value is None else table.number(value) for value in values
            ]
            assert [table.number(size), *expected] in found


def test_machine_independent_figures_are_counted(
    quick: tuple[str, dict[str, Any], Path],
) -> None:
    """Calls to the host, which the driver's tests also count."""
    _, kept, _ = quick
    values = {figure["name"]: figure["value"] for figure in kept["figures"]}
    assert values["an RPCI command alone"] == 7
    assert values["of 20 queued messages, answered in one wake-up"] == 20
    (growth,) = [each for each in kept["growth"] if each["title"] == "Messages"]
    calls = {each["name"]: each["values"] for each in growth["series"] if "calls" in each["unit"]}
    assert calls["from the host"][0] == calls["from the host"][1]
    assert 0 < calls["from the host, 4 bytes a call"][1] - 1024 / 4 < 10


def test_scaled_specs_are_valid_specs(tmp_path: Path) -> None:
    before = load(ROOT / "specs" / "vmt")
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    specs.grow(tmp_path / "specs" / "vmt", 3)
    after = load(tmp_path / "specs" / "vmt")
    for old, new in (
        (before.tclo.commands, after.tclo.commands),
        (before.tclo.options, after.tclo.options),
        (before.guestinfo.items, after.guestinfo.items),
    ):
        assert len(new) == 3 * len(old)
    assert len(after.driver.logs) == len(before.driver.logs) + 2 * max(
        len(before.driver.logs), len(before.tclo.commands)
    )


def test_committed_page_is_output_of_bench() -> None:
    """The page has the bench's text, and each of its pictures exists."""
    text = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    empty = page.text(Result(MACHINE, quick=False), "bench")
    head, _, _ = empty.partition("Measured on ")
    assert text.startswith(head), "write it again: make bench PAGE=docs/bench.md"
    pictures = re.findall(r"^!\[[^]]+\]\((bench/[a-z]+\.svg)\)$", text, re.MULTILINE)
    names = ("length", "specs", "messages", "addresses", "seeds")
    assert pictures == [f"bench/{name}.svg" for name in names]
    assert set(PARTS) > {Path(name).stem for name in pictures}
    for name in pictures:
        assert (ROOT / "docs" / name).read_text(encoding="utf-8").rstrip().endswith("</svg>")


def matplotlib() -> None:
    """Skip where there is none, as in an environment that never ran the bench."""
    if importlib.util.find_spec("matplotlib") is None:
        reason = "matplotlib is not installed (pip install 'netbsd-vmt[bench]')"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)


def test_same_numbers_give_same_picture_with_axis_units() -> None:
    matplotlib()
    from bench import plots

    picture = plots.svg(GROWTH)
    assert picture == plots.svg(dataclasses.replace(GROWTH))
    for word in ("Messages", "bytes", "calls", "CPU ms", "sent", "received"):
        assert f">{word}</text>" in picture
    assert "<dc:date>" not in picture


def test_picture_colours_adapt_to_dark_pages() -> None:
    matplotlib()
    from bench import plots

    style, _, drawing = plots.svg(GROWTH).partition("</style>")
    assert "prefers-color-scheme: dark" in style
    assert re.findall(r"#[0-9a-f]{6}\b", drawing) == []


def test_missing_commit_is_named_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(beside.BaseError, match=r"BASE=no-such-commit: fatal: ") as caught:
        beside.unpack("no-such-commit", tmp_path)
    assert "git fetch --unshallow" in str(caught.value.hint)


def test_simulator_is_compared_with_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only seeds that pass in both commits count."""
    plays = {"base": {"1": (2.0, False), "2": (8.0, False)}, "now": {"1": (1.0, False)}}
    plays["now"]["2"] = (9.0, True)

    def play(root: Path, _module: Path, what: str, *_numbers: object) -> Any:
        side = "base" if root.name == "base-abc" else "now"
        return plays[side] if what == "seeds" else 1.0

    monkeypatch.setattr(beside, "unpack", lambda commit, place: place / f"base-{commit}")
    monkeypatch.setattr(beside, "_play", play)
    monkeypatch.setattr(beside, "build_module", lambda *_, **__: SimpleNamespace(path=tmp_path))
    monkeypatch.setattr(beside, "least_cpu", lambda *_, **__: {"then": 2.0, "now": 1.0})
    found = beside.measure(Plan(tmp_path, quick=True, base="abc"))
    assert [(f.name, f.ratio) for f in found.figures] == [
        ("1 of seeds 1:2, the same driver", 0.5),
        ("a run of the default scenario from start to exit, the same driver", 0.5),
        ("1 of seeds 1:2, its own driver", 0.5),
        ("a run of the default scenario from start to exit, its own driver", 0.5),
        ("60 idle seconds, the same driver", 1.0),
        ("60 idle seconds, its own driver", 1.0),
    ]


def test_without_commit_nothing_is_compared(tmp_path: Path) -> None:
    (figure,) = beside.measure(Plan(tmp_path)).figures
    assert figure.value is None
    assert "BASE=COMMIT" in figure.note
