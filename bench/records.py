"""What a record class costs, with each of three libraries: ``python -m bench.records``.

It is the measurement behind the choice in vmtgen/common/dataclass.py.  The least of several counts
in one process, in turn, so that a busy machine slows all alike.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
import timeit
from typing import TYPE_CHECKING, Any

import msgspec
from vmtgen.common import dataclass as own

if TYPE_CHECKING:
    from collections.abc import Callable

_CLASSES = 100
_TURNS = 9
_LIBRARIES = {
    "vmtgen.common.dataclass": (own.dataclass, ""),
    "msgspec.Struct": (None, "(Struct{})"),
    "dataclasses": (dataclasses.dataclass, ""),
}
# What is imported before msgspec would be.
_STARTS = {
    "vmtsim run": "vmtsim.cli, vmtsim.verbs.run, vmtsim.run.scene, vmtsim.run.simulation",
    "vmtgen lint": "vmtgen.cli, vmtgen.verbs.lint",
}
_IMPORT = """
import {}, time
start = time.process_time()
import msgspec
print(time.process_time() - start)
"""


def _source(library: str, *, frozen: bool) -> str:
    decorator, bases = _LIBRARIES[library]
    mark = f"@dataclass(frozen={frozen}{'' if frozen else ', slots=True'})\n" if decorator else ""
    return f"{mark}class C{bases.format(f', frozen={frozen}')}:\n a: int\n b: object\n c: int = 0\n"


def _made(library: str, *, frozen: bool) -> type:
    names: dict[str, Any] = {"dataclass": _LIBRARIES[library][0], "Struct": msgspec.Struct}
    exec(_source(library, frozen=frozen), names)
    cls: type = names["C"]
    return cls


def _making(library: str) -> Callable[[], float]:
    code = compile(_source(library, frozen=True), library, "exec")
    names = {"dataclass": _LIBRARIES[library][0], "Struct": msgspec.Struct}

    def count() -> float:
        start = time.process_time()
        for _ in range(_CLASSES):
            exec(code, names)
        return (time.process_time() - start) / _CLASSES

    return count


def _use(library: str, statement: str, *, frozen: bool = True) -> Callable[[], float]:
    cls = _made(library, frozen=frozen)
    for _ in range(_CLASSES):
        cls(1, 2)  # vmtgen's compiles a constructor for many
    names = {"C": cls, "x": cls(1, [2]), "y": cls(1, [2])}
    timer = timeit.Timer("; ".join([statement] * 10), globals=names, timer=time.process_time)
    return lambda: timer.timeit(2000) / 20_000


def _importing(modules: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(modules)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Print both tables."""
    kinds: dict[str, Callable[[str], Callable[[], float]]] = {
        "a class": _making,
        "an instance": lambda library: _use(library, "C(1, 2)"),
        "==": lambda library: _use(library, "x == y"),
        "read": lambda library: _use(library, "x.b"),
        "write": lambda library: _use(library, "x.c = 1", frozen=False),
    }
    print(f"{'CPU us':24}", *(f"{kind:>12}" for kind in kinds))
    counts = {each: [kind(each) for kind in kinds.values()] for each in _LIBRARIES}
    least = {each: [float("inf")] * len(kinds) for each in _LIBRARIES}
    for _ in range(_TURNS):
        for library, row in counts.items():
            least[library] = [min(a, b()) for a, b in zip(least[library], row, strict=True)]
    for library, found in least.items():
        print(f"{library:24}", *(f"{each * 1e6:12.3f}" for each in found))
    for command, modules in _STARTS.items():
        spent = min(_importing(modules) for _ in range(_TURNS))
        print(f"import msgspec in a start of {command}: {spent * 1e3:.1f} CPU ms")


if __name__ == "__main__":
    main()
