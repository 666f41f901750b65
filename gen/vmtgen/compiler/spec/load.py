"""Reads specs/MODULE/*.yaml into the model, and reports all their errors at once."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

from vmtgen import modules, resources
from vmtgen.common.construct import Pass
from vmtgen.common.errors import MissingInputError
from vmtgen.common.files import shown
from vmtgen.common.located import LocatedErrors, Problem, load_yaml, nearest
from vmtgen.compiler.model import Specs
from vmtgen.compiler.spec.needs import check_needs, needed_specs
from vmtgen.compiler.spec.together import check_together

if TYPE_CHECKING:
    from pathlib import Path

    from vmtgen.common.located import Node
    from vmtgen.targets import MachineTarget, Release

SCHEMAS: dict[str, Any] = {
    name: hint for name, hint in typing.get_type_hints(Specs).items() if name != "module"
}
"""The kinds of specs: the type of each file by its name without ``.yaml``."""

FILES: tuple[str, ...] = tuple(SCHEMAS)
_ALWAYS = ("driver", "netbsd")  # the specs of every module
SHARED = ("netbsd",)
"""The specs beside the directories of the modules."""


def load(directory: Path, needs: Path | None = None) -> Specs:
    """Read the specs of a module from its ``directory`` and the shared ones from that above it.

    ``needs`` lists the names that the templates and the C take from them (needs.yaml). Raises
    MissingInputError where there is no such directory, and LocatedErrors with the errors of all
    files; a missing or unexpected file is one of them.
    """
    if not directory.is_dir():
        raise MissingInputError(
            f"{shown(directory)}: no such directory",
            hint=modules.WHERE,
        )
    run = Pass()
    required = {*_ALWAYS, *(needed_specs(needs) if needs is not None else ())}
    documents = _documents(
        directory, required, run, keep=directory.parent == resources.directory("specs")
    )
    values = {name: run.document(node, SCHEMAS[name], name) for name, node in documents.items()}
    run.finish()
    complete = {name: value for name, value in values.items() if value is not None}
    check_together(complete, documents, run.problems)
    if needs is not None and not run.problems:
        check_needs(needs, complete, documents, run.problems)
    run.problems.raise_if_any()
    return Specs(module=directory.name, **complete)


def unsupported(name: str, release: Release, machine: MachineTarget) -> str | None:
    """Return why the module `name` is not made for a target, None where it is."""
    module = load(resources.directory("specs") / name).driver.module
    return module.unsupported(machine.name) or machine.unsupported(release.version)


def _documents(directory: Path, required: set[str], run: Pass, *, keep: bool) -> dict[str, Node]:
    """Read the files; those that cannot be read are noted in ``run``."""
    documents: dict[str, Node] = {}
    present = {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    shared = {name: directory.parent / f"{name}.yaml" for name in SHARED}
    present |= {name: path for name, path in shared.items() if path.exists()}
    for name in FILES:
        if name not in present and name not in required:
            continue
        try:
            if name in present:
                documents[name] = load_yaml(present[name], run.problems, keep=keep)
                continue
            place = directory.parent if name in SHARED else directory
            run.problems.extend([_missing(place, name, set(present) - set(FILES))])
        except LocatedErrors as errors:
            run.problems.extend(errors.problems)
        run.unreadable.add(name)
    for name in sorted(set(present) - set(FILES)):
        near = nearest(name, FILES)
        message = f"no spec is called {name}: expected {', '.join(FILES)}"
        run.problems.extend([Problem(shown(present[name]), 0, 0, "", message, near)])
        if near is not None and near not in documents:
            run.unreadable.add(near)  # its names are unknown
    return documents


def _missing(directory: Path, name: str, unexpected: set[str]) -> Problem:
    near = nearest(name, unexpected)
    meant = f"{near}.yaml" if near else None
    return Problem(shown(directory / f"{name}.yaml"), 0, 0, "", "no such file", meant)
