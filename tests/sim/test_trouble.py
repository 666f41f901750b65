"""vmtsim's messages for errors outside the module, and the lists that it prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.kernel.errors import Unmodelled
from vmtsim.verbs import models

from .modkit import built

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "vmtsim: interrupted\n"),
        (BrokenPipeError(), 0, ""),
        (ModuleNotFoundError("no", name="unicorn"), 69, "pip install 'netbsd-vmt[sim]'"),
        (ModuleNotFoundError("no", name="other"), 70, "internal error: ModuleNotFoundError"),
        (FileNotFoundError(2, "No such file", "x"), 66, "error: x: No such file"),
        (PermissionError(13, "Permission denied", "x"), 77, "error: x: Permission denied"),
        (OSError(5, "Input/output error"), 74, "error: Input/output error"),
        (Unmodelled("panic() is not modelled"), 70, "hint: docs/kernel-models.md explains"),
        (RuntimeError("planted"), 70, "internal error: RuntimeError: planted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_error_has_status_and_message(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    raised: BaseException,
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr(models, "run", _raiser(raised))
    assert cli.main(["models"]) == status
    assert words in capfd.readouterr().err


def test_internal_error_shows_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "run", _raiser(RuntimeError("planted")))
    monkeypatch.setenv("VMTSIM_TRACEBACK", "1")
    assert cli.main(["models"]) == 70
    assert "Traceback" in capfd.readouterr().err


def _raiser(error: BaseException) -> Callable[..., int]:
    def run(*_: object) -> int:
        raise error

    return run


def test_missing_command_prints_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 64
    assert "usage: vmtsim" in capsys.readouterr().err


def test_models_are_listed_by_subject_as_text_and_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "int mutex_tryenter(kmutex_t *mtx)" in found["Mutexes"]
    assert cli.main(["models"]) == 0
    count = sum(map(len, found.values()))
    assert f"{count} functions of {len(found)} subjects" in capsys.readouterr().out


def test_runnable_module_has_no_unmodelled_imports(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(built("twin", "amd64"))
    assert cli.main(["models", path, "--json"]) == 0
    found = {"unmodelled": [], "unknown": [], "instructions": []}
    assert json.loads(capsys.readouterr().out) == found


def test_scenarios_are_listed_with_purpose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["scenarios", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["boot-to-halt"]["seconds"] > 0
    assert cli.main(["scenarios"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} (" in out for name in found)
