"""Disk images as they are published: raw, qcow2, or either with .gz.  The file is never written.

The guest's writes go to QEMU's snapshot file, which QEMU deletes at exit.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import IO_ERROR, NO_INPUT, ReportedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_GZIP, _QCOW2 = b"\x1f\x8b", b"QFI\xfb"
_CHUNK = 1 << 20
# Space for the guest's writes while it runs (bytes).
OVERLAY = 512 << 20
_PROGRESS = 256 << 20


class DiskError(ReportedError):
    """An image that cannot be used."""


@dataclass(frozen=True)
class Disk:
    """An image that QEMU can open: its file and format."""

    path: Path
    format: str


def size_unpacked(path: Path) -> int:
    """Return the minimum unpacked size of a gzip file: its trailer has it modulo 4 GiB."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        size = int.from_bytes(file.read(4), "little")
    packed = path.stat().st_size
    while size < packed // 2:
        size += 1 << 32
    return size


def prepared(path: Path, work: Path, print_line: Callable[[str], None]) -> Disk:
    """Return the image, unpacked into ``work`` if necessary.

    Raises DiskError: no such file, not an image, or not enough space, which is checked first.
    """
    head = _head(path)
    if head.startswith(_GZIP):
        need = size_unpacked(path)
        _check_room(work, need + OVERLAY, f"{path.name} is {need >> 20} MiB when unpacked")
        target = work / path.stem
        _unpack(path, target, need, print_line)
        return Disk(target, _format(_head(target)))
    _check_room(work, OVERLAY, "the guest's writes")
    return Disk(path.resolve(), _format(head))


def kernel(path: Path, work: Path) -> Path:
    """Return a kernel's file, unpacked into ``work`` if it is packed; raises DiskError."""
    if not _head(path).startswith(_GZIP):
        return path.resolve()
    target = work / path.stem
    _unpack(path, target, size_unpacked(path), lambda _line: None)
    return target


def _format(head: bytes) -> str:
    return "qcow2" if head.startswith(_QCOW2) else "raw"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DiskError(
            f"cannot read {path}: {error.strerror}",
            hint="docs/acceptance.md has the places of NetBSD's live images",
            exit_status=NO_INPUT,
        ) from error
    if not head:
        raise DiskError(f"{path} is empty")
    return head


def _check_room(work: Path, need: int, why: str) -> None:
    free = shutil.disk_usage(work).free
    if free < need:
        raise DiskError(
            f"no space in {work}: {why}, {need >> 20} MiB are needed and {free >> 20} MiB free",
            hint="set TMPDIR to a directory with enough space",
            exit_status=IO_ERROR,
        )


def _unpack(path: Path, target: Path, size: int, print_line: Callable[[str], None]) -> None:
    """Unpack, leaving holes for zeros."""
    done = reported = 0
    try:
        with gzip.open(path, "rb") as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                if chunk.strip(b"\0"):
                    out.write(chunk)
                else:
                    out.seek(len(chunk), 1)
                done += len(chunk)
                if done - reported >= _PROGRESS:
                    reported = done
                    print_line(
                        f"unpacking {path.name}: {done >> 20} of {max(size, done) >> 20} MiB"
                    )
            out.truncate(done)
    except (OSError, EOFError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise DiskError(f"cannot unpack {path}: {error}") from error
