"""The symbols that known kernels export, and their modules.

A kernel is identified by its __NetBSD_Version__ and its machine; the lists are files in
kernels/, each with its source at its top.  A list of symbols can also come from the user, in the
format of nm(1).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field
from vmtgen.kobj.exported import KERNEL, KERNELS, exported_names
from vmtgen.kobj.model import Machine

if TYPE_CHECKING:
    import os

# (__NetBSD_Version__, machine) of the kernel that KERNEL names.
_KNOWN = {(1_099_001_200, Machine.AMD64)}

# Types of nm(1) that kobj_checksyms() does not find: undefined, weak, debugging, local ones.
# Texts, because re compiles them at the first use: few commands read a list of the user.
_NM_LINE = r"(?:[0-9a-fA-F]+[ \t]+)?([A-Za-z?-])[ \t]+(\S+)|(\S+)"
_NM_POSIX = r"(\S+)[ \t]+([A-Za-z?-])(?:[ \t].*)?"


@dataclass(frozen=True)
class KernelSymbols:
    """The global names of one kernel; `source` describes where they come from."""

    source: str
    names: frozenset[str] = field(repr=False)


@dataclass(frozen=True)
class KernelModules:
    """The modules of one system.

    `shipped` are in its module directory, `builtin` are part of its kernel; an `idle` one of
    these can be unloaded and replaced by another of the same name.
    """

    source: str
    shipped: frozenset[str] = field(repr=False)
    builtin: frozenset[str]
    idle: frozenset[str]

    def has(self, name: str) -> bool:
        """Whether a module can require that name."""
        return name in self.shipped or name in self.builtin


@lru_cache(maxsize=1)
def nearest_symbols() -> KernelSymbols:
    """Return the only list of symbols, for kernels without a list of their own."""
    return KernelSymbols(f"the list of {KERNEL.replace('-', ' ')}", exported_names(KERNEL))


@lru_cache(maxsize=1)
def nearest_modules() -> KernelModules:
    """Return the only list of modules, for systems without a list of their own."""
    text = (KERNELS / f"{KERNEL}.modules").read_text("utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    words = [line.split() for line in lines]
    return KernelModules(
        f"the list of {KERNEL.replace('-', ' ')}",
        frozenset(name for name, *_ in words),
        frozenset(name for name, *marks in words if "builtin" in marks),
        frozenset(name for name, *marks in words if "idle" in marks),
    )


def symbols_of(version: int, machine: Machine) -> KernelSymbols | None:
    """Return the symbols of exactly that kernel, None where there is no list of it."""
    return nearest_symbols() if (version, machine) in _KNOWN else None


def modules_of(version: int, machine: Machine) -> KernelModules | None:
    """Return the modules of exactly that system, None where there is no list of it."""
    return nearest_modules() if (version, machine) in _KNOWN else None


def read_symbols(path: str | os.PathLike[str]) -> KernelSymbols:
    """Read a file of symbols: the output of nm or nm -P, or one name per line.

    Names that nm marks as undefined, weak or local are omitted.  Raises OSError where the file
    cannot be read, ValueError (with the line's number) where a line is none of these.
    """
    names: set[str] = set()
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#") or words.endswith(":"):
            continue
        if match := re.fullmatch(_NM_LINE, words):
            kind, name = match[1] or "T", match[2] or match[3]
        elif match := re.fullmatch(_NM_POSIX, words):
            name, kind = match[1], match[2]
        else:
            raise ValueError(f"line {number}: not a line of nm(1): {line[:60]!r}")
        if kind.isupper() and kind not in "UVW":
            names.add(name)
    if not names:
        raise ValueError("no global symbol in it")
    return KernelSymbols(f"{path}", frozenset(names))
