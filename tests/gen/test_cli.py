"""The command line: verbs, exit statuses, and error messages."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from vmtgen import __version__, cli
from vmtgen.common import cli as frame
from vmtgen.common import errors
from vmtgen.common.dataclass import replace

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Return a function that installs a given module as the verb ``show``."""

    def use(run: Callable[[], int]) -> None:
        module = SimpleNamespace(
            SUMMARY="try something", add_arguments=lambda _: None, run=lambda _: run()
        )
        program = replace(cli.PROGRAM, load=lambda _: module)
        monkeypatch.setattr(cli, "main", partial(frame.main, program))

    return use


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"vmtgen {__version__}\n"


def test_unknown_command_is_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["genrate"])
    assert caught.value.code == errors.USAGE
    assert "unknown command 'genrate' (did you mean 'generate'?)" in capsys.readouterr().err


def test_unknown_option_is_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["generate", "--chekc"])
    assert caught.value.code == errors.USAGE
    assert capsys.readouterr().err == (
        "vmtgen generate: error: unrecognized arguments: --chekc\n"
        "vmtgen generate: see vmtgen generate --help\n"
    )


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (errors.ReportedError("it broke", hint="fix it"), 65, "error: it broke\nhint: fix it\n"),
        (errors.UsageError("no"), 64, "error: no\n"),
        (errors.MissingInputError("gone"), 66, "error: gone\n"),
        (errors.UnavailableError("no zig"), 69, "error: no zig\n"),
        (errors.ReportedError("x", exit_status=74), 74, "error: x\n"),
        (PermissionError(13, "Permission denied", "f"), 77, "error: f: Permission denied\n"),
        (FileNotFoundError(2, "No such file", "f"), 66, "error: f: No such file\n"),
        (OSError(28, "No space left", "f"), 74, "error: f: No space left\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (ModuleNotFoundError("x", name="jinja2"), 69, "'jinja2' is not installed\nhint: pip"),
        (ModuleNotFoundError("no x", name="vmtgen.x"), 70, "internal error: ModuleNotFound"),
        (ZeroDivisionError("oh"), 70, "internal error: ZeroDivisionError: oh\nhint: "),
    ],
)
def test_error_becomes_message_and_exit_status(
    verb: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    printed: str,
) -> None:
    verb(raising(error))
    assert cli.main(["show"]) == status
    assert printed in capsys.readouterr().err


def test_internal_error_shows_traceback_on_request(
    verb: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VMTGEN_TRACEBACK", "1")
    verb(raising(ZeroDivisionError("oh")))
    assert cli.main(["show"]) == errors.SOFTWARE
    assert "Traceback" in capsys.readouterr().err


def test_command_returns_status_of_verb(
    verb: Callable[[Callable[[], int]], None],
) -> None:
    verb(lambda: 3)
    assert cli.main(["show"]) == 3


@pytest.mark.parametrize("given", [None, "", "none", "-1", "0", " 40", "132"])
@pytest.mark.parametrize("terminal", [None, 0, 64])
def test_help_is_as_wide_as_argparse_makes_it(
    monkeypatch: pytest.MonkeyPatch, given: str | None, terminal: int | None
) -> None:
    def size(_descriptor: int) -> os.terminal_size:
        if terminal is None:
            raise OSError
        return os.terminal_size((terminal, 24))

    monkeypatch.setattr(os, "get_terminal_size", size)
    monkeypatch.delenv("COLUMNS", raising=False)
    if given is not None:
        monkeypatch.setenv("COLUMNS", given)
    assert frame._columns() == shutil.get_terminal_size().columns


def test_python_m_runs_command(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmtgen", "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root / "gen",
    )
    assert (done.returncode, done.stdout) == (0, f"vmtgen {__version__}\n")


def test_verb_imports_only_what_it_needs(root: Path) -> None:
    code = (
        "import sys; from vmtgen.cli import main\n"
        "try: main(['generate', '--help'])\n"
        "except SystemExit: pass\n"
        "slow = {'jinja2', 'ruamel', 'elftools', 'rich', 'unicorn', 'ziglang'}\n"
        "sys.exit(' '.join(sorted(slow & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root / "gen"
    )
    assert (done.returncode, done.stderr) == (0, "")


def shell(root: Path, words: str, *, unbuffered: bool = False) -> tuple[int, str]:
    """Run ``vmtgen`` with redirections; return the exit status and the output."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["sh", "-c", f"exec {shlex.quote(sys.executable)} -m vmtgen {words}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root / "gen",
        env=environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [("--help", 0), ("lint --explain eh-frame", 0), ("lint", 64), ("lint .", 66), ("nonsense", 64)],
)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_stream_keeps_exit_status(root: Path, words: str, status: int, closed: str) -> None:
    ended, printed = shell(root, f"{words} {closed}")
    assert ended == status
    assert "internal error:" not in printed
    assert "Traceback" not in printed
    if "2>&-" in closed and ">&-" in closed.split():
        assert printed == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", ["--help", "lint --help", "--version", "lint --explain all"])
def test_unprintable_output_is_an_error(root: Path, words: str, unbuffered: bool) -> None:
    ended, printed = shell(root, f"{words} >/dev/full", unbuffered=unbuffered)
    assert (ended, printed) == (errors.IO_ERROR, "vmtgen: error: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(("words", "status"), [("lint", 64), ("lint .", 66), ("nonsense", 64)])
def test_unprintable_error_keeps_status(root: Path, words: str, status: int) -> None:
    assert shell(root, f"{words} 2>/dev/full") == (status, "")
