"""The system calls of the installer, in one place, so that a test can let each of them fail."""

from __future__ import annotations

import os


class Calls:
    """os functions by their own names; directories are file descriptors."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    fstat = staticmethod(os.fstat)
    fsync = staticmethod(os.fsync)
    fchmod = staticmethod(os.fchmod)
    fchown = staticmethod(os.fchown)
    utime = staticmethod(os.utime)
    stat = staticmethod(os.stat)
    link = staticmethod(os.link)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)

    @staticmethod
    def listdir(directory: int) -> list[str]:
        """List an open directory."""
        return os.listdir(directory)

    @staticmethod
    def chflags(path: str, flags: int) -> None:
        """Set the file flags on a BSD; other systems have none."""
        change = getattr(os, "lchflags", None) or getattr(os, "chflags", None)
        if change is not None:
            change(path, flags)
