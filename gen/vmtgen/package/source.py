"""The source archive of a release, and pkgsrc's packages with its checksums.

pkgsrc requires a distribution file, DISTNAME.tar.gz, and beside each Makefile a file distinfo with
its checksums (pkgsrc mk/checksum, `make makesum`).
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from vmtgen import __version__
from vmtgen.common.errors import MissingInputError
from vmtgen.package.binary import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DISTNAME = f"netbsd-vmt-{__version__}"
# The files and directories from which pkgsrc's packages build, besides the modules' documents.
_SOURCES = ("LICENSE", "BUILDING.md", "kmod", "userland")
_PKGSRC = "pkgsrc/sysutils"


def _files(top: Path, name: str) -> Iterator[Path]:
    """Yield the files of a source, without leftovers of Python, make or an editor."""
    place = top / name
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise MissingInputError(f"no such file: {place}", hint="check it out again")
    for path in sorted(place.rglob("*")):
        parts = path.relative_to(top).parts
        left = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not left and path.suffix not in {".o", ".kmod", ".pyc", ".debug"}:
            yield path


def documents(top: Path, name: str) -> list[str]:
    """Return the pages generated from the module's templates, as files of the checkout."""
    pages = (top / "templates" / name).glob("*.md.j2")
    return sorted(f"docs/{path.name.removesuffix('.j2')}" for path in pages)


def source_entries(top: Path, plists: Mapping[str, bytes]) -> tuple[Entry, ...]:
    """Return the files of the distribution file, sorted; kmod/NAME gets its NAME.plist."""
    entries = [
        Entry(f"{DISTNAME}/kmod/{name}/{name}.plist", 0o644, plist)
        for name, plist in plists.items()
    ]
    for name in (*_SOURCES, *(page for module in plists for page in documents(top, module))):
        for path in _files(top, name):
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            place = f"{DISTNAME}/{path.relative_to(top).as_posix()}"
            entries.append(Entry(place, mode, path.read_bytes()))
    return tuple(sorted(entries, key=lambda entry: entry.path))


def pkgsrc_files(top: Path, archive: bytes) -> dict[str, bytes]:
    """Return pkgsrc's packages by their files' names, each with its distinfo."""
    found: dict[str, bytes] = {}
    for path in _files(top, _PKGSRC):
        found[path.relative_to(top).as_posix()] = path.read_bytes()
    for folder in {name.rpartition("/")[0] for name in found if name.endswith("/Makefile")}:
        found[f"{folder}/distinfo"] = distinfo(f"{DISTNAME}.tar.gz", archive)
    return dict(sorted(found.items()))


def distinfo(name: str, data: bytes) -> bytes:
    """Return the checksums as `make makesum` writes them."""
    return (
        "$NetBSD$\n\n"
        f"BLAKE2s ({name}) = {hashlib.blake2s(data).hexdigest()}\n"
        f"SHA512 ({name}) = {hashlib.sha512(data).hexdigest()}\n"
        f"Size ({name}) = {len(data)} bytes\n"
    ).encode("ascii")
