"""Guest memory as kernel models use it: words, strings, structures, and owners of addresses."""

from __future__ import annotations

import bisect
import struct
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.cpu import CpuFault
from vmtsim.cpu.interface import READ, WRITE
from vmtsim.kernel.facts import Kind, Owner
from vmtsim.kernel.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.cpu import Cpu

PAGE = 4096


def round_page(size: int) -> int:
    """Return ``size`` rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True, slots=True)
class Region:
    """A range of addresses; ``owner`` returns the owner of an address in it."""

    start: int
    end: int
    owner: Callable[[int], Owner]


class Memory:
    """Typed access to the guest's memory.

    Reads of unmapped memory, and writes where the guest itself could not write, raise CpuFault
    with the exact address: a fault inside a kernel function, which the run reports as a panic.
    """

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.pointer_size = cpu.pointer_size
        self.read_word = cpu.read_word
        self._load, self._store = cpu.read, cpu.checked_write
        self._timespec = struct.Struct("<qq" if cpu.pointer_size == 8 else "<qi")
        self.shadow = Shadow(cpu)
        # Of the shadow: kernel functions check at each access whether it is needed.
        self._marked_from, self._marked_to = self.shadow.start, self.shadow.end
        self._next_data = cpu.layout.data
        self._data_end = cpu.layout.data
        self._scratch = 0
        self._starts: list[int] = []
        self._regions: list[Region] = []

    def observe(self, seen: Callable[[bool, int, int], None]) -> None:
        """Call ``seen(write, address, size)`` for each access from here on.

        The methods are replaced in this object, so that nothing costs more if no one watches.
        """
        read, write, copy, cstring, word, used = (
            self.read, self.write, self.copy, self.cstring, self.read_word, self.used,
        )  # fmt: skip

        def seen_read(address: int, size: int) -> bytes:
            seen(False, address, size)
            return read(address, size)

        def seen_write(address: int, data: bytes) -> None:
            seen(True, address, len(data))
            write(address, data)

        def seen_copy(target: int, source: int, size: int) -> None:
            seen(False, source, size)
            seen(True, target, size)
            copy(target, source, size)

        def seen_cstring(address: int, limit: int = 1 << 20) -> bytes:
            text = cstring(address, limit)
            seen(False, address, min(len(text) + 1, limit))
            return text

        def seen_word(address: int) -> int:
            seen(False, address, self.pointer_size)
            return word(address)

        def seen_used(address: int, size: int) -> None:
            seen(False, address, size)
            used(address, size)

        self.read = seen_read  # type: ignore[method-assign]
        self.write = seen_write  # type: ignore[method-assign]
        self.copy = seen_copy  # type: ignore[method-assign]
        self.cstring = seen_cstring  # type: ignore[method-assign]
        self.read_word = seen_word
        self.used = seen_used  # type: ignore[method-assign]

    # -- words -------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes that the caller uses: Shadow reports uninitialised ones."""
        data = self._load(address, size)
        if self._marked_from <= address < self._marked_to:
            self.shadow.used(address, size)
        return data

    def used(self, address: int, size: int) -> None:
        """Report uninitialised bytes that the caller has read from the processor and uses."""
        if self._marked_from <= address < self._marked_to:
            self.shadow.used(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Store ``data``."""
        self._store(address, data)
        if self._marked_from <= address < self._marked_to and data:
            self.shadow.written(address, len(data))

    def fill(self, address: int, value: int, size: int) -> None:
        """Store ``size`` bytes of one value; store the part before an unmapped page."""
        step = 1 << 16
        while size > 0:
            part = min(size, step)
            self.write(address, bytes([value]) * part)
            address, size = address + part, size - part

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy memory; uninitialised bytes are not reported, and their copies are uninitialised."""
        self.cpu.checked_write(target, self.cpu.read(source, size))
        marked_from, marked_to = self._marked_from, self._marked_to
        if marked_from <= source < marked_to or marked_from <= target < marked_to:
            self.shadow.copied(target, source, size)

    def u8(self, address: int) -> int:
        """Return the byte at ``address``."""
        return self.read(address, 1)[0]

    def u16(self, address: int) -> int:
        """Return the 16-bit number at ``address``."""
        return int.from_bytes(self.read(address, 2), "little")

    def u32(self, address: int) -> int:
        """Return the unsigned 32-bit number at ``address``."""
        return int.from_bytes(self.read(address, 4), "little")

    def s32(self, address: int) -> int:
        """Return the signed 32-bit number at ``address``."""
        return int.from_bytes(self.read(address, 4), "little", signed=True)

    def u64(self, address: int) -> int:
        """Return the unsigned 64-bit number at ``address``."""
        return int.from_bytes(self.read(address, 8), "little")

    def s64(self, address: int) -> int:
        """Return the signed 64-bit number at ``address``."""
        return int.from_bytes(self.read(address, 8), "little", signed=True)

    def pointer(self, address: int) -> int:
        """Return the pointer (or unsigned long) at ``address``."""
        return self.read_word(address)

    def put_u8(self, address: int, value: int) -> None:
        """Store a byte."""
        self.write(address, (value & 0xFF).to_bytes(1, "little"))

    def put_u16(self, address: int, value: int) -> None:
        """Store a 16-bit number."""
        self.write(address, (value & 0xFFFF).to_bytes(2, "little"))

    def put_u32(self, address: int, value: int) -> None:
        """Store a 32-bit number (signed or unsigned)."""
        self.write(address, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def put_u64(self, address: int, value: int) -> None:
        """Store a 64-bit number (signed or unsigned)."""
        self.write(address, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))

    def put_pointer(self, address: int, value: int) -> None:
        """Store a pointer (or unsigned long)."""
        self.write(address, value.to_bytes(self.pointer_size, "little"))

    def put_word(self, address: int, value: int) -> None:
        """Store a size_t; the same as a pointer."""
        self.put_pointer(address, value & ((1 << (8 * self.pointer_size)) - 1))

    # -- structures that the kernel returns --------------------------------------------------------

    def wide(self, value: int) -> tuple[int, ...]:
        """Return a 64-bit argument as words: uint64_t and off_t take two on i386."""
        if self.pointer_size == 8:
            return (value,)
        return value & 0xFFFFFFFF, value >> 32

    def put_timespec(self, address: int, nanoseconds: int) -> None:
        """Store a struct timespec: 64-bit seconds, long nanoseconds."""
        self.write(address, self._timespec.pack(*divmod(nanoseconds, 1_000_000_000)))

    def timespec(self, address: int) -> tuple[int, int]:
        """Return (tv_sec, tv_nsec) of a struct timespec, unchecked."""
        nanoseconds = int.from_bytes(
            self.read(address + 8, self.pointer_size), "little", signed=True
        )
        return self.s64(address), nanoseconds

    def put_timeval(self, address: int, microseconds: int) -> None:
        """Store a struct timeval: 64-bit seconds, int microseconds (padded on LP64)."""
        seconds, rest = divmod(microseconds, 1_000_000)
        padding = b"\0" * (8 - 4 if self.pointer_size == 8 else 0)
        self.write(
            address,
            seconds.to_bytes(8, "little", signed=True) + rest.to_bytes(4, "little") + padding,
        )

    def timeval(self, address: int) -> tuple[int, int]:
        """Return (tv_sec, tv_usec) of a struct timeval, unchecked."""
        return self.s64(address), self.s32(address + 8)

    # -- strings -----------------------------------------------------------------------------

    def cstring(self, address: int, limit: int = 1 << 20) -> bytes:
        """Return the NUL-terminated string at ``address``, without the NUL, as bytes.

        Reads not one byte after the NUL's page; CpuFault if the string runs into a hole.  At most
        ``limit`` bytes are read (strnlen).
        """
        parts: list[bytes] = []
        start = address
        while limit > 0:
            size = min(PAGE - address % PAGE, 64, limit)
            try:
                part = self.cpu.read(address, size)
            except CpuFault as fault:
                if fault.address <= address:
                    raise
                part = self.cpu.read(address, fault.address - address)
            end = part.find(b"\0")
            if end >= 0:
                parts.append(part[:end])
                break
            parts.append(part)
            address += len(part)
            limit -= len(part)
        text = b"".join(parts)
        if self._marked_from <= start < self._marked_to:
            self.shadow.used(start, len(text) + (limit > 0))
        return text

    def string(self, address: int) -> str:
        """Return the NUL-terminated string at ``address``, one character per byte."""
        return self.cstring(address).decode("latin-1")

    # -- space -------------------------------------------------------------------------------

    def place(self, data: bytes, *, writable: bool = True, align: int = 16) -> int:
        """Put a kernel variable into memory and return its address."""
        address = -(-self._next_data // align) * align
        end = address + len(data)
        if end > self._data_end:
            size = round_page(end - self._data_end)
            self.cpu.map(self._data_end, size, READ | WRITE)
            self._data_end += size
        self.cpu.write(address, data)
        # A byte between variables, so that no address belongs to two.
        self._next_data = end + 1
        del writable  # the kernel's constants: not enforced page by page
        return address

    def scratch(self, size: int) -> int:
        """Return kernel memory that is valid until the next call; at most 64 KiB.

        Raises ValueError for more.
        """
        if not self._scratch:
            self._scratch = self.place(bytes(0x10000))
        if size > 0x10000:
            raise ValueError(f"{size} bytes of scratch memory")
        return self._scratch

    # -- owners of addresses -------------------------------------------------------------------

    def add_region(self, region: Region) -> None:
        """Register a range; ranges do not overlap."""
        at = bisect.bisect_left(self._starts, region.start)
        self._starts.insert(at, region.start)
        self._regions.insert(at, region)

    def remove_region(self, start: int) -> None:
        """Remove the range that starts at ``start``."""
        at = bisect.bisect_left(self._starts, start)
        if at < len(self._starts) and self._starts[at] == start:
            del self._starts[at]
            del self._regions[at]

    def owner(self, address: int) -> Owner:
        """Return the owner of ``address``."""
        if address < PAGE:
            text = "a null pointer" if not address else f"offset {address} from a null pointer"
            return Owner(Kind.NULL, text)
        at = bisect.bisect_right(self._starts, address) - 1
        if at >= 0 and address < self._regions[at].end:
            return self._regions[at].owner(address)
        return Owner(Kind.UNKNOWN, f"address {address:#x}")
