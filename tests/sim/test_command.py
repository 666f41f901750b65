"""The command line: wrong arguments, wrong files, closed streams, help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli

from .modkit import built

if TYPE_CHECKING:
    from pathlib import Path


def _vmtsim(*words: str) -> int:
    try:
        return cli.main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture
def module() -> str:
    return str(built("twin", "amd64"))


@pytest.mark.parametrize(
    "verb", [("run",), ("replay", "--seed", "1"), ("models",), ("campaign",), ("coverage",)]
)
def test_invalid_module_is_named_with_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    path = tmp_path / "bad one.kmod"
    path.write_text("this is no module")
    assert _vmtsim(*verb, str(path)) == 65
    error = capsys.readouterr().err
    assert error.startswith(f"vmtsim: error: {path}: ")
    assert f"hint: `vmtgen lint '{path}'`" in error


@pytest.mark.parametrize("verb", [("run",), ("replay", "--seed", "1"), ("models",)])
def test_pipe_or_directory_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, words in ((pipe, "not a regular file"), (tmp_path, "a directory")):
        assert _vmtsim(*verb, str(path)) == 66
        assert f"{path}: {words}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_has_its_own_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret.kmod"
    path.write_text("")
    path.chmod(0)
    assert _vmtsim("run", str(path)) == 77
    assert f"{path}: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "replay", "host"])
@pytest.mark.parametrize("seed", ["-1", "one", "1.5", ""])
def test_seed_must_be_non_negative_integer(
    module: str, capsys: pytest.CaptureFixture[str], verb: str, seed: str
) -> None:
    assert _vmtsim(verb, module, f"--seed={seed}") == 64
    assert f"{seed!r}: a seed is a non-negative integer" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["-1", "-5:3", "3:1"])
def test_campaign_seeds_are_checked_too(module: str, seeds: str) -> None:
    assert _vmtsim("campaign", module, f"--seeds={seeds}") == 64


def test_summary_of_failed_load_shows_kernel_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = str(built("twin", "amd64", ("-DMISSING",)))
    assert _vmtsim("run", module, "--summary") == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("console ") and "no_such_function" in line for line in lines)
    assert any(line.startswith("finding ") and "module-loads" in line for line in lines)
    assert len(lines) <= 14


@pytest.mark.parametrize("closing", ["<&- >&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(module: str, tmp_path: Path, closing: str) -> None:
    outcome = tmp_path / "o.json"
    command = [sys.executable, "-m", "vmtsim", "run", module, "--summary", "--json", str(outcome)]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closing}', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        json.loads(outcome.read_text())["status"], "", "",
    )  # fmt: skip


def test_json_on_stdout_does_not_mix_with_other_output(module: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w") as stream:
        subprocess.run(
            [sys.executable, "-m", "vmtsim", "run", module, "--summary", "--json", "/dev/stdout"],
            stdout=stream,
            check=False,
        )
    text = out.read_text()
    record, end = json.JSONDecoder().raw_decode(text)
    assert record["format"] == "vmtsim-outcome"
    assert text[end:].startswith("\nmodule ")
    assert "verdict " in text


def test_help_lists_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert _vmtsim("--help") == 0
    text = capsys.readouterr().out
    for status in (0, 1, 2, 3, 64, 65, 66, 69, 70, 73, 74, 77):
        assert f" {status} " in text, status


@pytest.mark.parametrize("verb", ["run", "models", "scenarios"])
def test_command_help_has_examples(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert _vmtsim(verb, "--help") == 0
    assert f"examples:\n  vmtsim {verb}" in capsys.readouterr().out
