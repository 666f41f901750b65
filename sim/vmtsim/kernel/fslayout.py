"""Layouts and numbers of mounted file systems (NetBSD sys/sys/mount.h, statvfs.h, fstypes.h).

Offsets measured with the headers of NetBSD 10 and 11.
"""

from __future__ import annotations

import struct

from vmtgen.common.dataclass import dataclass, field

MNT_RDONLY = 0x1
MNT_LOCAL = 0x1000
MNT_ROOTFS = 0x4000
MNT_WAIT, MNT_NOWAIT = 1, 2
IMNT_GONE = 1

# struct statvfs by pointer size: flag, bsize, frsize, iosize; blocks and files; reads and writes;
# f_fsidx, f_fsid, f_namemax, f_owner; spare; names of type, directory, device and label.
_STATVFS = {
    8: struct.Struct("<4Q8Q4Q2iQQI4x32x32s1024s1024s1024s"),
    4: struct.Struct("<4I8Q4Q2iIII32x32s1024s1024s1024s"),
}
STATVFS_SIZE = {size: layout.size for size, layout in _STATVFS.items()}


@dataclass(frozen=True)
class MountLayout:
    """The offsets of members of struct mount, in bytes."""

    op: int
    flag: int
    iflag: int
    refcnt: int
    stat: int
    size: int


MOUNT = {
    8: MountLayout(8, 48, 52, 128, 152, 3456),
    4: MountLayout(4, 24, 28, 128, 144, 3456),
}


@dataclass
class Figures:
    """The result of statvfs(2) for a file system; blocks are ``frsize`` bytes."""

    frsize: int
    bsize: int
    blocks: int
    free: int
    reserved: int = 0  # blocks that only root may use
    files: int = 0
    free_files: int = 0
    writes: int = field(default=0)

    @property
    def available(self) -> int:
        """Blocks that users other than root may use: never negative."""
        return max(self.free - self.reserved, 0)


def pack_statvfs(
    pointer_size: int,
    figures: Figures,
    flags: int,
    number: int,
    kind: str,
    directory: str,
    source: str,
) -> bytes:
    """Return struct statvfs."""
    return _STATVFS[pointer_size].pack(
        flags,
        figures.bsize,
        figures.frsize,
        figures.bsize,
        figures.blocks,
        figures.free,
        figures.available,
        figures.reserved,
        figures.files,
        figures.free_files,
        figures.free_files,
        0,
        0,
        figures.writes,
        0,
        0,
        number,
        sum(kind.encode()) & 0x7FFF,
        number,
        255,
        0,
        kind.encode("latin-1"),
        directory.encode("latin-1"),
        source.encode("latin-1"),
        b"",
    )
