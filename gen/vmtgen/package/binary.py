"""NetBSD's binary packages: what pkg_add(1) installs and pkg_delete(1) removes.

A package is a compressed tar file. Its first members are the meta-data files, in the order of
pkgsrc pkgtools/pkg_install, files/add/perform.c (pkg_meta_descriptors); after them come the files
in the order of +CONTENTS, and nothing else: pkg_add refuses any other order. +CONTENTS has the
form in which pkg_create(1) writes it (files/create/build.c, files/lib/plist.c).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from vmtgen import __version__
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import MissingInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# pkg_install 2009-11-15 and every later version reads these packages; pkg_add refuses a package
# of a newer version than its own (files/add/perform.c, check_pkgtools_version).
TOOLS_VERSION = "20091115"
PREFIX = "/usr/pkg"
MAINTAINER = "pkgsrc-users@NetBSD.org"
# Any Python that vmtctl runs with; pkg_add installs the first one if none is there. The syntax is
# csh-style alternatives, then a version (files/lib/opattern.c, pkg_match and alternate_match).
PYTHON = "python{310,311,312,313,314}>=3.10"
# NetBSD's MACHINE_ARCH where it differs from the target's name.
_MACHINE_ARCH = {"amd64": "x86_64"}
# Meta-data files after +CONTENTS, in the order of the archive.
_META = ("+COMMENT", "+DESC", "+INSTALL", "+DEINSTALL", "+DISPLAY", "+BUILD_INFO",
         "+SIZE_PKG", "+SIZE_ALL")  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One file of an archive; `path` is relative to /."""

    path: str
    mode: int
    data: bytes


@dataclass(frozen=True)
class Recipe:
    """The data of a package from pkgsrc's package of the same name: pkgsrc/sysutils/NAME.

    `message` may hold ${PREFIX}, ${MACHINE} and ${OS_VERSION}, as MESSAGE in pkgsrc.
    """

    name: str
    comment: str
    license: str
    categories: str
    description: str
    message: str
    depends: tuple[str, ...] = ()
    install: bytes | None = None
    deinstall: bytes | None = None


@dataclass(frozen=True)
class BinaryPackage:
    """A package for a release and a machine; `members` are its archive's, in order."""

    name: str
    members: tuple[Entry, ...]

    @property
    def file(self) -> str:
        """The file's name, by which pkg_add finds a dependency."""
        return f"{self.name}.tgz"


def recipe(
    top: Path,
    name: str,
    *,
    depends: tuple[str, ...] = (),
    scripts: Path | None = None,
) -> Recipe:
    """Return the recipe of pkgsrc/sysutils/NAME; `scripts` holds install and deinstall.

    Raises MissingInputError where the checkout lacks a file or the Makefile a variable.
    """
    folder = top / "pkgsrc/sysutils" / name
    try:
        makefile = (folder / "Makefile").read_text(encoding="utf-8")
        description = (folder / "DESCR").read_text(encoding="utf-8")
        message = (folder / "MESSAGE").read_text(encoding="utf-8")
        install = (scripts / "install").read_bytes() if scripts else None
        deinstall = (scripts / "deinstall").read_bytes() if scripts else None
    except OSError as error:
        raise MissingInputError(
            f"cannot read {error.filename}: {error.strerror}", hint="check it out again"
        ) from error

    def value(variable: str) -> str:
        found = re.search(rf"^{variable}=\s*(\S.*)$", makefile, re.MULTILINE)
        if found is None:
            raise MissingInputError(f"{folder / 'Makefile'}: no {variable}")
        return found[1].strip()

    return Recipe(
        name,
        value("COMMENT"),
        value("LICENSE"),
        value("CATEGORIES"),
        description,
        message.replace("$NetBSD$\n\n", ""),
        depends,
        install,
        deinstall,
    )


def package(
    recipe: Recipe,
    files: Iterable[Entry],
    *,
    machine: str,
    directory: str,
    release: str,
    seconds: int,
) -> BinaryPackage:
    """Return the package of the files, which are below PREFIX.

    `machine` is a target's name, `directory` its MACHINE, `seconds` the time of the build since
    1970.
    """
    name = f"{recipe.name}-{__version__}"
    inside = [
        Entry(entry.path.removeprefix(f"{PREFIX[1:]}/"), entry.mode, entry.data)
        for entry in sorted(files, key=lambda entry: entry.path)
    ]
    size = b"%d\n" % sum(len(entry.data) for entry in inside)
    message = recipe.message
    for variable, value in (
        ("PREFIX", PREFIX), ("MACHINE", directory), ("OS_VERSION", release),
    ):  # fmt: skip
        message = message.replace(f"${{{variable}}}", value)
    meta: dict[str, tuple[int, bytes | None]] = {
        "+COMMENT": (0o444, f"{recipe.comment}\n".encode()),
        "+DESC": (0o444, recipe.description.encode()),
        "+INSTALL": (0o555, recipe.install),
        "+DEINSTALL": (0o555, recipe.deinstall),
        "+DISPLAY": (0o444, message.encode()),
        "+BUILD_INFO": (0o444, _build_info(recipe, machine, release, seconds)),
        "+SIZE_PKG": (0o444, size),
        "+SIZE_ALL": (0o444, size),
    }
    present = [
        Entry(file, mode, data) for file in _META for mode, data in [meta[file]] if data is not None
    ]
    listed = contents(name, recipe.depends, inside, [entry.path for entry in present])
    return BinaryPackage(name, (Entry("+CONTENTS", 0o644, listed), *present, *inside))


def contents(
    name: str, depends: Iterable[str], files: Iterable[Entry], meta: Iterable[str]
) -> bytes:
    """Return +CONTENTS: the name, what it depends on, and each file with its MD5."""
    lines = [f"@cwd {PREFIX}", f"@name {name}"]
    lines += [f"@pkgdep {pattern}" for pattern in depends]
    for entry in files:
        digest = hashlib.md5(entry.data, usedforsecurity=False).hexdigest()
        lines += [entry.path, f"@comment MD5:{digest}"]
    lines.append(f"@cwd {PREFIX}")
    for file in meta:
        lines += ["@ignore", file]
        if file == "+DISPLAY":
            lines.append(f"@display {file}")
    return "\n".join([*lines, ""]).encode()


def _build_info(recipe: Recipe, machine: str, release: str, seconds: int) -> bytes:
    """Return +BUILD_INFO: pkg_add insists on OPSYS, OS_VERSION and MACHINE_ARCH."""
    built = datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S +0000")
    values: Mapping[str, str] = {
        "BUILD_DATE": built,
        "CATEGORIES": recipe.categories,
        "LICENSE": recipe.license,
        "LOCALBASE": PREFIX,
        "MACHINE_ARCH": _MACHINE_ARCH.get(machine, machine),
        "MAINTAINER": MAINTAINER,
        "OPSYS": "NetBSD",
        "OS_VERSION": release,
        "PKGPATH": f"sysutils/{recipe.name}",
        "PKGTOOLS_VERSION": TOOLS_VERSION,
    }
    return "".join(f"{key}={value}\n" for key, value in sorted(values.items())).encode()
