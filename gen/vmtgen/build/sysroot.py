"""Where a build takes the kernel's headers from: the project's, or a real NetBSD sys/ tree."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.build.toolchain import zig_headers
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import MissingInputError
from vmtgen.common.files import shown

if TYPE_CHECKING:
    from pathlib import Path

    from vmtgen.targets import MachineTarget


_VERSION = re.compile(r"^#define\s+__NetBSD_Version__\s+([0-9]+)", re.MULTILINE)


@dataclass(frozen=True)
class Headers:
    """The flags that find the headers, and the names that their directories get in DWARF.

    `digest` is the hash of their contents; `cacheable` is False where the contents are unknown.
    """

    flags: tuple[str, ...]
    maps: tuple[tuple[str, str], ...]
    digest: str
    cacheable: bool


@cache
def own_headers(machine: str) -> Headers:
    """Return the project's own headers for a machine.

    Raises MissingInputError where they are incomplete.
    """
    kpi = resources.directory("kpi")
    directories = (kpi / machine, kpi / "include")
    total = hashlib.sha256()
    for directory in directories:
        if not directory.is_dir():
            raise MissingInputError(
                f"{shown(directory)}: no such directory",
                hint="the kernel headers are incomplete: check out or install again",
            )
        for header in sorted(directory.rglob("*.h")):
            total.update(f"{header.relative_to(kpi).as_posix()}\0".encode())
            total.update(hashlib.sha256(header.read_bytes()).digest())
    return Headers(
        tuple(flag for directory in directories for flag in ("-isystem", str(directory))),
        ((str(kpi), "kpi"),),
        total.hexdigest(),
        cacheable=True,
    )


def tree_version(sys: Path) -> int:
    """Return the __NetBSD_Version__ that the tree at `sys` defines in sys/param.h.

    Raises MissingInputError where `sys` is not a NetBSD sys/ tree.
    """
    parameters = sys / "sys" / "param.h"
    if not parameters.is_file():
        nested = sys / "sys"
        inside = (nested / "sys" / "param.h").is_file()
        hint = f"give {nested}" if inside else "as --sys /usr/src/sys"
        raise MissingInputError(f"{sys}: no NetBSD sys/ tree: it has no sys/param.h", hint=hint)
    match = _VERSION.search(parameters.read_text(encoding="utf-8", errors="replace"))
    if match is None:
        raise MissingInputError(f"{parameters}: does not define __NetBSD_Version__")
    return int(match.group(1))


def tree_headers(sys: Path, machine: MachineTarget, links: Path) -> Headers:
    """Return the headers of the NetBSD tree at `sys`, as bsd.kmodule.mk finds them.

    `links` is a directory for the links machine, x86 and so on that NetBSD makes in the
    build directory. Raises MissingInputError where `sys` is not such a tree.
    """
    sys = sys.resolve()
    tree_version(sys)
    folder = links / hashlib.sha256(f"{sys}\0{machine.name}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in machine.links.items():
        _link(folder / name, sys / target)
    flags = ["-I", str(folder), "-isystem", str(sys), "-isystem", str(sys / "arch")]
    maps = [(str(folder), "sys/links"), (str(sys), "sys")]
    common = sys.parent / "common" / "include"
    if (common / "prop" / "proplib.h").is_file():
        flags += ["-isystem", str(common)]
        maps.append((str(common), "common/include"))
    else:
        # A tree without common/ beside it: NetBSD installs the same prop/ headers.
        _link(folder / "prop", zig_headers() / "prop")
    return Headers(tuple(flags), tuple(maps), "", cacheable=False)


def _link(place: Path, target: Path) -> None:
    if not target.is_dir():
        raise MissingInputError(
            f"{target}: no such directory", hint="the tree is incomplete: unpack all of syssrc.tgz"
        )
    if place.is_symlink() and place.readlink() == target:
        return
    place.unlink(missing_ok=True)
    place.symlink_to(target)
