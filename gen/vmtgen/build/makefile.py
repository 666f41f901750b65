"""Finds what a module's Makefile builds: make(1) evaluates it, or vmtgen reads a plain one.

A Makefile for NetBSD's bsd.kmodule.mk is a program: variables, conditionals, .PATH, included
files.  bmake(1) runs it with the small bsd.*.mk of gen/mk in place of NetBSD's, which compile
nothing; vmtgen reads the variables from make and compiles.  A Makefile can run shell commands
(``!=``), so read only a Makefile that you trust.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import MissingInputError, ReportedError
from vmtgen.common.files import GENERATED, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from vmtgen.targets import MachineTarget

BUILT = (".c", ".S", ".s")  # what the compiler driver accepts; .S is preprocessed
_MARK = "@@"  # before each source in VMTGEN_SOURCES (gen/mk/bsd.kmodule.mk)
_ASKED = (
    "VMTGEN_KIND", "KMOD", ".PATH", "VMTGEN_SOURCES", "CPPFLAGS", "CFLAGS", "COPTS",
    "CWARNFLAGS", "WARNS", "IOCONF", "IOCONFDIR", "SUBDIR",
)  # fmt: skip


class RefusedMakefileError(ReportedError):
    """make(1) refuses a Makefile, such as one that is for other machines and uses .error."""


@dataclass(frozen=True)
class Source:
    """A file to compile, and its own flags."""

    path: Path
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """The sources, flags and names that a Makefile gives.

    ``directory`` is where make runs; relative -I flags start there. ``warns`` is WARNS, the level
    of warnings in bsd.sys.mk; ``ioconf`` the file that config(1) reads, if any.
    """

    name: str
    directory: Path
    sources: tuple[Source, ...]
    flags: tuple[str, ...] = ()
    warns: int = 0
    ioconf: Path | None = None
    ours: bool = False


def is_generated(path: Path) -> bool:
    """Return whether `vmtgen generate` wrote the file, by the marker in its head."""
    return path.is_file() and GENERATED.encode() in path.read_bytes()[:400]


def read_makefile(
    makefile: Path, machine: MachineTarget, compiler: str, sys: Path | None
) -> Recipe:
    """Return what ``makefile`` builds for a machine.

    Raises ReportedError where make refuses it, or it builds no kernel module.
    """
    text = makefile.read_text(encoding="utf-8", errors="replace")
    if is_generated(makefile):
        return _read(makefile, text, ours=True)
    make = make_program()
    if make is None:
        return _read(makefile, text, ours=False)
    return _asked(make, makefile, machine, compiler, sys)


@cache
def make_program() -> str | None:
    """Return the system's BSD make: bmake, or a make that identifies itself as one; else None."""
    for name in ("bmake", "make"):
        program = shutil.which(name)
        if program and _run([program, "-r", "-f", "/dev/null", "-V", "MAKE_VERSION"]).strip():
            return program
    return None


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def _asked(
    make: str, makefile: Path, machine: MachineTarget, compiler: str, sys: Path | None
) -> Recipe:
    values = _values(make, makefile, machine, compiler, sys)
    kind = values["VMTGEN_KIND"]
    if kind == "subdir":
        raise ReportedError(
            f"{shown(makefile)}: builds the modules of other directories",
            hint=f"give one of them: {values['SUBDIR']}",
        )
    if kind != "kmodule":
        what = f"includes <bsd.{kind}.mk>" if kind else "does not include <bsd.kmodule.mk>"
        raise ReportedError(
            f"{shown(makefile)}: {what}, so it builds no kernel module",
            hint=".include <bsd.kmodule.mk> at its end, or --source FILE.c for one file",
        )
    if not values["KMOD"]:
        raise ReportedError(f"{shown(makefile)}: KMOD is not set", hint="KMOD= names the module")
    directory = makefile.resolve().parent
    ioconf = None
    if values["IOCONF"]:
        ioconf = directory / (values["IOCONFDIR"] or ".") / values["IOCONF"]
    places = [directory / each for each in values[".PATH"].split()]
    sources = tuple(_sources(makefile, values["VMTGEN_SOURCES"], places, ioconf))
    if not sources:
        raise MissingInputError(
            f"{shown(makefile)}: SRCS has no C file to build",
            hint="SRCS= names the module's files",
        )
    flags = [
        word
        for name in ("CFLAGS", "COPTS", "CWARNFLAGS", "CPPFLAGS")
        for word in _words(makefile, name, values[name])
    ]
    warns = values["WARNS"]
    return Recipe(
        values["KMOD"],
        directory,
        sources,
        tuple(flags),
        int(warns) if warns.isdigit() else 0,
        ioconf,
    )


def _values(
    make: str, makefile: Path, machine: MachineTarget, compiler: str, sys: Path | None
) -> Mapping[str, str]:
    """Run make(1) and return the variables by name."""
    settings = {
        **machine.make,
        "ACTIVE_CC": "gcc" if compiler == "gcc" else "clang",
        **({"S": str(sys.resolve())} if sys else {}),
    }
    command = [
        make,
        "-r",
        "-m",
        str(resources.directory("mk")),
        "-f",
        makefile.name,
        *(f"{name}={value}" for name, value in settings.items()),
        *(word for name in _ASKED for word in ("-V", f"${{{name}}}")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=makefile.resolve().parent
    )
    if done.returncode != 0:
        printed = done.stderr.strip() or done.stdout.strip()
        raise RefusedMakefileError(
            f"{shown(makefile)}: make(1) refuses it:\n{printed}",
            hint=None if sys else "where it needs a NetBSD source tree: --sys /usr/src/sys",
        )
    # One line per variable, in the order requested; .PATH and others may be empty.
    return dict(zip(_ASKED, done.stdout.split("\n"), strict=False))


def _sources(
    makefile: Path, text: str, places: Sequence[Path], ioconf: Path | None
) -> Iterator[Source]:
    """Find each source where make(1) would: in its directory, then along .PATH."""
    missing, foreign = [], []
    for part in text.split(_MARK)[1:]:
        name, *flags = _words(makefile, "SRCS", part)
        if name.endswith((".sh", ".fth")) or (ioconf and name == "ioconf.c"):
            continue  # bsd.kmodule.mk omits them; ioconf.c is generated
        if not name.endswith(BUILT):
            foreign.append(name)
            continue
        found = next((place / name for place in places if (place / name).is_file()), None)
        if found is None:
            missing.append(name)
        else:
            yield Source(found, tuple(flags))
    if foreign:
        raise ReportedError(
            f"{shown(makefile)}{_line(makefile, foreign[0])}: SRCS: no way to build "
            f"{', '.join(foreign)}",
            hint="C (.c) and assembly for the compiler (.S, .s) can be built",
        )
    if missing:
        looked = ", ".join(dict.fromkeys(shown(place) for place in places))
        raise MissingInputError(
            f"SRCS in {shown(makefile)}: no such file: {', '.join(missing)}",
            hint=f"make(1) looks into {looked}",
        )


def _line(makefile: Path, word: str) -> str:
    """Return ":LINE" of the first line of the Makefile that has ``word``."""
    pattern = re.compile(rf"(?:^|[\s=]){re.escape(word)}(?:\s|$)")
    lines = makefile.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((f":{number}" for number, text in enumerate(lines, 1) if pattern.search(text)), "")


def _words(makefile: Path, name: str, text: str) -> list[str]:
    """Split a variable as the shell would before it runs the compiler."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ReportedError(f"{shown(makefile)}: {name}: {error}: {text.strip()}") from error


# -- without make(1) -------------------------------------------------------------------------------

_UNDERSTOOD = re.compile(
    r"""\s*(\#.*)?$
      | (?P<name>[A-Z_]+)\s*(?:\+|\?)?=(?P<value>[^$\#]*(?:\#.*)?)$
      | (?P<shell>[A-Z_]+)\s*[!?:+]?=.*$
      | \.(if|endif|else|elif).*$
      | \.include\s+<bsd\.kmodule\.mk>\s*$
    """,
    re.VERBOSE,
)


def _read(makefile: Path, text: str, *, ours: bool) -> Recipe:
    """Read the plain form: KMOD and SRCS, without make's own language.

    The project's own Makefiles are always read this way: their build needs no make(1).
    """
    assigned: dict[str, list[str]] = {}
    logical = text.replace("\\\n", "  ")
    for number, line in enumerate(logical.split("\n"), 1):
        match = _UNDERSTOOD.match(line)
        name = match and match["name"]
        if name:
            assert match
            assigned.setdefault(name, []).extend(match["value"].partition("#")[0].split())
        elif not ours and (match is None or match["shell"] or line.startswith(".if")):
            raise ReportedError(
                f"{shown(makefile)}:{number}: only make(1) understands this line: {line.strip()}",
                hint="install bmake (Debian's package bmake, pkgsrc's devel/bmake)",
            )
    directory = makefile.resolve().parent
    name = next(iter(assigned.get("KMOD", [])), directory.name)
    written = " ".join(
        f"{_MARK} {word}" for word in assigned.get("SRCS", [f"{name}.c"]) if not word.endswith(".h")
    )
    sources = tuple(_sources(makefile, written, [makefile.parent], None))
    if not sources:
        raise MissingInputError(
            f"SRCS in {shown(makefile)}: no C file to build",
            hint="SRCS= names the module's files",
        )
    warns = next(iter(assigned.get("WARNS", [])), "0")
    flags = (*assigned.get("COPTS", ()), *assigned.get("CPPFLAGS", ()))
    return Recipe(name, directory, sources, flags, int(warns), ours=ours)
