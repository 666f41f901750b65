"""Where the specs, the templates and the kernel headers are.

In a checkout they lie at the top level (the headers in gen/kpi), where people edit them; in a
wheel they travel as package data under vmtgen/data.
"""

from __future__ import annotations

from pathlib import Path

from vmtgen.errors import MissingInputError

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = {"specs": "specs", "templates": "templates", "kpi": "gen/kpi"}


def root() -> Path | None:
    """Return the top directory of the checkout that runs; None in a wheel."""
    top = _PACKAGE.parent.parent
    if (top / "pyproject.toml").is_file() and (top / "gen" / "vmtgen").is_dir():
        return top
    return None


def directory(name: str) -> Path:
    """Return the directory called ``name``: "specs", "templates" or "kpi".

    Raises MissingInputError where neither a checkout nor a wheel holds it.
    """
    if name not in _IN_CHECKOUT:
        known = ", ".join(_IN_CHECKOUT)
        raise ValueError(f"no resource directory {name!r}: there are {known}")
    packaged = _PACKAGE / "data" / name
    top = root()
    if top is not None:
        found = top / _IN_CHECKOUT[name]
        if found.is_dir():
            return found
    if packaged.is_dir():
        return packaged
    raise MissingInputError(
        f"the {name} are not installed: {packaged} is not a directory",
        hint="install the wheel again, or run from a checkout",
    )
