"""Fixtures of the tests of vmtctl: a fake guest."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.build.compile import build_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

HERE = Path(__file__).parent


def _load_fakeguest() -> ModuleType:
    """By its path: the tools that it writes import it that way too."""
    specification = importlib.util.spec_from_file_location("fakeguest", HERE / "fakeguest.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["fakeguest"] = module
    specification.loader.exec_module(module)
    return module


sys.path.insert(0, str(HERE))
import simguest  # noqa: E402

fakeguest = sys.modules.get("fakeguest") or _load_fakeguest()
from answers import Control  # noqa: E402 - imports fakeguest by its name


@pytest.fixture(autouse=True)
def _owner_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images belong to the user who runs the tests: doctor treats that user as root."""
    from vmtctl.checks import files

    monkeypatch.setattr(files, "_ROOT", os.geteuid())


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    return fakeguest.FakeGuest(tmp_path / "guest")


@pytest.fixture
def vmtctl(guest: Any, capsys: pytest.CaptureFixture[str]) -> Control:
    return Control(guest, capsys)


@pytest.fixture(scope="session")
def kmod(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver as it ships."""
    out = tmp_path_factory.mktemp("build")
    return build_module(HERE.parents[1] / "kmod" / "vmt", out=out).path


@pytest.fixture
def start(tmp_path: Path, kmod: Path) -> Iterator[Callable[..., Any]]:
    """A function that starts a guest with the real module; requires that no error occurred."""
    guests: list[simguest.SimGuest] = []

    def begin(*options: str, root: str = "guest") -> simguest.SimGuest:
        guests.append(simguest.SimGuest(tmp_path / root, kmod, *options))
        return guests[-1]

    yield begin
    for each in guests:
        if each.process.returncode is None:
            assert each.close() == 0, each.output + each.errors
