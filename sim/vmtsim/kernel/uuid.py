"""uuid(9): NetBSD sys/kern/kern_uuid.c."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Mapping


_LITTLE, _BIG = "<IHH", ">IHH"


class Uuids(Subject):
    """struct uuid and its two wire forms."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_uuid.c 1.20": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def _load(self, address: int) -> tuple[int, int, int, bytes]:
        data = self.kernel.memory.read(address, 16)
        return (*struct.unpack(_LITTLE, data[:8]), data[8:])

    def _store(self, address: int, form: str, fields: tuple[int, int, int], rest: bytes) -> None:
        self.kernel.memory.write(address, struct.pack(form, *fields) + rest)

    @kernel_function("int uuid_snprintf(char *buf, size_t sz, const struct uuid *uuid)")
    def uuid_snprintf(self, buffer: int, size: int, uuid: int) -> int:
        low, middle, high, rest = self._load(uuid)
        text = f"{low:08x}-{middle:04x}-{high:04x}-{rest[:2].hex()}-{rest[2:].hex()}"
        if size:
            self.kernel.memory.write(buffer, text.encode("ascii")[: size - 1] + b"\0")
        return len(text)

    @kernel_function("void uuid_dec_le(const void *buf, struct uuid *uuid)")
    def uuid_dec_le(self, buffer: int, uuid: int) -> None:
        self._recode(buffer, uuid, _LITTLE, _LITTLE)

    @kernel_function("void uuid_dec_be(const void *buf, struct uuid *uuid)")
    def uuid_dec_be(self, buffer: int, uuid: int) -> None:
        self._recode(buffer, uuid, _BIG, _LITTLE)

    @kernel_function("void uuid_enc_le(void *buf, const struct uuid *uuid)")
    def uuid_enc_le(self, buffer: int, uuid: int) -> None:
        self._recode(uuid, buffer, _LITTLE, _LITTLE)

    @kernel_function("void uuid_enc_be(void *buf, const struct uuid *uuid)")
    def uuid_enc_be(self, buffer: int, uuid: int) -> None:
        self._recode(uuid, buffer, _LITTLE, _BIG)

    def _recode(self, source: int, target: int, read: str, write: str) -> None:
        data = self.kernel.memory.read(source, 16)
        fields = struct.unpack(read, data[:8])
        self._store(target, write, (fields[0], fields[1], fields[2]), data[8:])
