"""Reads specs/*.yaml into the model, and tells everything that is wrong with them at once."""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any

from vmtgen import resources
from vmtgen.common.construct import Pass
from vmtgen.common.errors import MissingInputError
from vmtgen.common.files import shown
from vmtgen.common.located import LocatedErrors, Problem, load_yaml, nearest
from vmtgen.compiler.model import Specs
from vmtgen.compiler.spec.needs import check_needs
from vmtgen.compiler.spec.together import check_together

if TYPE_CHECKING:
    from pathlib import Path

    from vmtgen.common.located import Node

FILES: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Specs))
"""The specs by name, without ``.yaml``."""


def load(directory: Path, needs: Path | None = None) -> Specs:
    """Read every spec in ``directory``; ``needs`` is what the templates and the C expect of them.

    Raises MissingInputError where the directory is not there, and LocatedErrors with all that is
    wrong in all files, a missing or surplus file among it.
    """
    if not directory.is_dir():
        raise MissingInputError(
            f"{shown(directory)}: no such directory",
            hint="--specs names the directory that holds backdoor.yaml and the other specs",
        )
    schemas: dict[str, Any] = typing.get_type_hints(Specs)
    run = Pass()
    documents = _documents(directory, run, keep=directory == resources.directory("specs"))
    values = {name: run.document(node, schemas[name], name) for name, node in documents.items()}
    run.finish()
    complete = {name: value for name, value in values.items() if value is not None}
    check_together(complete, documents, run.problems)
    if needs is not None and not run.problems:
        check_needs(needs, complete, documents, run.problems)
    run.problems.raise_if_any()
    return Specs(**complete)


def _documents(directory: Path, run: Pass, *, keep: bool) -> dict[str, Node]:
    """Read the files; those that cannot be read are noted in ``run``."""
    documents: dict[str, Node] = {}
    present = {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    for name in FILES:
        try:
            if name in present:
                documents[name] = load_yaml(present[name], run.problems, keep=keep)
                continue
            run.problems.extend([_missing(directory, name, set(present) - set(FILES))])
        except LocatedErrors as errors:
            run.problems.extend(errors.problems)
        run.unreadable.add(name)
    for name in sorted(set(present) - set(FILES)):
        said = f"no spec is called {name}: expected {', '.join(FILES)}"
        run.problems.extend([Problem(shown(present[name]), 0, 0, "", said, nearest(name, FILES))])
    return documents


def _missing(directory: Path, name: str, surplus: set[str]) -> Problem:
    near = nearest(name, surplus)
    meant = f"{near}.yaml" if near else None
    return Problem(shown(directory / f"{name}.yaml"), 0, 0, "", "no such file", meant)
