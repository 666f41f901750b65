"""Types, variables and marked code of a module, from the DWARF of its debug twin.

atomic_load_*(9) and atomic_store_*(9) compile to a plain move.  Their macros (NetBSD
sys/sys/atomic.h) hold the address in a variable in a block of its own: the code of that block is
the access, and DWARF has its range.
"""

from __future__ import annotations

import io
import posixpath
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from vmtgen.common import cache
from vmtgen.common.dataclass import dataclass, field
from vmtgen.kobj.lines import file_name, with_region_offsets
from vmtgen.kobj.read import read_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_ATOMIC = frozenset({"__al_ptr", "__as_ptr"})
_DEEP = 6  # the limit of nested structures


@dataclass(frozen=True)
class Field:
    """A member that is not a structure; ``name`` is its path, as ``sc_clock.c_state``."""

    offset: int
    size: int
    name: str


@dataclass(frozen=True)
class DebugInfo:
    """``structs``: name -> (bytes, members); ``variables``: name -> name of the struct or "".

    ``own`` are the structures that the module's files declare, not those of other headers.

    ``atomics`` are ascending ranges of offsets in the text region: the code of atomic_load_* and
    atomic_store_*.
    """

    structs: Mapping[str, tuple[int, tuple[Field, ...]]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    atomics: tuple[tuple[int, int], ...] = ()
    own: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path) -> DebugInfo:
        """Read the module with debug sections at ``path``.

        Raises KobjError where the file is no module, ValueError where it has no DWARF.
        """
        content = path.read_bytes()
        kept = cache.get("debuginfo-1", content)
        if kept is None:
            kept = _Reader(with_region_offsets(read_module(path))).data()
            cache.put("debuginfo-1", content, kept)
        return cls(
            {
                name: (size, tuple(Field(*each) for each in fields))
                for name, (size, fields) in kept["structs"].items()
            },
            kept["variables"],
            tuple((first, end) for first, end in kept["atomics"]),
            frozenset(kept["own"]),
        )

    def is_atomic(self, text_offset: int) -> bool:
        """Whether the instruction there is the access of an atomic load or store."""
        place = bisect_right(self.atomics, (text_offset, 1 << 62)) - 1
        return place >= 0 and self.atomics[place][0] <= text_offset < self.atomics[place][1]

    def field_at(self, struct: str, offset: int) -> str:
        """Return the path of the member at an offset of a structure; "" for none."""
        for member in self.structs.get(struct, (0, ()))[1]:
            if member.offset <= offset < member.offset + member.size:
                return member.name
        return ""

    def of_size(self, size: int) -> list[str]:
        """Return the names of the structures of a size: the module's own, or else any."""
        found = sorted(name for name, (each, _fields) in self.structs.items() if each == size)
        return [name for name in found if name in self.own] or found


class _Reader:
    def __init__(self, image: bytes) -> None:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - most users need no DWARF

        file = ELFFile(io.BytesIO(image))
        if not file.has_dwarf_info():
            raise ValueError("no debug sections")
        self._dwarf = file.get_dwarf_info()
        self._ranges: Any = self._dwarf.range_lists()
        self.structs: dict[str, tuple[int, list[tuple[int, int, str]]]] = {}
        self.variables: dict[str, str] = {}
        self.atomics: set[tuple[int, int]] = set()
        self.own: set[str] = set()

    def data(self) -> dict[str, Any]:
        """Return all data in the types of JSON."""
        for unit in self._dwarf.iter_CUs():
            for die in unit.iter_DIEs():
                self._take(unit, die)
        return {
            "structs": self.structs,
            "variables": self.variables,
            "atomics": _merged(sorted(self.atomics)),
            "own": sorted(self.own),
        }

    def _take(self, unit: Any, die: Any) -> None:
        if die.tag == "DW_TAG_structure_type" and _name(die):
            self._struct(_name(die), die)
            self._declared(unit, die)
        elif die.tag == "DW_TAG_typedef":
            target = _type(die)
            if target is not None and target.tag == "DW_TAG_structure_type" and not _name(target):
                self._struct(_name(die), target)
        elif die.tag == "DW_TAG_variable":
            name = _name(die)
            if name in _ATOMIC:
                self.atomics.update(self._code(unit, die.get_parent()))
            elif name and "DW_AT_location" in die.attributes:
                target = _plain(_type(die))
                known = target is not None and target.tag == "DW_TAG_structure_type"
                self.variables[name] = _name(target) if known else ""

    def _declared(self, unit: Any, die: Any) -> None:
        """Note a structure that is declared in the directory of the file that is compiled."""
        number = die.attributes.get("DW_AT_decl_file")
        program = self._dwarf.line_program_for_CU(unit)
        if number is None or program is None:
            return
        top = unit.get_top_DIE().attributes["DW_AT_name"].value.decode("utf-8", "replace")
        if posixpath.dirname(file_name(program, number.value)) == posixpath.dirname(top):
            self.own.add(_name(die))

    def _struct(self, name: str, die: Any) -> None:
        if "DW_AT_byte_size" in die.attributes and name not in self.structs:
            fields = list(self._members(die, 0, "", 0))
            self.structs[name] = (die.attributes["DW_AT_byte_size"].value, fields)

    def _members(self, die: Any, base: int, path: str, deep: int) -> Iterator[tuple[int, int, str]]:
        for member in die.iter_children():
            if member.tag != "DW_TAG_member":
                continue
            at = base + _offset(member)
            name = f"{path}.{_name(member)}" if path and _name(member) else path or _name(member)
            target = _plain(_type(member))
            if target is None:
                continue
            if target.tag in {"DW_TAG_structure_type", "DW_TAG_union_type"} and deep < _DEEP:
                yield from self._members(target, at, name, deep + 1)
            size = _size(target)
            if size:
                yield at, size, name

    def _code(self, unit: Any, block: Any) -> Iterator[tuple[int, int]]:
        attributes = block.attributes
        if "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
            low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
            end = high.value if high.form == "DW_FORM_addr" else low + high.value
            yield low, end
        elif "DW_AT_ranges" in attributes:
            base = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
            start = base.value if base is not None else 0
            entries = self._ranges.get_range_list_at_offset(attributes["DW_AT_ranges"].value, unit)
            for entry in entries:
                if hasattr(entry, "base_address"):
                    start = entry.base_address
                    continue
                shift = 0 if entry.is_absolute else start
                yield entry.begin_offset + shift, entry.end_offset + shift


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges that do not overlap."""
    merged: list[tuple[int, int]] = []
    for first, end in ranges:
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _name(die: Any) -> str:
    """Return the name of an entry, or of its abstract origin."""
    attributes = die.attributes
    if "DW_AT_name" in attributes:
        return str(attributes["DW_AT_name"].value.decode("utf-8", "backslashreplace"))
    if "DW_AT_abstract_origin" in attributes:
        return _name(die.get_DIE_from_attribute("DW_AT_abstract_origin"))
    return ""


def _type(die: Any) -> Any:
    return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None


def _plain(die: Any) -> Any:
    """Return a type without typedef, const, volatile."""
    while die is not None and die.tag in {
        "DW_TAG_typedef",
        "DW_TAG_const_type",
        "DW_TAG_volatile_type",
        "DW_TAG_atomic_type",
    }:
        die = _type(die)
    return die


def _offset(member: Any) -> int:
    attributes = member.attributes
    if "DW_AT_data_bit_offset" in attributes:
        return int(attributes["DW_AT_data_bit_offset"].value) // 8
    location = attributes.get("DW_AT_data_member_location")
    return int(location.value) if location is not None and isinstance(location.value, int) else 0


def _size(die: Any) -> int:
    """Return the bytes of a type; 0 where it has none."""
    if "DW_AT_byte_size" in die.attributes:
        return int(die.attributes["DW_AT_byte_size"].value)
    if die.tag == "DW_TAG_pointer_type":
        return int(die.cu["address_size"])
    if die.tag == "DW_TAG_array_type":
        size = _size(_plain(_type(die)) or die) if _type(die) is not None else 0
        for part in die.iter_children():
            count = part.attributes.get("DW_AT_count")
            size *= int(count.value) if count is not None else 0
        return size
    return 0
