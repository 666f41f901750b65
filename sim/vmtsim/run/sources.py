"""The source files of a module, identified by their content.

DWARF 5 line tables contain an MD5 of each file.  A file with the right name and other content is
another version: a line of it would point at the wrong code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj import LineTable


def find_source(
    module: Path, recorded: str, lines: LineTable, directory: Path | None = None
) -> Path | None:
    """Return the file for ``recorded`` (a path as the compiler wrote it), None if unknown.

    It is searched in ``directory``, else beside the module, in each directory above it, in
    ``kmod/NAME`` there, and in the working directory.  If the line table has no digest (DWARF 4),
    the name is enough, except in the working directory.
    """
    digest = lines.digests.get(recorded)
    for path, near in _candidates(module, recorded, directory):
        if not path.is_file():
            continue
        if digest is None and near:
            return path
        if digest is not None and hashlib.md5(path.read_bytes()).digest() == digest:
            return path
    return None


def _candidates(module: Path, recorded: str, directory: Path | None) -> Iterator[tuple[Path, bool]]:
    """Yield (path, whether it is near the module)."""
    bare, name = Path(recorded).name, module.name.partition(".")[0]
    if directory is not None:
        yield directory / bare, True
        return
    places = [(above, True) for above in module.resolve().parents]
    for place, near in (*places, (Path.cwd(), False)):
        for path in (place / recorded, place / "kmod" / name / bare, place / bare):
            yield path, near
