"""Where the specs and templates are found, in a checkout and in a wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen import resources
from vmtgen.errors import MissingInputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "place"), [("specs", "specs"), ("templates", "templates"), ("kpi", "gen/kpi")]
)
def test_a_checkout_has_them_where_people_edit_them(root: Path, name: str, place: str) -> None:
    assert resources.root() == root
    assert resources.directory(name) == root / place


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where the package would lie when it was installed from a wheel."""
    package = tmp_path / "site-packages" / "vmtgen"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


def test_a_wheel_has_them_inside_the_package(wheel: Path) -> None:
    (wheel / "data" / "specs").mkdir(parents=True)
    assert resources.root() is None
    assert resources.directory("specs") == wheel / "data" / "specs"


def test_what_a_wheel_does_not_have_is_missing_input(wheel: Path) -> None:
    with pytest.raises(MissingInputError, match="the templates are not installed") as caught:
        resources.directory("templates")
    assert caught.value.hint is not None


def test_a_name_that_does_not_exist_is_our_own_fault() -> None:
    with pytest.raises(ValueError, match="no resource directory 'spec'"):
        resources.directory("spec")
