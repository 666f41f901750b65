"""The arguments of a backdoor call: seven registers, and the memory that they may point to."""

from __future__ import annotations

from typing import Protocol

from vmtgen.common.dataclass import dataclass


class GuestFault(Exception):  # noqa: N818 - the term of processors
    """The guest's memory is not mapped, or not writable, at ``address``."""

    def __init__(self, address: int, size: int, *, write: bool) -> None:
        verb = "write" if write else "read"
        super().__init__(f"host cannot {verb} {size} bytes of guest memory at {address:#x}")
        self.address = address
        self.size = size
        self.write = write


class GuestMemory(Protocol):
    """The guest's memory by virtual address of the calling context."""

    def read(self, address: int, size: int, /) -> bytes:
        """Return ``size`` bytes; raises GuestFault."""

    def write(self, address: int, data: bytes, /) -> None:
        """Store ``data``; raises GuestFault."""


@dataclass(slots=True)
class Frame:
    """The registers of one call: EAX EBX ECX EDX ESI EDI EBP on x86, X0 to X6 on aarch64.

    Values are 32 bits wide but for the buffer pointer of a high-bandwidth call (arg4 when the
    guest sends, arg5 when it receives), which is a full virtual address.
    Source: open-vm-tools lib/include/backdoor_types.h and lib/backdoor/backdoorGcc64.c.
    """

    arg0: int = 0
    arg1: int = 0
    arg2: int = 0
    arg3: int = 0
    arg4: int = 0
    arg5: int = 0
    arg6: int = 0

    def values(self) -> tuple[int, int, int, int, int, int, int]:
        """Return arg0 to arg6 in order."""
        return self.arg0, self.arg1, self.arg2, self.arg3, self.arg4, self.arg5, self.arg6


def low16(value: int) -> int:
    """Return bits 15:0."""
    return value & 0xFFFF


def high16(value: int) -> int:
    """Return bits 31:16."""
    return (value >> 16) & 0xFFFF


def word(high: int, low: int = 0) -> int:
    """Return the 32-bit word with these upper and lower halves."""
    return ((high & 0xFFFF) << 16) | (low & 0xFFFF)
