"""The kernel modules that the specs describe: each has a directory in specs/, templates/ and kmod/.

This module knows no module by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.common.errors import MissingInputError, UsageError
from vmtgen.common.files import shown
from vmtgen.common.located import listed, nearest

WHERE = "--specs names the directory that holds netbsd.yaml and a directory of each module"
"""The hint for a wrong directory."""

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def known(specs: Path | None = None) -> tuple[str, ...]:
    """Return the names of the modules: of the directories in ``specs``, sorted."""
    directory = specs or resources.directory("specs")
    if not directory.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in directory.glob("[!.]*/driver.yaml")))


def expect(name: str, specs: Path | None = None) -> str:
    """Return ``name``; UsageError where there is no module of that name."""
    names = known(specs)
    if name not in names:
        near = nearest(name, names)
        there = f"there are {listed(names)}" if names else "there is none"
        raise UsageError(
            f"no module {name!r} in {shown(specs or resources.directory('specs'))}: {there}",
            hint=f"did you mean {near}?" if near else None,
        )
    return name


def chosen(name: str | None, specs: Path | None = None) -> tuple[str, ...]:
    """Return the module called ``name``, or every one; an error where there is none."""
    if name is not None:
        return (expect(name, specs),)
    names = known(specs)
    if not names:
        directory = specs or resources.directory("specs")
        wrong = (
            "no directory in it has a driver.yaml" if directory.is_dir() else "no such directory"
        )
        raise MissingInputError(
            f"{shown(directory)}: {wrong}",
            hint=WHERE,
        )
    return names


def add_argument(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Declare --module; ``otherwise`` describes the default."""
    parser.add_argument(
        "--module", metavar="NAME", help=f"the module NAME of specs/ (default: {otherwise})"
    )
