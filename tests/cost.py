"""Measures each test file: processor seconds, and the number of assertions.

``python -m tests.cost [--assertions] [ARGUMENT OF PYTEST ...]`` runs the tests and prints a table.
Seconds are user and system time of the tests and of the commands that they waited for. They grow
with the load: where twenty processes share two cores, the same work took five times the seconds of
a quiet machine. So compare only runs that were made side by side, or on a quiet machine. What a
fixture costs is also counted in the file that needed it first.

A test module counts an assertion each time one of its ``assert`` statements holds, and each time
``pytest.raises`` saw what it expected; both only with ``--assertions``: counting takes time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORDS = "TEST_COST_RECORDS"
_BYTE_CODE = "TEST_COST_BYTE_CODE"
_ROOT = Path(__file__).resolve().parent.parent
_LONGEST = 40


def _seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Meter:
    """A plugin of pytest: one for each process that runs tests."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self.fixtures: Counter[str] = Counter()
        self.assertions: Counter[str] = Counter()
        self._test = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        self._test = item.nodeid
        before = _seconds()
        try:
            return (yield)
        finally:
            self.tests[item.nodeid] += _seconds() - before

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        before = _seconds()
        try:
            return (yield)
        finally:
            where = f"{fixturedef.baseid or 'pytest'}::{fixturedef.argname}"
            self.fixtures[where] += _seconds() - before

    def pytest_assertion_pass(self) -> None:
        self.assertions[self._test] += 1

    def pytest_sessionfinish(self) -> None:
        """Write the measurements; the controlling process of pytest-xdist has none."""
        if not self.tests:
            return
        record = {
            "process": _seconds(),
            "tests": self.tests,
            "fixtures": self.fixtures,
            "assertions": self.assertions,
        }
        directory = Path(os.environ[_RECORDS])
        (directory / f"{os.getpid()}.json").write_text(json.dumps(record), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    meter = Meter()
    config.pluginmanager.register(meter, "test-cost")
    if not config.getini("enable_assertion_pass_hook"):
        return
    # Byte code without the hook lies beside the tests; commands that these start may use theirs.
    sys.pycache_prefix = os.environ[_BYTE_CODE]
    context: Any = type(pytest.raises(KeyError))
    plain = context.__exit__

    def counted(self: Any, *raised: Any) -> bool:
        held = plain(self, *raised)
        meter.assertions[meter._test] += 1
        return held

    context.__exit__ = counted


def _table(title: str, seconds: Counter[str], extra: dict[str, Counter[str]]) -> None:
    print(f"\n{'CPU s':>8}" + "".join(f"{name:>12}" for name in extra) + f"  {title}")
    for name, cost in seconds.most_common(_LONGEST):
        counts = "".join(f"{column[name]:12}" for column in extra.values())
        print(f"{cost:8.2f}{counts}  {name}")


def main(arguments: list[str]) -> int:
    """Run pytest and print where its processor time went; return its exit status."""
    options = ["-p", "tests.cost"]
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="test-cost-") as directory:
        environment[_RECORDS] = directory
        if "--assertions" in arguments:
            arguments = [word for word in arguments if word != "--assertions"]
            options += ["-o", "enable_assertion_pass_hook=true"]
            environment[_BYTE_CODE] = f"{directory}/byte-code"
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        status = subprocess.run(command, env=environment, cwd=_ROOT, check=False).returncode
        whole = resource.getrusage(resource.RUSAGE_CHILDREN)
        records = [json.loads(path.read_text()) for path in Path(directory).glob("*.json")]
    files: Counter[str] = Counter()
    count: Counter[str] = Counter()
    assertions: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    fixtures: Counter[str] = Counter()
    for record in records:
        tests.update(record["tests"])
        fixtures.update(record["fixtures"])
        for name, cost in record["tests"].items():
            files[name.partition("::")[0]] += cost
            count[name.partition("::")[0]] += 1
        for name, held in record["assertions"].items():
            assertions[name.partition("::")[0]] += held
    _table("file", files, {"tests": count, "assertions": assertions})
    _table("test", tests, {})
    _table("fixture", fixtures, {})
    total = whole.ru_utime + whole.ru_stime
    print(f"\n{count.total()} tests, {assertions.total()} assertions, {total:.1f} CPU s in all")
    print(f"{total - tests.total():.1f} CPU s outside of tests: start, import, collection, reports")
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
