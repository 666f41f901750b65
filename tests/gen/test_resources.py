"""The specs and templates are found, in a checkout and in a wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from vmtgen import cli, resources
from vmtgen.common import errors
from vmtgen.common.errors import MissingInputError

NAMES = [("specs", "specs"), ("templates", "templates"), ("kmod", "kmod"), ("kpi", "gen/kpi")]


@pytest.mark.parametrize(("name", "place"), NAMES)
def test_checkout_uses_its_specs_and_templates(root: Path, name: str, place: str) -> None:
    assert resources.root() == root
    assert resources.directory(name) == root / place


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a package installed from a wheel; the working directory is above it."""
    package = tmp_path / "site-packages" / "vmtgen"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    return package


def checkout(top: Path, pyproject: str = '[project]\nname = "netbsd-vmt"\n') -> Path:
    """Create the files by which a checkout is recognised."""
    for _, place in NAMES:
        (top / place).mkdir(parents=True)
    (top / "pyproject.toml").write_text(pyproject)
    return top


def test_wheel_contains_specs_and_templates(wheel: Path) -> None:
    (wheel / "data" / "specs").mkdir(parents=True)
    assert resources.root() is None
    assert resources.directory("specs") == wheel / "data" / "specs"


def test_resource_missing_in_wheel_is_noinput(wheel: Path) -> None:
    with pytest.raises(MissingInputError, match="the templates are not installed") as caught:
        resources.directory("templates")
    assert caught.value.hint is not None


@pytest.mark.parametrize("below", [".", "kmod", "gen/kpi"])
@pytest.mark.parametrize("installed", ["wheel", "checkout"])
def test_checkout_of_working_directory_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, installed: str
) -> None:
    if installed == "wheel":
        monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "site-packages" / "vmtgen")
    top = checkout(tmp_path / "mine")
    monkeypatch.chdir(top / below)
    assert resources.root() == top
    for name, place in NAMES:
        assert resources.directory(name) == top / place


@pytest.mark.parametrize(
    "pyproject", ["", '[project]\nname = "another"\n', '# name = "netbsd-vmt"\n']
)
def test_foreign_project_is_not_a_checkout(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyproject: str
) -> None:
    monkeypatch.chdir(checkout(tmp_path / "mine", pyproject))
    assert resources.root() == root


def test_removed_working_directory_is_tolerated(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert resources.root() == root


def test_unknown_resource_name_is_internal_error() -> None:
    with pytest.raises(ValueError, match="no resource directory 'spec'"):
        resources.directory("spec")


def test_build_without_checkout_names_remedy(
    root: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, place in NAMES:
        (wheel / "data").mkdir(exist_ok=True)
        (wheel / "data" / name).symlink_to(root / place)

    def refused(*words: str) -> str:
        assert cli.main([*words]) == errors.NO_INPUT
        return capsys.readouterr().err

    assert refused("build") == (
        "vmtgen: error: kmod/vmt: no such directory\n"
        "hint: vmtgen generate --out . writes it; vmtgen build --source DIR names another place\n"
    )
    assert cli.main(["generate", "--quiet", "--out", "out"]) == 0
    capsys.readouterr()
    assert refused("build") == (
        "vmtgen: error: kmod/vmt: no such directory\n"
        "hint: cd out, or: vmtgen build --source out/kmod/vmt\n"
    )
    assert cli.main(["build", "--source", "out/kmod/vmt"]) == 0
    assert Path("build/11.0/amd64/vmt.kmod").is_file()
    shutil.rmtree("out")
    Path("kmod").mkdir()
    Path("kmod/vmt").write_text("")
    capsys.readouterr()
    assert "error: kmod/vmt: is not a directory\nhint: remove it" in refused("build")
    assert "error: kmod/vmt: is not a directory\nhint: the source is" in refused(
        "build", "--source", "kmod/vmt"
    )


def test_checkout_without_kmod_must_generate_first(
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(root / "specs", tmp_path / "specs")
    (tmp_path / "templates").mkdir()
    shutil.copy(root / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["build"]) == errors.NO_INPUT
    printed = capsys.readouterr().err
    assert (
        printed == "vmtgen: error: kmod/vmt: no such directory\nhint: vmtgen generate writes it\n"
    )
