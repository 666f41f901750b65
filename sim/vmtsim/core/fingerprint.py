"""Identifies the code of this vmtsim: a seed gives the same run only with the same code."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def digest() -> str:
    """Return the SHA-256, in hex, of the Python sources of vmtsim and of vmtgen.kobj.

    The latter reads and links modules.  The digest is of the files when it is first requested.
    """
    import vmtgen.kobj  # noqa: PLC0415 - `--version` and `--help` need none of it

    total = hashlib.sha256()
    for directory in (Path(__file__).parents[1], Path(vmtgen.kobj.__file__).parent):
        for path in sorted(directory.rglob("*.py")):
            total.update(path.relative_to(directory).as_posix().encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
