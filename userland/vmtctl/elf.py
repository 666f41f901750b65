"""Reads from the ELF file of a .kmod for which kernel it was built.

A module is a relocatable file with a section ``link_set_modules`` that holds one pointer to a
``struct modinfo`` (NetBSD sys/sys/module.h): u_int version, enum class, function, name, required.
In a relocatable file the pointers are relocations; version and class are plain numbers.
"""

from __future__ import annotations

import struct

from vmtctl.exits import DATA, NO_INPUT, Failure, from_os_error

# e_machine (NetBSD sys/sys/exec_elf.h) and NetBSD's machine_arch
MACHINES = {3: "i386", 62: "x86_64", 183: "aarch64"}

# NetBSD modules are far smaller; GENERIC itself is about 30 MB.
SIZE_LIMIT = 64 << 20

_RELOCATABLE = 1
_SYMBOLS, _RELA, _REL = 2, 4, 9


class ModuleFile:
    """The module information in a .kmod."""

    __slots__ = ("machine_arch", "name", "path", "version")

    def __init__(self, path: str, machine_arch: str, name: str, version: int) -> None:
        self.path = path
        self.machine_arch = machine_arch
        self.name = name
        self.version = version  # __NetBSD_Version__ of the headers it was built with

    @property
    def release(self) -> str:
        """The release it was built for: "11.0", "10.1", "11.99.5"."""
        return release_of(self.version)


def release_of(version: int) -> str:
    """Return ``__NetBSD_Version__`` (MMmmrrpp00) as a release."""
    major, minor, patch = version // 100000000, version // 1000000 % 100, version // 100 % 100
    return f"{major}.{minor}" + (f".{patch}" if minor == 99 or patch else "")


def compatible(module: int, kernel: int) -> bool:
    """Whether the kernel loads the module (NetBSD sys/sys/module.h, module_compatible)."""
    if module // 1000000 % 100 == 99 or kernel // 1000000 % 100 == 99:
        return module == kernel
    return abs(module - kernel) < 10000


class _Section:
    __slots__ = ("data", "info", "link", "name", "type")

    def __init__(self, name: str, type_: int, data: bytes, link: int, info: int) -> None:
        self.name = name
        self.type = type_
        self.data = data
        self.link = link
        self.info = info


class _Elf:
    """The sections of a relocatable file of 32 or 64 bits, little-endian."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"\x7fELF":
            raise ValueError("it is not an ELF file")
        if data[5] != 1:
            raise ValueError("it is big-endian")
        self.wide = data[4] == 2
        header = struct.unpack_from("<HHIQQQIHHHHHH" if self.wide else "<HHIIIIIHHHHHH", data, 16)
        kind, self.machine, table, size, count, names = (
            header[0], header[1], header[5], header[10], header[11], header[12]
        )  # fmt: skip
        if kind != _RELOCATABLE:
            raise ValueError("it is not a relocatable file, as a kernel module is")
        layout = "<IIQQQQIIQQ" if self.wide else "<IIIIIIIIII"
        if size != struct.calcsize(layout) or not count:
            raise ValueError("it has no section table")
        raw = [struct.unpack_from(layout, data, table + size * index) for index in range(count)]
        strings = raw[names]
        self.sections = []
        for entry in raw:
            body = b"" if entry[1] == 8 else data[entry[4] : entry[4] + entry[5]]  # 8: NOBITS
            if entry[1] not in {0, 8} and len(body) != entry[5]:
                raise ValueError("it is truncated")
            name = _string(data, strings[4] + entry[0])
            self.sections.append(_Section(name, entry[1], body, entry[6], entry[7]))

    def pointer(self, section: int, offset: int) -> tuple[int, int]:
        """Return the target of the pointer at ``offset`` of ``section``: section and offset."""
        for table in self.sections:
            if table.type not in {_RELA, _REL} or table.info != section:
                continue
            layout = {
                (True, _RELA): "<QQq", (False, _RELA): "<IIi", (True, _REL): "<QQ",
                (False, _REL): "<II",
            }[self.wide, table.type]  # fmt: skip
            for entry in struct.iter_unpack(layout, table.data):
                if entry[0] == offset:
                    return self._target(table, entry, section, offset)
        raise ValueError("its link_set_modules has no relocation")

    def _target(
        self, table: _Section, entry: tuple[int, ...], section: int, offset: int
    ) -> tuple[int, int]:
        index = entry[1] >> 32 if self.wide else entry[1] >> 8
        if len(entry) == 3:
            addend = entry[2]
        else:
            addend = struct.unpack_from(
                "<q" if self.wide else "<i", self.sections[section].data, offset
            )[0]
        symbols = self.sections[table.link].data
        if self.wide:
            where, value = struct.unpack_from("<4xBBHQ", symbols, 24 * index)[2:]
        else:
            value, where = struct.unpack_from("<4xI4xBBH", symbols, 16 * index)[::3]
        return where, value + addend


def _string(data: bytes, start: int) -> str:
    end = data.index(b"\0", start)
    return data[start:end].decode("ascii", "replace")


def read_module(path: str) -> ModuleFile:
    """Read ``path``. Raises Failure unless it is a NetBSD kernel module for a known machine."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        failure = from_os_error(error, f"read {path}")
        if failure.status == NO_INPUT:
            failure.hint = "name the module with --module FILE"
        raise failure from None
    try:
        if len(data) > SIZE_LIMIT:
            raise ValueError("it is larger than any module")
        return _module(path, data)
    except (ValueError, IndexError, struct.error) as error:
        reason = str(error) if type(error) is ValueError else "it is damaged"
        raise Failure(f"{path} is not a kernel module: {reason}", status=DATA) from None


def _module(path: str, data: bytes) -> ModuleFile:
    elf = _Elf(data)
    machine = MACHINES.get(elf.machine)
    if machine is None:
        raise ValueError(f"it is for a machine with ELF number {elf.machine}")
    sets = [
        index
        for index, section in enumerate(elf.sections)
        if section.name == "link_set_modules" and section.type == 1
    ]
    if len(sets) != 1:
        raise ValueError("it has no section link_set_modules")
    if not any(section.type == _SYMBOLS for section in elf.sections):
        raise ValueError("it was stripped; the kernel needs its symbols")
    where, offset = elf.pointer(sets[0], 0)
    version = struct.unpack_from("<I", elf.sections[where].data, offset)[0]
    text, start = elf.pointer(where, offset + (16 if elf.wide else 12))
    return ModuleFile(path, machine, _string(elf.sections[text].data, start), version)
