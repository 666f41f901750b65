"""Files for a guest without a network: a raw disk that contains only a tar archive.

The guest recognises the disk by the name of the archive's first member, reads it with tar(1), and
has module and scripts in one directory.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The first member's name: the first bytes of the disk.
FOLDER = "vmt-accept"
_HERE = Path(__file__).parent
SCRIPTS = ("guest.sh", "reporter.sh")
# A disk has whole tracks; tar(1) reads blocks of 10 KiB.
_ROUND = 1 << 20


def archive(files: Mapping[str, Path]) -> bytes:
    """Return a tar archive with the scripts and ``files`` (name in the guest -> file here)."""
    whole = {name: _HERE / name for name in SCRIPTS} | dict(files)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo(FOLDER)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, path in whole.items():
            content = path.read_bytes()
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            member.mode = 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def disk(path: Path, files: Mapping[str, Path]) -> None:
    """Write the disk."""
    content = archive(files)
    path.write_bytes(content.ljust(-(-len(content) // _ROUND) * _ROUND, b"\0"))
