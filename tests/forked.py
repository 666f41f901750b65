"""Runs the project's commands in separate processes, without starting an interpreter.

Such a process is a fork of the one that runs the tests, so it has imported everything already: a
command costs a tenth of what ``python -m`` costs.  It has its own standard streams, signals,
environment and working directory; a test's patches apply there as well.  Where the
command line itself is the subject, use ``sys.executable``.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
import warnings
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAST_DESCRIPTOR = 4096


def start(
    module: str, *words: object, before: Callable[[], None] | None = None, **how: Any
) -> subprocess.Popen[Any]:
    """Start ``python -m MODULE WORDS``; ``how`` as for subprocess.Popen.

    ``before`` is called in the new process.
    """
    main = importlib.import_module(f"{module}.cli").main
    if module == "vmtsim":
        warm()
    arguments = [str(word) for word in words]
    become = _process(main, arguments, how.pop("env", None), before)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads: pytest-xdist's wait for messages, and hold no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen([module, *arguments], preexec_fn=become, **how)  # noqa: PLW1509


@cache
def warm() -> None:
    """Load a module into a simulated kernel, so that forks have what is made at its first use.

    That is half of the time of a short run: models are imported, and records are compiled.
    """
    from vmtsim.kernel.subjects import load_subjects

    from tests.loader.mutants import HERE, simulated

    load_subjects()
    simulated(HERE / "base.kmod")


def run(module: str, *words: object, **how: Any) -> subprocess.CompletedProcess[Any]:
    """Run ``python -m MODULE WORDS``, and return its status and its two outputs as text."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    text = how.pop("input", None)
    if text is not None:
        how["stdin"] = subprocess.PIPE
    with start(module, *words, **how) as process:
        out, err = process.communicate(text)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _process(
    main: Callable[[list[str]], int],
    arguments: list[str],
    environment: Mapping[str, str] | None,
    before: Callable[[], None] | None,
) -> Callable[[], NoReturn]:
    """Return the function that runs in the fork after its streams are set up, before an exec."""

    def become() -> NoReturn:
        status = 70
        try:
            # Also the pipe on which subprocess waits for the exec that does not come.
            os.closerange(3, LAST_DESCRIPTOR)
            status = as_command(main, arguments, environment, before)
        finally:
            os._exit(status)

    return become


def as_command(
    main: Callable[[list[str]], int],
    arguments: list[str],
    environment: Mapping[str, str] | None,
    before: Callable[[], None] | None = None,
) -> int:
    """Make a fork the process of a command, and return its status: the caller ends it."""
    _without_tracker()
    # Processes of multiprocessing would import pytest, as the main module of their parent.
    sys.modules["__main__"] = ModuleType("__main__")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as each Python has it
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    if before is not None:
        before()
    sys.argv = [main.__module__, *arguments]
    status = _status(main, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _without_tracker() -> None:
    """Forget the resource tracker of multiprocessing: the pipe to it is closed here."""
    if "multiprocessing.resource_tracker" in sys.modules:
        tracker: Any = sys.modules["multiprocessing.resource_tracker"]
        tracker._resource_tracker._fd = tracker._resource_tracker._pid = None


def _status(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
