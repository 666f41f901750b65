"""What is worked out of a file's content at each start, kept for the next one.

Entries are JSON in ``$XDG_CACHE_HOME/netbsd-vmt`` (``~/.cache/netbsd-vmt``), one file each, named
by the content that they were made of and by what made them.  A cache that cannot be read or
written is as good as an empty one: nothing depends on it but the time that a start takes.
It keeps to LIMIT: what was made longest ago goes first.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

VERSION = 1
"""Part of each name: counted up when the form of what is kept changes."""
LIMIT = 64 << 20
"""So many bytes all entries may have together."""


def _place(kind: str, content: bytes) -> Path | None:
    """Return where the entry lies; None where the user has no home."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not home.is_absolute():  # the specification says so: what is relative is no value
        try:
            home = Path("~/.cache").expanduser()
        except RuntimeError:
            return None
    # Two checksums and the length: a file of ours that changes does not meet them again by chance.
    marks = f"{zlib.crc32(content):08x}{zlib.adler32(content):08x}-{len(content)}"
    return home / "netbsd-vmt" / f"{kind}-{VERSION}-{marks}.json"


def get(kind: str, content: bytes) -> Any:
    """Return what is kept for ``content``, None where nothing is."""
    place = _place(kind, content)
    if place is None:
        return None
    try:
        return json.loads(place.read_bytes())
    except (OSError, ValueError):
        return None


def put(kind: str, content: bytes, data: object) -> None:
    """Keep ``data``, in one step, so that another process never reads half of it."""
    place = _place(kind, content)
    if place is None:
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")
            temporary.replace(place)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _shrink(place.parent)


def _shrink(folder: Path) -> None:
    """Remove the oldest entries, and what a process left that was killed while it wrote.

    An entry that another process removes meanwhile is gone all the same.
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
