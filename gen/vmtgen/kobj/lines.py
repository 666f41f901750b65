"""Line numbers of a module, from the DWARF of its debug twin."""

from __future__ import annotations

import io
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field
from vmtgen.kobj import elf
from vmtgen.kobj.read import read_module

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from vmtgen.kobj.model import Module


@dataclass(frozen=True)
class LineTable:
    """Maps each byte of the text region to its source line.

    `starts` are offsets in the text region, ascending; the line at the same place in
    `rows` holds up to the next start; None marks a gap. `digests` are the MD5s of the source
    files, by their path as the compiler recorded it, where the table has them (DWARF 5).
    """

    starts: tuple[int, ...]
    rows: tuple[tuple[str, int] | None, ...]
    digests: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LineTable:
        """Read the line program of the module with debug sections at `path`.

        Raises KobjError where the file is no module, ValueError where it has no DWARF.
        """
        module = read_module(path)
        table = _read(with_region_offsets(module))
        if table is None:
            raise ValueError(f"{module.path.name} has no debug sections: use the .debug twin")
        return table

    def lookup(self, text_offset: int) -> tuple[str, int] | None:
        """Return (file, line) of the byte at that offset in the text region."""
        place = bisect_right(self.starts, text_offset) - 1
        return self.rows[place] if place >= 0 else None

    def lines(self) -> frozenset[tuple[str, int]]:
        """Return every (file, line) that has code."""
        return frozenset(row for row in self.rows if row is not None)


@lru_cache(maxsize=8)  # for repeated simulations of one module
def _read(image: bytes) -> LineTable | None:
    """Read the line program of an ELF file; return None where it has no DWARF."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - most users need no DWARF

    file = ELFFile(io.BytesIO(image))
    if not file.has_dwarf_info():
        return None
    dwarf = file.get_dwarf_info()
    found: dict[int, tuple[str, int] | None] = {}
    digests: dict[str, bytes] = {}
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is not None:
            _collect(program, found, digests)
    ordered = sorted(found.items())
    return LineTable(
        tuple(start for start, _ in ordered), tuple(row for _, row in ordered), digests
    )


def with_region_offsets(module: Module) -> bytes:
    """Return the file with the values of text symbols as offsets in the text region.

    In a relocatable file every section starts at 0.  DWARF addresses are relocated
    against symbols, so with several executable sections they become unambiguous when
    the symbols carry the section's offset in the region.
    """
    data = bytearray(module.path.read_bytes())
    layout = elf.LAYOUTS[module.machine]
    header = layout.unpack_header(data)
    headers = [
        elf.SectionHeader(*layout.section.unpack_from(data, header.shoff + i * header.shentsize))
        for i in range(header.shnum)
    ]
    (table,) = [h for h in headers if h.type == 2]
    value_at, value_size = (4, 4) if layout.symbol_shift == 8 else (8, 8)
    for symbol in module.symbols:
        if symbol.section is None or module.sections[symbol.section].region != "text":
            continue
        place = table.offset + symbol.index * layout.symbol.size + value_at
        value = symbol.value + module.sections[symbol.section].offset
        data[place : place + value_size] = value.to_bytes(value_size, "little")
    return bytes(data)


def _collect(
    program: Any, found: dict[int, tuple[str, int] | None], digests: dict[str, bytes]
) -> None:
    names: dict[int, str] = {}
    files = program.header.get("file_names") or []
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.end_sequence:
            found.setdefault(state.address, None)
            continue
        if state.file not in names:
            names[state.file] = file_name(program, state.file)
            digest = files[state.file].get("DW_LNCT_MD5") if state.file < len(files) else None
            if digest:
                digests[names[state.file]] = bytes(digest)
        # Line 0 is code that the compiler added for no source line.
        found[state.address] = (names[state.file], state.line) if state.line else None


def file_name(program: Any, number: int) -> str:
    """Return the file's path as the compiler recorded it, directory and name."""
    entries = program["file_entry"]
    first = 0 if program["version"] >= 5 else 1
    entry = entries[number - first]
    name = _decoded(entry.name)
    directory = entry.dir_index
    if program["version"] >= 5:
        folder = _decoded(program["include_directory"][directory])
    else:
        folder = _decoded(program["include_directory"][directory - 1]) if directory else ""
    return f"{folder}/{name}" if folder not in ("", ".") and not name.startswith("/") else name


def _decoded(text: bytes | str) -> str:
    return text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
