"""The imports of a start are limited; ``make bench`` measures its time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from vmtgen.kobj import read_module
from vmtsim import cli
from vmtsim.kernel import subjects

if TYPE_CHECKING:
    from pathlib import Path

# Modules that the default scenario never needs.
HEAVY = {
    "asyncio", "capstone", "dataclasses", "datetime", "elftools", "importlib.resources", "inspect",
    "msgspec", "multiprocessing", "pexpect", "pkgutil", "plistlib", "random", "rich", "ruamel",
    "shutil", "subprocess", "tempfile", "unicorn", "zipfile",
}  # fmt: skip

RUN = """
import json, sys
before = set(sys.modules)  # ignore the imports of a coverage tool
from vmtsim.cli import main
status = main(["run", "--summary", sys.argv[1]])
print(json.dumps([status, sorted(set(sys.modules) - before)]))
"""


def test_run_imports_what_its_module_needs(module: Path) -> None:
    assert cli.main(["run", "--summary", str(module)]) == 0  # fills the cache
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(module)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, imported = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert HEAVY & set(imported) == set()
    needed = {
        name.partition(":")[0]
        for name, functions in subjects.ON_DEMAND.items()
        if set(functions.split()) & set(read_module(module).imports)
    }
    on_demand = {name.partition(":")[0] for name in subjects.ON_DEMAND}
    assert {name for name in on_demand if f"vmtsim.kernel.{name}" in imported} == needed
    # Unused verbs are not imported, either.
    assert [name for name in imported if name.startswith("vmtsim.verbs.")] == ["vmtsim.verbs.run"]
