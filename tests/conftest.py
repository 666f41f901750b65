"""Shared fixtures: the checkout, golden files, and tools that may be missing."""

from __future__ import annotations

import gc
import os
import random
import re
import secrets
import shutil
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

ROOT = Path(__file__).resolve().parent.parent
# Under nohup, or in the background of a script, these are ignored, also by the commands that tests
# start and interrupt.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Compiled modules, specs and symbol tables stay in memory for the whole run: to look through them
# every 700 new objects costs up to a sixth of the processor time.
gc.set_threshold(100_000, 50, 50)

# Many containers set this variable. Each command that a test starts would then compile all that it
# imports once more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What the linter keeps of the thousands of modules that tests make is the checkout's, for its next
# run, and `make clean` removes it.  The caches of pip and uv, which hold packages, stay the user's.
_CACHES = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
for _tool in ("pip", "uv"):
    os.environ.setdefault(f"{_tool.upper()}_CACHE_DIR", f"{_CACHES}/{_tool}")
os.environ["XDG_CACHE_HOME"] = str(ROOT / "build" / ".cache")

# The same examples in every run, and no deadlines: the machine may be busy.
hypothesis.settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")

IN_CI = os.environ.get("CI", "") not in {"", "0", "false"}
UPDATE_GOLDEN = os.environ.get("UPDATE_GOLDEN", "") not in {"", "0"}

_INSTALL = r"\(apt-get install (\S+)\)"
# Tools that come with the Python packages of the [dev] extra.
_PYTHON_TOOLS = frozenset({"codespell", "mypy", "ruff"})


@dataclass(frozen=True)
class Golden:
    """Compares texts with files in the repository, or writes those files with UPDATE_GOLDEN=1."""

    directory: Path

    def check(self, name: str, text: str) -> None:
        """Compare ``text`` with the golden file ``name``."""
        path = self.directory / name
        if UPDATE_GOLDEN:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.is_file(), f"{path} is missing: UPDATE_GOLDEN=1 make test writes it"
        expected = path.read_text(encoding="utf-8")
        assert text == expected, f"{path} differs: UPDATE_GOLDEN=1 make test writes the new text"


def debian_packages() -> dict[str, str]:
    """Return the Debian package of each tool that tools.debian names."""
    packages: dict[str, str] = {}
    for line in (ROOT / "tools.debian").read_text(encoding="utf-8").splitlines():
        package, _, message = line.partition("#")
        commands, _, _ = message.partition(":")
        if package.strip():
            packages.update(dict.fromkeys(re.split(r"[,\s]+", commands.strip()), package.strip()))
    return packages


def find_tool(name: str) -> str:
    """Return the path of the tool ``name``; skip the test, or fail it in CI, where it is absent."""
    here = Path(sys.executable).parent / name
    if here.is_file():
        return str(here)
    found = shutil.which(name)
    if found is not None:
        return found
    if name in _PYTHON_TOOLS:
        how = "pip install 'netbsd-vmt[dev]'"
    else:
        packages = debian_packages()
        assert name in packages, f"no package for {name!r}: name one in tools.debian"
        how = f"apt-get install {packages[name]}"
    reason = f"{name} is not installed ({how})"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_configure() -> None:
    """Choose the order of the tests; workers of pytest-xdist inherit the choice."""
    os.environ.setdefault("TEST_ORDER", str(secrets.randbelow(10_000)))


def pytest_report_header() -> str:
    return f"order of the tests: TEST_ORDER={os.environ['TEST_ORDER']}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let every second worker of pytest-xdist import the files in reverse.

    Without byte code from an earlier run each worker then compiles half of them, and reads the
    other half; in the same order each would compile all of them.
    """
    report = yield
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if isinstance(collector, pytest.Directory) and int(worker.removeprefix("gw")) % 2:
        report.result.reverse()
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the files, and the tests of each file: no test may depend on another.

    The tests of a file stay together: their shared fixtures are made once.
    """
    order = random.Random(os.environ["TEST_ORDER"])
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = [files[path] for path in sorted(files)]  # whatever the order of the imports
    order.shuffle(groups)
    for group in groups:
        order.shuffle(group)
    items[:] = [item for group in groups for item in group]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was skipped, why, and how to enable it; and how to repeat the order."""
    write = terminalreporter.write_line
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if reasons:
        write("skipped:")
    for reason, count in reasons.most_common():
        write(f"{count:5}  {reason}")
    packages = {found[1] for reason in reasons if (found := re.search(_INSTALL, reason))}
    if len(packages) > 1:
        write(f"all of them: apt-get install {' '.join(sorted(packages))}")
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        write(f"the same order again: TEST_ORDER={os.environ['TEST_ORDER']}")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top directory of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """A function from the name of a tool to its path; see find_tool."""
    return find_tool


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files beside the test: the directory ``golden`` in the room of the test."""
    return Golden(request.path.parent / "golden")
