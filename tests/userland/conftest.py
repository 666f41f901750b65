"""A guest on the desk for the tests of vmtctl."""

from __future__ import annotations

import importlib.util
import json
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
import desk  # noqa: E402

fakeguest = sys.modules.get("fakeguest") or _load_fakeguest()


class Outcome:
    """What one run of vmtctl did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def _run_here(tools: Any, tool: str, command: tuple[str, ...], limit: float) -> Any:
    """Answer for a stand-in without a process; what a test put in its place runs as it is."""
    from vmtctl import system
    from vmtctl.tooltable import TOOLS

    assert TOOLS[tool].is_use(command), f"not in the table of tools: {command}"
    path = Path(tools.path(tool))
    answer = fakeguest.answer(path, command) or desk.answer(path, command)
    return _SPAWN(tools, tool, command, limit) if answer is None else system.Result(*answer)


def _spawn() -> Any:
    from vmtctl import system

    return system.Tools._run


_SPAWN = _spawn()


def tools_answer_here() -> None:
    """Have vmtctl ask the stand-ins of a guest without a process for each question."""
    from vmtctl import system

    system.Tools._run = _run_here


class Control:
    """vmtctl, run in this process, against a guest on the desk."""

    def __init__(self, guest: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.guest = guest
        self._capsys = capsys

    def __call__(self, *words: str) -> Outcome:
        from vmtctl import cli, system

        self._capsys.readouterr()
        split = list(words)
        where = split.index("--") if "--" in split else len(split)
        arguments = [*split[:where], "--tools-root", str(self.guest.root), *split[where:]]
        tools_answer_here()
        try:
            status = cli.main(arguments)
        finally:
            system.Tools._run = _SPAWN
        captured = self._capsys.readouterr()
        return Outcome(status, captured.out, captured.err)


@pytest.fixture(autouse=True)
def _owner_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images of the tests belong to the user who runs these: doctor takes that one for root."""
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
    return build_module(HERE.parents[1] / "kmod", out=out).path


@pytest.fixture
def start(tmp_path: Path, kmod: Path) -> Iterator[Callable[..., Any]]:
    """A function that starts a guest with the real module; in the end all must have gone well."""
    desks: list[desk.Desk] = []

    def begin(*options: str, root: str = "guest") -> desk.Desk:
        desks.append(desk.Desk(tmp_path / root, kmod, *options))
        return desks[-1]

    yield begin
    for each in desks:
        if each.process.returncode is None:
            assert each.close() == 0, each.said + each.errors
