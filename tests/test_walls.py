"""The walls between the rooms, read from the import statements."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "vmtgen": ROOT / "gen" / "vmtgen",
    "vmtsim": ROOT / "sim" / "vmtsim",
    "vmtctl": ROOT / "userland" / "vmtctl",
}
# The shared base: the simulator may import nothing else of vmtgen, and the base only itself.
SHARED = ("vmtgen.kobj", "vmtgen.common")


def imported(source: str, module: str, *, package: bool = False) -> Iterator[tuple[int, str]]:
    """Every (line, module) that ``source`` imports, being ``module`` itself.

    ``from a import b`` names a.b, which may be a module or a name in a.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + package]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in {"import_module", "__import__"} and node.args:
                yield node.lineno, literal(node.args[0])


def literal(argument: ast.expr) -> str:
    """The module that a call names, as far as it is a literal: f"vmtgen.verbs.{x}" too."""
    if isinstance(argument, ast.JoinedStr):
        argument = argument.values[0]
    assert isinstance(argument, ast.Constant), "import_module() of a computed name"
    return str(argument.value)


@cache
def imports_of(room: str) -> tuple[tuple[str, str, str], ...]:
    """(importing module, file:line, imported module) of every import in a room."""
    top = ROOMS[room]
    found = []
    for path in sorted(top.rglob("*.py")):
        parts = [room, *path.relative_to(top).with_suffix("").parts]
        package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if package else parts)
        text = path.read_text(encoding="utf-8")
        for line, name in imported(text, module, package=package):
            found.append((module, f"{path.relative_to(ROOT)}:{line}", name))
    return tuple(found)


def inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_read(room: str) -> None:
    assert len({module for module, _, _ in imports_of(room)}) > 10


def test_generator_imports_neither_simulator_nor_vmtctl() -> None:
    wrong = [
        f"{place} imports {name}"
        for _, place, name in imports_of("vmtgen")
        if inside(name, ("vmtsim", "vmtctl"))
    ]
    assert wrong == []


def test_simulator_imports_only_module_and_yaml_readers_of_generator() -> None:
    wrong = [
        f"{place} imports {name}"
        for _, place, name in imports_of("vmtsim")
        if inside(name, ("vmtgen", "vmtctl")) and not inside(name, SHARED)
    ]
    assert wrong == []


def test_simulator_core_does_not_import_specs() -> None:
    wrong = [
        f"{place} imports {name}"
        for module, place, name in imports_of("vmtgen")
        if inside(module, SHARED) and inside(name, ("vmtgen",)) and not inside(name, SHARED)
    ]
    assert wrong == []


def test_only_simulated_processor_imports_unicorn() -> None:
    found = {
        module
        for room in ROOMS
        for module, _, name in imports_of(room)
        if inside(name, ("unicorn",))
    }
    assert found, "no import of unicorn found: does this test read the right files?"
    assert [module for module in sorted(found) if not inside(module, ("vmtsim.cpu",))] == []


def test_standard_dataclass_costs_no_start() -> None:
    """vmtgen.common.dataclass names it to type checkers; msgspec reads no other class."""
    found = {
        module
        for room in ("vmtgen", "vmtsim")
        for module, _, name in imports_of(room)
        if inside(name, ("dataclasses",))
    }
    assert found == {"vmtgen.common.dataclass", "vmtsim.campaign.record"}


def test_vmtctl_imports_standard_library_only() -> None:
    own = (*sys.stdlib_module_names, "vmtctl")
    wrong = [
        f"{place} imports {name}"
        for _, place, name in imports_of("vmtctl")
        if not inside(name, own)
    ]
    assert wrong == []


# The packages that a package of the simulator may import, lowest first.  A package that is
# not listed is refused; ``verbs`` may import all of them.
FLOORS: dict[str, tuple[str, ...]] = {
    "core": (),
    "cpu": ("core",),
    "host": ("core",),
    "kernel": ("core", "cpu"),
    "scenario": ("core", "host"),
    "run": ("core", "cpu", "host", "kernel", "scenario"),
    "report": ("core", "host", "kernel", "run", "scenario"),
    "campaign": ("core", "cpu", "host", "kernel", "report", "run", "scenario"),
    "fakeguest": ("core", "host", "kernel", "run", "scenario"),
    "gdb": ("core", "cpu", "host", "scenario"),
    "accept": ("core", "cpu", "gdb", "host", "kernel", "report", "run", "scenario"),
}
TOP = {"cli", "arguments", "verbs", "__main__"}


def test_simulator_packages_import_only_lower_layers() -> None:
    wrong = []
    for module, place, name in imports_of("vmtsim"):
        own = [*module.split("."), ""][1]
        other = [*name.split("."), ""][1]
        if not name.startswith("vmtsim.") or own in TOP or other in {own, "__version__"}:
            continue
        if other not in FLOORS.get(own, ()) and not typing_only(place):
            wrong.append(f"{place} imports {name}")
    assert wrong == []


@cache
def typing_lines(path: str) -> frozenset[int]:
    """The lines of a file that only a type checker reads."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    )


def typing_only(place: str) -> bool:
    path, _, line = place.rpartition(":")
    return int(line) in typing_lines(path)


@pytest.mark.parametrize("room", ["vmtgen", "vmtsim"])
def test_no_circular_imports(room: str) -> None:
    """Imports inside functions count: they only defer a circular import."""
    modules = {module for module, _, _ in imports_of(room)}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for module, place, name in imports_of(room):
        target = name if name in modules else name.rpartition(".")[0]
        if target in modules and target != module and not typing_only(place):
            graph[module].add(target)
    # A module that imports none of the rest is in no cycle,
    while leaves := {module for module, targets in graph.items() if not targets & graph.keys()}:
        for module in leaves:
            del graph[module]
    # nor is a module that none of the rest imports.
    while roots := {m for m in graph if not any(m in targets for targets in graph.values())}:
        for module in roots:
            del graph[module]
    assert sorted(graph) == []


def test_generic_code_names_no_specific_device() -> None:
    """Only scenarios and VMware's host may name vmt0."""
    theirs = {"host", "scenario", "scenarios", "fakeguest"}
    named = [
        str(path.relative_to(ROOT))
        for top in ("sim/vmtsim", "gen/vmtgen")
        for path in sorted((ROOT / top).rglob("*.py"))
        if "vmt0" in path.read_text("utf-8") and not theirs & set(path.parts)
    ]
    assert named == []


@pytest.mark.parametrize(
    ("source", "module", "package", "names"),
    [
        ("import a.b, c", "m", False, ["a.b", "c"]),
        ("from a import b", "m", False, ["a.b"]),
        ("def f():\n    from a.b import c as d", "m", False, ["a.b.c"]),
        ("from . import x", "p.m", False, ["p.x"]),
        ("from . import x", "p", True, ["p.x"]),
        ("from ..q import x", "p.r.m", False, ["p.q.x"]),
        ("importlib.import_module(f'a.b.{n}')", "m", False, ["a.b."]),
        ("__import__('a')", "m", False, ["a"]),
    ],
)
def test_imports_of_every_form_are_found(
    source: str, module: str, package: bool, names: list[str]
) -> None:
    assert [name for _, name in imported(source, module, package=package)] == names
