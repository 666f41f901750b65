"""The files of a release, for each module, NetBSD release and machine: packages and an archive.

The packages, the module's and vmtctl, are pkg_add's (see binary.py). The archive has the files of
both, laid out from /; `tar -xpzf FILE -C /` unpacks it. The bytes
depend on the contents alone: files are sorted, belong to root, and have one modification time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from vmtgen import __version__, resources
from vmtgen.build.compile import build_module
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import MissingInputError, ReportedError, UsageError
from vmtgen.lint.check import lint_file
from vmtgen.package.binary import PREFIX, PYTHON, BinaryPackage, Entry, Recipe, package, recipe
from vmtgen.package.source import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vmtgen.build.compile import Built
    from vmtgen.compiler.model import Specs
    from vmtgen.targets import MachineTarget, Release, Targets

# Without SOURCE_DATE_EPOCH every file is of 2026-01-01T00:00:00Z.
_EPOCH = 1_767_225_600
_PREFIX = PREFIX[1:]
_PLIST_TYPE = (
    '"-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd"'
)

COMPANION = "vmtctl"

# (package, file of the checkout, its place below usr/pkg, mode). The rc.d scripts and powerd's are
# where pkgsrc puts files of that kind: as examples, for the administrator or vmtctl to install.
COMMON: tuple[tuple[str, str, str, int], ...] = (
    (COMPANION, "LICENSE", "share/doc/vmtctl/LICENSE", 0o444),
    (COMPANION, "userland/vmtctl.8", "man/man8/vmtctl.8", 0o444),
    (COMPANION, "userland/bin/vmtctl", "bin/vmtctl", 0o555),
    # The directories that pkgsrc's shells search.
    (COMPANION, "userland/completions/vmtctl.bash",
     "share/bash-completion/completions/vmtctl", 0o444),
    (COMPANION, "userland/completions/vmtctl.fish",
     "share/fish/vendor_completions.d/vmtctl.fish", 0o444),
    (COMPANION, "userland/completions/vmtctl.zsh", "share/zsh/site-functions/_vmtctl", 0o444),
    (COMPANION, "userland/rc.d/vmtctl", "share/examples/rc.d/vmtctl", 0o555),
    (COMPANION, "userland/rc.d/vmtools.conf", "share/examples/vmtctl/rc.conf.d/vmtools", 0o444),
    (COMPANION, "userland/examples/rc.conf", "share/examples/vmtctl/rc.conf", 0o444),
)  # fmt: skip
# Every file there is one of powerd's.
_POWERD = "userland/powerd"
_ZIPAPP = "userland/make_zipapp.py"


@dataclass(frozen=True)
class Common:
    """The data that all targets share: the files and the recipe of each package, by its name.

    `plists` are the property lists of the modules, by the module's name.
    """

    files: Mapping[str, tuple[Entry, ...]]
    recipes: Mapping[str, Recipe]
    plists: Mapping[str, bytes]


@dataclass(frozen=True)
class Packed:
    """An archive or package of a release; `path` is relative to the output directory."""

    path: Path
    data: bytes
    entries: tuple[Entry, ...]

    @property
    def sha512(self) -> str:
        """The file's SHA512 in hexadecimal."""
        return hashlib.sha512(self.data).hexdigest()


@dataclass(frozen=True)
class Product:
    """The products of a target: the packages, the archive of their files, and the module."""

    packages: tuple[Packed, ...]
    archive: Packed
    built: Built

    @property
    def files(self) -> tuple[Packed, ...]:
        """The packages and the archive."""
        return (*self.packages, self.archive)


def epoch() -> int:
    """Return the time of every file in seconds since 1970: SOURCE_DATE_EPOCH or a constant.

    See https://reproducible-builds.org/specs/source-date-epoch/ for the variable. Raises
    UsageError where it is not a number that fits a tar entry.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return _EPOCH
    if not re.fullmatch(r"[0-9]{1,10}", epoch) or int(epoch) >= 8**11:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {epoch!r}: expected seconds since 1970 in digits",
            hint="unset it, or: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
        )
    return int(epoch)


def checkout() -> Path:
    """Return the top of the checkout; MissingInputError in a wheel, which lacks some files."""
    top = resources.root()
    if top is None:
        raise MissingInputError(
            "archives are made from a checkout: the installed package lacks userland/ and kmod/",
            hint="clone the repository and run it there",
        )
    return top


def driver_package(module: str) -> str:
    """Return the package name of a module; it differs from the name of NetBSD's own driver."""
    return f"netbsd-{module}"


def common(top: Path, specs: Sequence[Specs]) -> Common:
    """Return the data that all targets share, of the modules that have these specs.

    Raises MissingInputError where the checkout lacks a file.
    """
    rows = [*COMMON, *_powerd(top)]
    for each in specs:
        rows += _of_module(top, each.module)
    packages = [*(driver_package(each.module) for each in specs), COMPANION]
    missing = [source for _, source, _, _ in rows if not (top / source).is_file()]
    if missing:
        raise MissingInputError(
            f"no such file: {', '.join(missing)}", hint="vmtgen generate, or check out again"
        )
    files = {
        name: tuple(
            Entry(f"{_PREFIX}/{place}", mode, (top / source).read_bytes())
            for owner, source, place, mode in rows
            if owner == name
        )
        for name in packages
    }
    files[COMPANION] += (Entry(f"{_PREFIX}/libexec/vmtctl.pyz", 0o555, _zipapp(top)),)
    recipes = {
        **{name: recipe(top, name) for name in packages},
        COMPANION: recipe(top, COMPANION, depends=(PYTHON,), scripts=top / "userland/package"),
    }
    return Common(files, recipes, {each.module: properties(each) for each in specs})


def _of_module(top: Path, name: str) -> list[tuple[str, str, str, int]]:
    """Return the rows of a module: licence, documents, manual, and its examples.

    The manual has the package's name: man(1) would show NetBSD's manual for the module's name.
    """
    package = driver_package(name)
    rows = [
        (package, source, f"share/doc/{package}/{Path(source).name}", 0o444)
        for source in ("LICENSE", "BUILDING.md", *documents(top, name))
    ]
    rows.append((package, f"kmod/{name}/{name}.4", f"man/man4/{package}.4", 0o444))
    examples = f"kmod/{name}/examples"
    rows += [
        (package, f"{examples}/{path.name}", f"share/examples/{package}/{path.name}", 0o444)
        for path in sorted((top / examples).glob("[!.]*"))
    ]
    return rows


def _powerd(top: Path) -> list[tuple[str, str, str, int]]:
    """Return the rows of powerd's scripts; executable ones stay executable."""
    return [
        (
            COMPANION,
            f"{_POWERD}/{path.name}",
            f"share/examples/vmtctl/powerd/{path.name}",
            0o555 if os.access(path, os.X_OK) else 0o444,
        )
        for path in sorted((top / _POWERD).glob("[!.]*"))
    ]


def _zipapp(top: Path) -> bytes:
    """Build vmtctl.pyz with userland's command; vmtgen imports nothing of userland."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "vmtctl.pyz"
        done = subprocess.run(
            [sys.executable, str(top / _ZIPAPP), str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not out.is_file():
            raise ReportedError(f"{_ZIPAPP} failed:\n{done.stderr.rstrip()}")
        return out.read_bytes()


def properties(specs: Specs) -> bytes:
    """Return the module's property list with the driver's defaults.

    modload(8) gives the dictionary NAME.plist beside NAME.kmod to the module (NetBSD
    sys/kern/kern_module_vfs.c, module_load_plist_vfs); it must have the form that proplib writes.
    """
    zero = {"bool": "<false/>", "int": "<integer>0</integer>", "string": "<string></string>"}
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!DOCTYPE plist PUBLIC {_PLIST_TYPE}>",
        '<plist version="1.0">',
        "<dict>",
    ]
    for item in sorted(specs.driver.module.properties, key=lambda item: item.name):
        lines += [f"\t<key>{escape(item.name)}</key>", f"\t{zero[item.type]}"]
    return "\n".join([*lines, "</dict>", "</plist>", ""]).encode("ascii")


def make(
    targets: Targets,
    name: str,
    release: Release,
    machine: MachineTarget,
    *,
    shared: Common,
    top: Path,
) -> Product:
    """Build the module `name` for a target, lint it, and return the packages and the archive.

    Nothing is written. Raises ReportedError where the module cannot be built or the kernel would
    refuse it.
    """
    with tempfile.TemporaryDirectory() as folder:
        built = build_module(
            top / "kmod" / name,
            release=release.name,
            machine=machine.name,
            out=Path(folder),
            targets=targets,
        )
        findings = [
            finding
            for finding in lint_file(built.path, targets=targets, release=release.name)
            if finding.severity != "note"
        ]
        if findings:
            message = "\n".join(f"{f.where}: {f.message} [{f.rule}]" for f in findings)
            raise ReportedError(
                f"the linter refuses to ship {name} for {release.name}/{machine.name}:\n{message}"
            )
        module = built.path.read_bytes()
    driver = driver_package(name)
    place = f"{_PREFIX}/stand/{machine.directory}/{release.name}/modules/{name}"
    files = {
        driver: (
            *shared.files[driver],
            Entry(f"{place}/{name}.kmod", 0o444, module),
            Entry(f"{place}/{name}.plist", 0o444, shared.plists[name]),
        ),
        COMPANION: shared.files[COMPANION],
    }
    folder_of_target = Path(release.name) / machine.name
    packages: list[Packed] = []
    for owner, inside in files.items():
        made: BinaryPackage = package(
            shared.recipes[owner],
            inside,
            machine=machine.name,
            directory=machine.directory,
            release=release.name,
            seconds=epoch(),
        )
        packages.append(Packed(folder_of_target / made.file, pack(made.members), made.members))
    entries = tuple(
        sorted((entry for inside in files.values() for entry in inside), key=lambda e: e.path)
    )
    archive = Path(f"{name}-{__version__}-netbsd-{release.name}-{machine.name}.tgz")
    return Product(tuple(packages), Packed(archive, pack(entries), entries), built)


def pack(entries: Iterable[Entry]) -> bytes:
    """Return a gzip-compressed ustar archive of the files, in their order.

    It has no directory entries: unpacking must not change directories that are there.
    """
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.size = len(entry.data)
            info.mode = entry.mode
            info.mtime = epoch()
            info.uname, info.gname = "root", "wheel"
            archive.addfile(info, io.BytesIO(entry.data))
    packed = bytearray(gzip.compress(plain.getvalue(), compresslevel=9, mtime=0))
    packed[9] = 255  # the operating system (RFC 1952): unknown; versions of Python differ here
    return bytes(packed)
