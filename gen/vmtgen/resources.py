"""Finds the directories of the specs, the templates, the driver's C and the kernel headers.

In a checkout they are at the top level (the headers in gen/kpi), where people edit them; in a
wheel they are package data under vmtgen/data. Inside a checkout vmtgen uses that checkout, even
if the vmtgen that runs was installed from another.
"""

from __future__ import annotations

import re
from pathlib import Path

from vmtgen.common.errors import MissingInputError

_PACKAGE = Path(__file__).resolve().parent
_NAMED = re.compile(r"""^name *= *["']netbsd-vmt["']""", re.MULTILINE)  # in pyproject.toml
_IN_CHECKOUT = {
    "specs": "specs",
    "templates": "templates",
    "kmod": "kmod",
    "kpi": "gen/kpi",
    "mk": "gen/mk",
}


def root() -> Path | None:
    """Return the top of the checkout to work on.

    That is the one at or above the working directory, whichever installation runs; outside of
    any checkout, the one that contains this package. None for a wheel outside of any checkout.
    """
    own = _PACKAGE.parent.parent
    try:
        here = Path.cwd()
        candidates = (here, *here.parents, own)
    except FileNotFoundError:  # the working directory was removed
        candidates = (own,)
    return next((top for top in candidates if _is_checkout(top)), None)


def _is_checkout(top: Path) -> bool:
    if not ((top / "specs").is_dir() and (top / "templates").is_dir()):
        return False
    try:
        text = (top / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return _NAMED.search(text) is not None


def directory(name: str) -> Path:
    """Return the directory called ``name``: "specs", "templates", "kmod", "kpi" or "mk".

    Raises MissingInputError where neither a checkout nor a wheel has it.
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
