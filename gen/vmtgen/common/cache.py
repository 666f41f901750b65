"""Caches results that follow from a file's content, from one process to the next.

Entries are JSON in ``$XDG_CACHE_HOME/netbsd-vmt`` (``~/.cache/netbsd-vmt``), one file each, named
by a hash of that content and of the code that computed them.  A cache that cannot be read or
written counts as empty: only the time of a start depends on it.
The cache stays around LIMIT: the oldest entries are removed first.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

VERSION = 1
"""Part of each name; increment it when the format of the entries changes."""
LIMIT = 64 << 20
"""The limit of all entries together, in bytes."""
EVERY = 64
"""One ``put`` in this many removes the oldest entries; so does each entry above LIMIT / EVERY.

Listing all entries takes longer than computing most of them.
"""


def _place(kind: str, content: bytes) -> Path | None:
    """Return the path of the entry; None where the user has no home."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not home.is_absolute():  # the specification ignores a relative path
        try:
            home = Path("~/.cache").expanduser()
        except RuntimeError:
            return None
    # Two checksums and the length: a changed file does not have the same three by chance.
    marks = f"{zlib.crc32(content):08x}{zlib.adler32(content):08x}-{len(content)}"
    return home / "netbsd-vmt" / f"{kind}-{VERSION}-{marks}.json"


def get(kind: str, content: bytes) -> Any:
    """Return the entry for ``content``, None where there is none."""
    place = _place(kind, content)
    if place is None:
        return None
    try:
        return json.loads(place.read_bytes())
    except (OSError, ValueError):
        return None


def put(kind: str, content: bytes, data: object) -> None:
    """Store ``data`` atomically, so that another process never reads half of it."""
    place = _place(kind, content)
    if place is None:
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            size = temporary.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")
            temporary.replace(place)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        if zlib.crc32(content) % EVERY == 0 or size > LIMIT // EVERY:
            _shrink(place.parent)


def _shrink(folder: Path) -> None:
    """Remove the oldest entries, and partial files of processes that were killed while writing.

    Another process may remove an entry at the same time; that is no error.
    """
    found = []
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            found.append((status.st_mtime_ns, status.st_size, entry.path))
    size = sum(each[1] for each in found)
    for _when, bytes_of_it, path in sorted(found):
        if size <= LIMIT:
            break
        Path(path).unlink(missing_ok=True)
        size -= bytes_of_it
