"""Finds a module's text in a running guest: from the output of modstat(8), or by its bytes.

Sources: NetBSD usr.sbin/modstat (the option -k), sys/kern/subr_kobj.c (text begins on a page of
its own); Intel's manual, volume 3, chapter 4, for the page tables.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtsim.gdb.rsp import Client, StubRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtsim.gdb.sites import Program
    from vmtsim.gdb.target import Target

_PAGE = 4096
_PRESENT, _LARGE, _NO_EXECUTE = 1, 1 << 7, 1 << 63
_FRAME = 0x000FFFFF_FFFFF000
_ENTRIES = 512
# Where modules can be on machines whose page tables are not walked here (first, last page).
_RANGES = {
    "i386": (0xC0000000, 0xFFC00000),
    "aarch64": (0xFFFFC000_00000000, 0xFFFFC000_10000000),
}
_ALL_ONES = (1 << 64) - 1


def from_modstat(text: str, name: str) -> int | None:
    """Return the address of a module's text from the last output of ``modstat -k``.

    ``text`` is a console's log.  None if it has no such line.
    """
    found = None
    line = re.compile(
        rf"^\s*{re.escape(name)}\s+\w+\s+(?:filesys|boot)\s+\S+\s+-?\d+\s+"
        r"(?:0x)?([0-9a-f]{6,16})\s+\d+\b",
        re.MULTILINE,
    )
    for match in line.finditer(text):
        found = int(match.group(1), 16)
    return found or None


def holds(client: Client, program: Program, base: int) -> bool:
    """Return whether the program's text is at ``base`` in the memory of the stopped guest."""
    if not program.signature:
        return True
    try:
        seen = client.read(base + program.signature_at, len(program.signature))
    except StubRefusedError:
        return False
    return seen == program.signature


def search(client: Client, target: Target, program: Program) -> int | None:
    """Search all executable pages for the program's text; returns its base or None.

    The guest has to be stopped.  Some thousand pages take a second.
    """
    batch: list[int] = []
    for page in _pages(client, target):
        batch.append(page)
        if len(batch) == 256:
            found = _compare(client, program, batch)
            if found is not None:
                return found
            batch.clear()
    return _compare(client, program, batch)


def _compare(client: Client, program: Program, bases: list[int]) -> int | None:
    at, size = program.signature_at, len(program.signature)
    seen = client.probe([base + at for base in bases], size)
    for base, data in zip(bases, seen, strict=True):
        if data == program.signature:
            return base
    return None


def _pages(client: Client, target: Target) -> Iterator[int]:
    """Yield the addresses of pages in which kernel text can begin."""
    if target.machine.name == "amd64":
        yield from _executable(client, target)
        return
    first, last = _RANGES[target.machine.name]
    yield from range(first, last, _PAGE)


def _executable(client: Client, target: Target) -> list[int]:
    """Return the executable pages of the upper half, from the page tables; highest first.

    A large page counts as small ones, because a test kernel may place text inside it.
    """
    registers = client.registers()
    root, control = target.value(registers, "cr3"), target.value(registers, "cr0")
    if root is None or control is None:
        raise StubRefusedError("the GDB stub does not show CR0 and CR3: give --text", -1)
    if not control >> 31:
        return []
    levels = 5 if (target.value(registers, "cr4") or 0) >> 12 & 1 else 4
    with client.physical() as able:
        if not able:
            raise StubRefusedError("the GDB stub does not read physical memory: give --text", -1)
        found = list(_walk(client, root & _FRAME, levels, 0, {root & _FRAME}))
    pages: list[int] = []
    for address, size in found:
        pages.extend(range(address, address + size, _PAGE))
    pages.sort(reverse=True)
    return pages


def _walk(
    client: Client, table: int, level: int, base: int, above: set[int]
) -> Iterator[tuple[int, int]]:
    """Yield (address, size) of executable pages below a table.

    Skips a table that is its own entry (the recursive mapping of NetBSD's x86 pmap).
    """
    try:
        data = client.read(table, _PAGE)
    except StubRefusedError:
        return
    shift = 12 + 9 * (level - 1)
    top = len(above) == 1
    for index in range(_ENTRIES // 2 if top else 0, _ENTRIES):
        entry = int.from_bytes(data[8 * index : 8 * index + 8], "little")
        if not entry & _PRESENT or entry & _NO_EXECUTE:
            continue
        address = base | index << shift
        if top:
            address |= -1 << (shift + 9) & _ALL_ONES  # bits above are copies of the highest
        frame = entry & _FRAME
        if level == 1 or (level == 2 and entry & _LARGE):
            yield address, 1 << shift
        elif frame not in above and not (level == 3 and entry & _LARGE):
            # No kernel maps its text with pages of 1 GB.
            yield from _walk(client, frame, level - 1, address, above | {frame})
