"""Modules to try the loader's rules on: built from C once, or edited byte by byte."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vmtgen.build.compile import Built, build_module
from vmtgen.common.dataclass import asdict
from vmtgen.kobj import Machine
from vmtgen.kobj.elf import LAYOUTS, SectionHeader, string_at

sys.path.insert(0, str(Path(__file__).parent))

FIXTURES = Path(__file__).parent / "fixtures"
Build = Callable[..., Built]

# Places in the ELF header (System V ABI): (offset, format) for 64 and for 32 bits.
_HEADER = {
    "type": ((16, "<H"), (16, "<H")),
    "machine": ((18, "<H"), (18, "<H")),
    "shoff": ((40, "<Q"), (32, "<I")),
    "shentsize": ((58, "<H"), (46, "<H")),
    "shnum": ((60, "<H"), (48, "<H")),
    "shstrndx": ((62, "<H"), (50, "<H")),
}
_SYMBOL = {"<IBBHQQ": ("name", "info", "other", "shndx", "value", "size"),
           "<IIIBBH": ("name", "value", "size", "info", "other", "shndx")}  # fmt: skip


class Editor:
    """A module's bytes, and ways to change single fields of them."""

    def __init__(self, path: Path, machine: Machine, folder: Path) -> None:
        self.data = bytearray(path.read_bytes())
        self.layout = LAYOUTS[machine]
        self.wide = machine.pointer_size == 8
        self.folder = folder

    def header(self, **fields: int) -> None:
        for name, value in fields.items():
            offset, form = _HEADER[name][0 if self.wide else 1]
            struct.pack_into(form, self.data, offset, value)

    @property
    def sections(self) -> list[SectionHeader]:
        header = self.layout.unpack_header(self.data)
        size = self.layout.section.size
        return [
            SectionHeader(*self.layout.section.unpack_from(self.data, header.shoff + i * size))
            for i in range(header.shnum)
        ]

    def index(self, name: str) -> int:
        headers = self.sections
        table = headers[self.layout.unpack_header(self.data).shstrndx]
        names = bytes(self.data[table.offset : table.offset + table.size])
        return [string_at(names, header.name) for header in headers].index(name)

    def section(self, which: int | str, /, **fields: int) -> None:
        index = self.index(which) if isinstance(which, str) else which
        place = self.layout.unpack_header(self.data).shoff + index * self.layout.section.size
        changed = {**asdict(self.sections[index]), **fields}
        self.layout.section.pack_into(self.data, place, *changed.values())

    def size(self, name: str) -> int:
        return self.sections[self.index(name)].size

    def symbol_index(self, name: str) -> int:
        return self._symbols().index(name)

    def _symbols(self) -> list[str]:
        table = self.sections[self.index(".symtab")]
        strings = self.sections[table.link]
        names = bytes(self.data[strings.offset : strings.offset + strings.size])
        raw = bytes(self.data[table.offset : table.offset + table.size])
        return [string_at(names, entry[0]) for entry in self.layout.unpack_symbol(raw)]

    def symbol(self, name: str, /, **fields: int) -> dict[str, int]:
        """Change fields of a symbol; return all of them as they were."""
        form = self.layout.symbol
        place = self.sections[self.index(".symtab")].offset + self.symbol_index(name) * form.size
        keys = _SYMBOL[form.format]
        before = dict(zip(keys, form.unpack_from(self.data, place), strict=True))
        form.pack_into(self.data, place, *(before | fields).values())
        return before

    def relocation(
        self, section: str, find: Callable[[dict[str, int]], bool], **fields: int
    ) -> int:
        """Change the first relocation that `find` picks; return its offset."""
        header = self.sections[self.index(section)]
        form = self.layout.rela if header.type == 4 else self.layout.rel
        for place in range(header.offset, header.offset + header.size, form.size):
            values = form.unpack_from(self.data, place)
            symbol, kind = self.layout.split_info(values[1])
            now = {"offset": values[0], "symbol": symbol, "type": kind}
            if form is self.layout.rela:
                now["addend"] = values[2]
            if not find(now):
                continue
            new = now | fields
            info = new["symbol"] << self.layout.symbol_shift | new["type"]
            rest = (new["addend"],) if "addend" in new else ()
            form.pack_into(self.data, place, new["offset"], info, *rest)
            return now["offset"]
        raise AssertionError(f"no such relocation in {section}")

    def write(self) -> Path:
        path = self.folder / "edited.kmod"
        path.write_bytes(self.data)
        return path


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build a fixture file, or C text; each combination once in a session."""
    done: dict[tuple[Any, ...], Built] = {}

    def built(source: str, machine: str = "amd64", **options: Any) -> Built:
        key = (source, machine, tuple(sorted(options.items())))
        if key not in done:
            folder = tmp_path_factory.mktemp("module")
            file = FIXTURES / source
            if "\n" in source:
                file = folder / "text.c"
                file.write_text(source, encoding="utf-8")
            done[key] = build_module([file], machine=machine, out=folder / "out", **options)
        return done[key]

    return built


@pytest.fixture
def edit(build: Build, tmp_path: Path) -> Callable[..., Editor]:
    """An editor of the module that hello.c makes, for a machine."""

    def editor(machine: str = "amd64") -> Editor:
        return Editor(build("hello.c", machine).path, Machine(machine), tmp_path)

    return editor
