"""The table of NetBSD's own modules: its scenarios, and the planted defects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vmtsim.host.context import RULES as PROTOCOL
from vmtsim.kernel.rule_table import RULES
from vmtsim.scenario.script import load, shipped

from tools import netbsd_modules, netbsd_runs
from tools.netbsd_runs import DEFECTS, RUNS, SCENARIOS, Break, FragmentError, broken_text, overlay

TEXT = """\
static int
first(void)
{
\treturn 1;
}

int
second(int one)
{
\tif (one)
\t\treturn first();
\treturn 1;
}
"""
CHANGE = Break("dev/two/two.c", "second", "return 1", "return 2")


def test_each_module_has_readable_scenario() -> None:
    assert len(RUNS) >= 15
    assert len({run.module for run in RUNS}) == len(RUNS)
    names = {run.scenario.stem for run in RUNS} | {each.scenario for each in DEFECTS}
    names -= set(shipped())
    assert {path.stem for path in SCENARIOS.glob("*.yaml")} == names
    for name in names:
        load(str(SCENARIOS / f"{name}.yaml"))


def test_each_violated_rule_is_listed_as_defect() -> None:
    listed = {(each.module, rule) for each in DEFECTS for rule in each.rules}
    assert {rule for _, rule in listed} <= {*RULES, *(f"protocol: {rule}" for rule in PROTOCOL)}
    assert {(run.module, rule) for run in RUNS for rule in run.found} <= listed


def test_fragment_is_replaced_only_in_its_function() -> None:
    changed = broken_text(TEXT, CHANGE)
    assert changed == TEXT[: TEXT.rindex("return 1")] + "return 2;\n}\n"


@pytest.mark.parametrize(
    ("function", "old", "message"),
    [
        ("third", "return 1", "there is no function third"),
        ("second", "return", "'return' is 2 times in second"),
        ("second", "return 3", "'return 3' is 0 times in second"),
    ],
)
def test_missing_or_repeated_fragment_is_an_error(function: str, old: str, message: str) -> None:
    with pytest.raises(FragmentError, match=message):
        broken_text(TEXT, Break("two.c", function, old, ""))


def test_overlay_differs_only_in_broken_file(tmp_path: Path) -> None:
    tree, top = tmp_path / "sys", tmp_path / "top"
    for path, text in {
        "dev/two/two.c": TEXT, "dev/two/other.c": "x", "dev/three.c": "y",
        "modules/Makefile.inc": "z", "modules/two/Makefile": "KMOD=two", "kern/k.c": "k",
    }.items():  # fmt: skip
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    place = overlay(tree, "two", CHANGE, top)
    assert place == top / "modules/two"
    assert (place / "Makefile").resolve() == place / "Makefile"
    assert "return 2" in (top / "dev/two/two.c").read_text()
    assert (tree / "dev/two/two.c").read_text() == TEXT
    for path in ("dev/two/other.c", "dev/three.c", "modules/Makefile.inc", "kern/k.c"):
        assert (top / path).resolve() == tree / path


def test_undetected_broken_line_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netbsd_runs, "played", lambda *_args: [])
    monkeypatch.setattr(netbsd_runs, "overlay", lambda *_args: Path())
    run = next(each for each in RUNS if not each.found)
    wrong, rule = netbsd_runs.verdict(run, Path(), "amd64", Path())
    assert wrong.endswith("was broken, and nothing failed")
    assert rule == ""


def test_required_modules_are_found_by_built_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except built-in modules, modules without a directory, and circular requirements."""
    names = {"one": ("two", "absent", "vmt"), "other/place": ("one",)}
    for directory, text in {"one": "KMOD=\tone\n", "other/place": "KMOD=\ttwo\n"}.items():
        (tmp_path / "modules" / directory).mkdir(parents=True)
        (tmp_path / "modules" / directory / "Makefile").write_text(text)

    def module(directory: str) -> SimpleNamespace:
        name = "two" if directory == "other/place" else directory
        return SimpleNamespace(modinfo=SimpleNamespace(name=name, required=names[directory]))

    def build(directory: Path, **_options: object) -> SimpleNamespace:
        place = directory.relative_to(tmp_path / "modules").as_posix()
        return SimpleNamespace(module=module(place))

    monkeypatch.setattr(netbsd_modules, "build_module", build)
    first: Any = module("one")
    found = netbsd_modules.required(first, tmp_path, "amd64", tmp_path / "out", frozenset({"one"}))
    assert [each.modinfo.name for each in found] == ["two"]
