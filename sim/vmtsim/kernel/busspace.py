"""bus_space(9): registers of hardware that a scenario describes, in I/O ports or in memory.

A window is a range of addresses with registers of one byte each.  After an index port, one data
port represents all of them: the value written to the first selects the register.  Addresses without
a window read as ones, like a bus without a device.  Machines: amd64 and i386.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel

_X86 = ("amd64", "i386")
_NOTHING = 0xFF
_PORTS = 0x10000
_LINEAR = 2  # BUS_SPACE_MAP_LINEAR
_SPACES = {"io": 0, "mem": 1}  # X86_BUS_SPACE_IO, X86_BUS_SPACE_MEM
_BARRIERS = 3  # BUS_SPACE_BARRIER_READ | BUS_SPACE_BARRIER_WRITE


@dataclass(frozen=True)
class WindowOptions:
    """A scenario's description of a window: see the section ``guest:``.

    ``index`` and ``data`` are the offsets of the two ports; None: each register is a port.
    """

    base: int
    size: int
    registers: Mapping[int, int] = field(default_factory=dict)
    index: int | None = None
    data: int | None = None
    memory: bool = False


class Window:
    """A range of addresses with registers."""

    def __init__(self, options: WindowOptions) -> None:
        self.options = options
        self.registers = dict(options.registers)
        self._chosen = 0

    def holds(self, space: int, address: int) -> bool:
        """Whether an address of a space is in the window."""
        given = self.options
        return given.memory == (space == _SPACES["mem"]) and (
            given.base <= address < given.base + given.size
        )

    def _register(self, address: int) -> int | None:
        """Return the register at an address; None for the index port."""
        given, offset = self.options, address - self.options.base
        if given.index is None:
            return offset
        return None if offset == given.index else self._chosen if offset == given.data else -1

    def read(self, address: int) -> int:
        """Return a byte."""
        register = self._register(address)
        return self._chosen if register is None else self.registers.get(register, _NOTHING)

    def write(self, address: int, value: int) -> None:
        """Store a byte."""
        register = self._register(address)
        if register is None:
            self._chosen = value
        elif register >= 0:
            self.registers[register] = value


@dataclass(eq=False)
class MappedRegion:
    """The result of bus_space_map for a driver."""

    made_at: int
    space: int
    address: int
    size: int
    object: KernelObject | None = None


class BusSpace(Subject):
    """Tags, mapped regions, and the windows."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/arch/x86/x86/bus_space.c 1.47": "*",
        "sys/arch/amd64/amd64/busfunc.S 1.12": " ".join(
            f"bus_space_{name}_{size}"
            for size in (1, 2, 4)
            for name in (
                "read", "write", "read_stream", "write_stream", "read_multi", "write_multi",
                "read_region", "write_region",
            )
        ),
    }  # fmt: skip
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.windows = [Window(each) for each in kernel.options.windows]
        self.live: LiveObjects[MappedRegion] = LiveObjects(
            self,
            Words("bus_space region", "mapped", "unmapped"),
            left="bus-space-left",
            name=lambda found: f"of {found.size} at {found.address:#x}",
            in_memory=False,
        )
        self.tags: dict[str, int] = {}
        self._spaces: dict[int, int] = {}
        self._outside: set[int] = set()  # call sites that were reported

    def data(self) -> Iterator[DataSymbol]:
        """Yield the tags of both spaces: pointers to a struct bus_space_tag each."""
        memory = self.kernel.memory
        if self.kernel.cpu.machine not in _X86:
            return
        for name, number in _SPACES.items():
            tag = memory.place(number.to_bytes(4, "little").ljust(64, b"\0"))
            self.tags[name], self._spaces[tag] = tag, number
            content = tag.to_bytes(memory.pointer_size, "little")
            yield DataSymbol(f"x86_bus_space_{name}", content)

    # -- regions -------------------------------------------------------------------------------

    def _space(self, function: str, tag: int) -> int:
        kernel = self.kernel
        if tag not in self._spaces:
            kernel.memory.u32(tag)
            kernel.panic(
                "bus-space-tag",
                f"{function} by {kernel.where()}: {kernel.describe(tag)} is not a bus_space_tag_t",
            )
        return self._spaces[tag]

    @kernel_function(
        "int bus_space_map(void *t, u_long bpa, u_long size, int flags, void *bshp)", machines=_X86
    )
    def bus_space_map(self, tag: int, address: int, size: int, flags: int, where: int) -> int:
        """EAGAIN if a part of the region is already mapped: extent(9) has each address once."""
        kernel = self.kernel
        space = self._space("bus_space_map", tag)
        io = space == _SPACES["io"]
        if io and flags & _LINEAR:
            return Errno.EOPNOTSUPP
        if io and address + size > _PORTS:
            return Errno.EINVAL
        for other in self.live.values():
            if other.space == space and (
                address < other.address + other.size and other.address < address + size
            ):
                return Errno.EAGAIN
        made = None if io else KernelObject(kernel, size, f"mapped registers at {address:#x}")
        handle = address if made is None else made.at
        found = MappedRegion(kernel.call_site, space, address, size, made)
        self.live.add("bus_space_map", self._key(space, handle), found)
        kernel.memory.put_pointer(where, handle)
        return 0

    def _key(self, space: int, handle: int) -> int:
        """Return a key for an address: ports and memory are separate spaces."""
        return handle if space == _SPACES["mem"] else -1 - handle

    @kernel_function("void bus_space_unmap(void *t, u_long bsh, u_long size)", machines=_X86)
    def bus_space_unmap(self, tag: int, handle: int, size: int) -> None:
        kernel = self.kernel
        space = self._space("bus_space_unmap", tag)
        key = self._key(space, handle)
        found = self.live.get(key)
        if found is None or found.size != size:
            state = "is not mapped" if found is None else f"was mapped with {found.size}"
            kernel.violation(
                "bus-space-unmap",
                f"bus_space_unmap by {kernel.where()}: the region of {size} at {handle:#x} {state}",
            )
        if found is not None:
            self.live.remove(key)
            if found.object is not None:
                found.object.free("bus_space_unmap")

    @kernel_function(
        "int bus_space_subregion(void *t, u_long bsh, u_long offset, u_long size, void *nbshp)",
        machines=_X86,
    )
    def bus_space_subregion(self, tag: int, handle: int, offset: int, size: int, where: int) -> int:
        """Return a part of a region; outside of it the kernel returns one, too."""
        space = self._space("bus_space_subregion", tag)
        self._address("bus_space_subregion", space, handle, offset, size)
        self.kernel.memory.put_pointer(where, handle + offset)
        return 0

    @kernel_function("bool bus_space_is_equal(void *t1, void *t2)", machines=_X86)
    def bus_space_is_equal(self, first: int, second: int) -> bool:
        if not first or not second:
            return False
        function = "bus_space_is_equal"
        return self._space(function, first) == self._space(function, second)

    @kernel_function(
        "void bus_space_barrier(void *t, u_long bsh, u_long offset, u_long len, int flags)",
        machines=_X86,
    )
    def bus_space_barrier(
        self, tag: int, _handle: int, _offset: int, _length: int, flags: int
    ) -> None:
        """Do nothing: registers are written in program order."""
        kernel = self.kernel
        if self._space("bus_space_barrier", tag) == _SPACES["mem"] and flags & ~_BARRIERS:
            kernel.panic(
                "bus-space-barrier",
                f"bus_space_barrier by {kernel.where()}: unknown bus space barrier: {flags:#x}",
            )

    # -- registers -------------------------------------------------------------------------------

    def _address(self, function: str, space: int, handle: int, offset: int, size: int) -> int:
        """Return the address on the bus; report one that is in no mapped region."""
        kernel, at = self.kernel, handle + offset
        for key, found in self.live.items():
            base = key if space == _SPACES["mem"] else -1 - key
            if found.space == space and base <= handle and at + size <= base + found.size:
                return found.address + at - base
        if kernel.call_site not in self._outside:  # a driver repeats it
            self._outside.add(kernel.call_site)
            self._report_outside(function, handle, offset, size)
        return at if space == _SPACES["io"] else -1

    def _report_outside(self, function: str, handle: int, offset: int, size: int) -> None:
        kernel = self.kernel
        kernel.violation(
            "bus-space-outside",
            f"{function} by {kernel.where()}: {size} bytes at offset {offset:#x} of {handle:#x} "
            "are in no mapped region: another driver may use them",
        )

    def _window(self, space: int, address: int) -> Window | None:
        return next((each for each in self.windows if each.holds(space, address)), None)

    def read(self, function: str, tag: int, handle: int, offset: int, size: int) -> int:
        """Return a register of ``size`` bytes, the least significant byte first."""
        space = self._space(function, tag)
        address = self._address(function, space, handle, offset, size)
        content = bytearray()
        for at in range(address, address + size):
            window = self._window(space, at)
            content.append(_NOTHING if window is None else window.read(at))
        value = int.from_bytes(content, "little")
        self.kernel.trace.emit("bus.read", address=address, size=size, value=value)
        return value

    def write(
        self, function: str, tag: int, handle: int, offset: int, value: int, size: int
    ) -> None:
        """Store a register of ``size`` bytes."""
        space = self._space(function, tag)
        address = self._address(function, space, handle, offset, size)
        content = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        self.kernel.trace.emit("bus.write", address=address, size=size, value=value)
        for at, byte in enumerate(content, address):
            window = self._window(space, at)
            if window is not None:
                window.write(at, byte)

    def move(
        self,
        function: str,
        registers: tuple[int, int, int],
        buffer: int,
        count: int,
        size: int,
    ) -> None:
        """Read or write ``count`` registers: all at one address, or consecutive ones (region)."""
        memory = self.kernel.memory
        tag, handle, offset = registers
        step = size if "_region_" in function else 0
        for number in range(count):
            place, at = offset + number * step, buffer + number * size
            if "_read_" in function:
                value = self.read(function, tag, handle, place, size)
                memory.write(at, value.to_bytes(size, "little"))
            else:
                value = int.from_bytes(memory.read(at, size), "little")
                self.write(function, tag, handle, place, value, size)


def _register_functions(size: int) -> None:
    """Add the functions for registers of one size to BusSpace."""
    number = f"uint{8 * size}_t"
    place = "void *t, u_long bsh, u_long offset"

    def reader(name: str) -> Any:
        def read(self: BusSpace, tag: int, handle: int, offset: int) -> int:
            return self.read(name, tag, handle, offset, size)

        return kernel_function(f"{number} {name}({place})", machines=_X86)(read)

    def writer(name: str) -> Any:
        def write(self: BusSpace, tag: int, handle: int, offset: int, value: int) -> None:
            self.write(name, tag, handle, offset, value, size)

        prototype = f"void {name}({place}, {number} value)"
        return kernel_function(prototype, machines=_X86)(write)

    def transfer(name: str) -> Any:
        def move(
            self: BusSpace, tag: int, handle: int, offset: int, buffer: int, count: int
        ) -> None:
            self.move(name, (tag, handle, offset), buffer, count, size)

        prototype = f"void {name}({place}, void *addr, size_t count)"
        return kernel_function(prototype, machines=_X86)(move)

    for kind, made in (
        ("read", reader), ("read_stream", reader), ("write", writer), ("write_stream", writer),
        ("read_multi", transfer), ("write_multi", transfer), ("read_region", transfer),
        ("write_region", transfer),
    ):  # fmt: skip
        name = f"bus_space_{kind}_{size}"
        setattr(BusSpace, name, made(name))


for _size in (1, 2, 4):
    _register_functions(_size)
