"""A module in the kernel's memory: its regions, its symbols, its source lines."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.kobj import KobjError, LineTable

from vmtsim.cpu.interface import EXECUTE, READ, WRITE
from vmtsim.kernel.facts import Kind, Owner, Place
from vmtsim.kernel.memory import Region, round_page

if TYPE_CHECKING:
    from vmtgen.kobj import Linked, ModInfo, Module

    from vmtsim.kernel.memory import Memory


class Loaded:
    """The kernel's record of a module.  ``name`` is its mi_name; ``bases`` its regions."""

    def __init__(self, module: Module, linked: Linked, info: ModInfo) -> None:
        self.module = module
        self.linked = linked
        self.name = info.name
        self.version = info.version
        self.required = info.required
        self.references = 0
        self.holds: list[str] = []
        self.sysctl_log = 0
        self.text_base = linked.bases["text"]
        self.text_end = self.text_base + module.sizes["text"]
        self._regions = {
            region: (base, base + round_page(module.sizes[region]))
            for region, base in linked.bases.items()
            if module.sizes[region]
        }
        self._names: dict[int, tuple[str, int]] = {}

    @cached_property
    def lines(self) -> LineTable | None:
        """The line table of the debug twin; read at the first request, which is rare."""
        return read_lines(self.module.path)

    def writable(self) -> list[tuple[int, int]]:
        """Return the start and the end of its data and of its zero-initialised data."""
        return [
            (start, end)
            for name, (start, end) in self._regions.items()
            if name not in {"text", "rodata"}
        ]

    def contains(self, address: int) -> bool:
        """Whether the address is in one of the module's regions."""
        return any(start <= address < end for start, end in self._regions.values())

    def map(self, memory: Memory) -> None:
        """Copy the linked images into memory; then text is executable and rodata read-only."""
        for region, (start, end) in self._regions.items():
            memory.cpu.map(start, end - start, READ | WRITE)
            memory.cpu.write(start, bytes(self.linked.images[region]))
            if region == "text":
                memory.cpu.protect(start, end - start, READ | EXECUTE)
            elif region == "rodata":
                memory.cpu.protect(start, end - start, READ)
            memory.add_region(
                Region(start, end, lambda at, region=region: self._owner(region, at))  # type: ignore[misc]
            )
        memory.cpu.forget_code(self.text_base, self.text_end)

    def unmap(self, memory: Memory) -> None:
        """Free the memory; addresses are not used again, so later use faults."""
        for region, (start, end) in self._regions.items():
            memory.cpu.unmap(start, end - start)
            memory.remove_region(start)
            memory.add_region(
                Region(
                    start,
                    end,
                    lambda at, region=region: self._owner(region, at).unloaded(),  # type: ignore[misc]
                )
            )
        memory.cpu.forget_code(self.text_base, self.text_end)

    def symbol(self, address: int) -> tuple[str, int]:
        """Return the name of the function or object around an address, and the offset in it."""
        known = self._names.get(address)
        if known is None:
            found = self.linked.symbol_at(address)
            known = self._names[address] = ("", 0) if found is None else (found[0].name, found[1])
        return known

    def _owner(self, region: str, address: int) -> Owner:
        name, offset = self.symbol(address)
        place = f"{name}+{offset:#x} in " if offset else f"{name} in " if name else ""
        return Owner(Kind.MODULE, f"{place}{region} of module {self.name}")

    def location(self, address: int, *, call: bool) -> Place:
        """Return the code at an address; ``call``: the address after a call instruction."""
        name, offset = self.symbol(address - 1 if call else address)
        starts_here = self.symbol(address) if call else (name, offset)
        if call and starts_here[0] and not starts_here[1]:
            name, offset, call = starts_here[0], 0, False
        line = self.line(address - 1 if call else address)
        text = name or f"module {self.name} at {address:#x}"
        if line is not None:
            return Place(f"{text} ({Path(line[0]).name}:{line[1]})", *line)
        return Place(f"{name}+{offset + call:#x}" if name and offset else text)

    def line(self, address: int) -> tuple[str, int] | None:
        """Return (file, line) of an address in the text, if there is a debug twin."""
        if not self.text_base <= address < self.text_end or self.lines is None:
            return None
        found = self.lines.lookup(address - self.text_base)
        return found if found is not None and found[1] else None


def read_lines(path: Path) -> LineTable | None:
    """Read the line table of the debug twin beside a module, if it has one."""
    twin = path.with_name(path.name + ".debug")
    if not twin.exists():
        return None
    try:
        return LineTable.read(twin)
    except (KobjError, ValueError):
        return None
