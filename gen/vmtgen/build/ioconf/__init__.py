"""Writes what config(1) makes of a module's ioconf file: ioconf.c, ioconf.h and locators.h.

NetBSD's bsd.ioconf.mk runs config(1) on the file that IOCONF names.  config(1) runs on NetBSD or
comes with its tools; this package implements the part that a module needs.  Facts: config(5) and
usr.bin/config of NetBSD (scan.l and gram.y for the language, sem.c for the meaning, pack.c for
the order, mkioconf.c and mkheaders.c for what is written).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.build.ioconf.emit import Made, emit
from vmtgen.build.ioconf.read import read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Made", "make_ioconf"]


def make_ioconf(file: Path, sys: Path) -> Made:
    """Return the files that ``config -b DIR -s sys file`` writes for an ioconf file.

    ``sys`` is the NetBSD sys/ tree whose files.* the file includes.  Raises LocatedErrors with
    every error in the file, MissingInputError where there is no such file.
    """
    return emit(read(file, sys))
