"""Runs a guest's tool stubs for vmtctl in this process, without a process for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakeguest
import simguest
from vmtctl import cli, system
from vmtctl.tooltable import TOOLS

if TYPE_CHECKING:
    import pytest

SPAWN = system.Tools._run


def _run_here(tools: Any, tool: str, command: tuple[str, ...], limit: float) -> Any:
    """Run a stub in this process; a file that a test put in its place runs as a process."""
    assert TOOLS[tool].is_use(command), f"not in the table of tools: {command}"
    path = Path(tools.path(tool))
    answer = fakeguest.answer(path, command) or simguest.answer(path, command)
    return SPAWN(tools, tool, command, limit) if answer is None else system.Result(*answer)


def tools_answer_here() -> None:
    """Let vmtctl run the stubs in this process from now on."""
    system.Tools._run = _run_here


class Outcome:
    """The result of one run of vmtctl."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Control:
    """vmtctl, run in this process, against a fake guest."""

    def __init__(self, guest: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.guest = guest
        self._capsys = capsys

    def __call__(self, *words: str) -> Outcome:
        self._capsys.readouterr()
        split = list(words)
        where = split.index("--") if "--" in split else len(split)
        arguments = [*split[:where], "--tools-root", str(self.guest.root), *split[where:]]
        tools_answer_here()
        try:
            status = cli.main(arguments)
        finally:
            system.Tools._run = SPAWN
        captured = self._capsys.readouterr()
        return Outcome(status, captured.out, captured.err)
