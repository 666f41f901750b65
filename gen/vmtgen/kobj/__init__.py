"""Reads and links a NetBSD kernel module as the kernel's own loader, kobj(9), does.

The rules come from NetBSD sys/kern/subr_kobj.c, sys/kern/kern_module.c and the
kobj_machdep.c of each machine.  The linter and the simulator share them, so that what
the linter accepts is what the simulator loads.
"""

from __future__ import annotations

from vmtgen.kobj.errors import KobjError, KobjPanicError, Message
from vmtgen.kobj.lines import LineTable
from vmtgen.kobj.link import Linked, Loading, consecutive_bases, link
from vmtgen.kobj.model import (
    Machine,
    ModInfo,
    Module,
    Region,
    Relocation,
    RelocationTable,
    Section,
    Symbol,
)
from vmtgen.kobj.read import Inspection, inspect_module, read_module
from vmtgen.kobj.read import load as load_module

__all__ = [
    "Inspection",
    "KobjError",
    "KobjPanicError",
    "LineTable",
    "Linked",
    "Loading",
    "Machine",
    "Message",
    "ModInfo",
    "Module",
    "Region",
    "Relocation",
    "RelocationTable",
    "Section",
    "Symbol",
    "consecutive_bases",
    "inspect_module",
    "link",
    "load_module",
    "read_module",
]
