"""The directories of specs/ define the modules; vmtgen names none in its code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vmtgen import cli, modules, resources

from tools import driver_cost

VMTGEN = Path(modules.__file__).parent
# Programs and the distribution have "vmt" in their names.
OTHERS = re.compile(r"vmtgen|vmtsim|vmtctl|netbsd-vmt")


def named(text: str, module: str) -> list[str]:
    """The lines that hold a module's name, as a word or as the beginning of one."""
    lines = (OTHERS.sub("", line) for line in text.splitlines())
    return [line for line in lines if re.search(rf"(?i)(?<![a-z]){module}(?![a-z])", line)]


@pytest.mark.parametrize("module", modules.known())
def test_vmtgen_sources_name_no_module(module: str) -> None:
    found = {
        str(path.relative_to(VMTGEN)): lines
        for path in VMTGEN.rglob("*.py")
        if (lines := named(path.read_text(encoding="utf-8"), module))
    }
    assert found == {}


@pytest.mark.parametrize("text", ["vmt.kmod", 'if module == "vmt":', "VMT_LOCAL", "vmt0", "vmt_do"])
def test_module_name_is_detected_anywhere(text: str) -> None:
    assert named(text, "vmt") == [text]


def test_every_module_has_its_directories_and_package() -> None:
    top = resources.root()
    assert top is not None
    assert modules.known()
    for name in modules.known():
        for place in (f"templates/{name}", f"kmod/{name}", f"pkgsrc/sysutils/netbsd-{name}"):
            assert (top / place).is_dir()


@pytest.mark.parametrize("verb", ["generate", "build", "lint", "dist", "upstream"])
def test_unknown_module_is_refused_with_known_ones(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([verb, "--module", "vnt"]) == 64
    printed = capsys.readouterr().err
    assert "no module 'vnt' in specs: there" in printed
    assert "did you mean vmt?" in printed


def test_linter_accepts_module_name_for_built_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmtgen.build.compile.default_output", lambda: tmp_path)
    assert cli.main(["lint", "--module", "vmt", "--machine", "i386"]) == 66
    assert "vmtgen build --module vmt --machine i386" in capsys.readouterr().err
    assert cli.main(["build", "--module", "vmt"]) == 0
    assert cli.main(["lint", "--module", "vmt"]) == 0
    assert "11.0/amd64/vmt.kmod: clean" in capsys.readouterr().out


def test_cost_of_driver_is_counted() -> None:
    """Every file that tools.driver_cost names exists, and each part has lines."""
    found = driver_cost.cost("vmmemctl")
    assert all(found.values())
    written = (driver_cost.ROOT / "specs" / "vmmemctl").glob("*.yaml")
    rows = [line for path in written for line in path.read_text(encoding="utf-8").splitlines()]
    assert found["specs"] == len([row for row in rows if row.strip()])
    assert driver_cost.cost("vmt")["C by hand"] > found["C by hand"] > found["C generated"]
