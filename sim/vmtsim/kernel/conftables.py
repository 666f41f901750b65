"""autoconf(9)'s tables in guest memory: cfdriver, cfattach, cfdata, cfparent.

Layouts from NetBSD sys/sys/device.h (10 and 11 are equal); offsets are multiples of the pointer
size P on both data models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.kernobj import KernelObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.memory import Memory

# cf_fstate
NOTFOUND, FOUND, STAR, DISABLED_STAR, DISABLED = range(5)
ANY_UNIT = -1
PRIV_ALLOC = 0x02
DVF_DETACH_SHUTDOWN = 0x80
# sys/sys/device.h
DETACH_FORCE, DETACH_QUIET, DETACH_SHUTDOWN, DETACH_POWEROFF = 0x01, 0x02, 0x04, 0x08


class Attachment:
    """A cfattach: guest functions at ``address``, or a native driver's models."""

    def __init__(self, memory: Memory, address: int) -> None:
        size = memory.pointer_size
        self.address = address
        self.name = memory.string(memory.pointer(address))
        self.softc_size = memory.pointer(address + 3 * size)
        self.flags = memory.u32(address + 4 * size)
        names = ("match", "attach", "detach", "activate", "rescan", "childdetached")
        self.functions = {
            name: memory.pointer(address + (5 + index) * size) for index, name in enumerate(names)
        }
        self.native: dict[str, Callable[..., Model]] = {}

    def has(self, name: str) -> bool:
        """Whether the driver implements this."""
        return name in self.native or bool(self.functions[name])


class NativeAttachment(Attachment):
    """The attachment of a driver that is part of the kernel model."""

    def __init__(self, name: str, native: dict[str, Callable[..., Model]]) -> None:
        self.address = 0
        self.name = name
        self.softc_size = 0
        self.flags = PRIV_ALLOC
        self.functions = dict.fromkeys(
            ("match", "attach", "detach", "activate", "rescan", "childdetached"), 0
        )
        self.native = native


@dataclass(eq=False)
class Driver:
    """A registered cfdriver; its struct is in guest memory, also for native drivers."""

    address: int
    name: str
    attributes: tuple[str, ...] = ()
    attachments: list[Attachment] = field(default_factory=list)
    units: list[Any] = field(default_factory=list)  # Device or None
    vector: KernelObject | None = None  # cd_devs
    vector_size: int = 0  # cd_ndevs


def driver_size(pointer: int) -> int:
    """Return sizeof(struct cfdriver)."""
    return 56 if pointer == 8 else 32


def new_driver(memory: Memory, name: str, attributes: tuple[str, ...]) -> Driver:
    """Create a cfdriver of the kernel itself."""
    size = memory.pointer_size
    address = memory.place(bytes(driver_size(size)))
    memory.put_pointer(address + 4 * size, memory.place(name.encode("ascii") + b"\0"))
    return Driver(address, name, attributes)


def read_driver(memory: Memory, address: int) -> Driver:
    """Read a module's cfdriver: its name and the interface attributes it carries."""
    size = memory.pointer_size
    name = memory.string(memory.pointer(address + 4 * size))
    attributes = []
    table = memory.pointer(address + 5 * size + 8)
    while table and (entry := memory.pointer(table)):
        attributes.append(memory.string(memory.pointer(entry)))
        table += size
    return Driver(address, name, tuple(attributes))


def read_locators(memory: Memory, driver: int, attribute: str) -> list[int | None] | None:
    """Return the default of each locator of a cfdriver's attribute (None: there is none).

    None if the driver has no such attribute.  The layouts are struct cfiattrdata and cflocdesc.
    """
    size = memory.pointer_size
    for entry in read_vector(memory, memory.pointer(driver + 5 * size + 8)):
        if memory.string(memory.pointer(entry)) != attribute:
            continue
        rows = [entry + (2 + 3 * index) * size for index in range(memory.s32(entry + size))]
        return [memory.s32(row + 2 * size) if memory.pointer(row + size) else None for row in rows]
    return None


def publish_units(kernel: Kernel, driver: Driver) -> None:
    """Update cd_devs and cd_ndevs: 4 units or more, none once the last device is gone.

    A larger vector replaces the old one (config_makeroom), which is freed with the last device
    (config_devunlink, config_devdelete): code that keeps a pointer reads freed memory.
    """
    memory, size = kernel.memory, kernel.memory.pointer_size
    needed = len(driver.units) if any(driver.units) else 0
    old = driver.vector
    room = 0 if old is None else driver.vector_size
    if needed > room:
        room = max(4, room)
        while room < needed:
            room *= 2
        driver.vector = KernelObject(kernel, room * size, f"cd_devs of driver {driver.name}")
        driver.vector_size = room
    elif not needed:
        driver.vector, driver.vector_size = None, 0
    for unit in range(driver.vector_size):
        device = driver.units[unit] if unit < len(driver.units) else None
        assert driver.vector is not None
        memory.put_pointer(driver.vector.at + unit * size, 0 if device is None else device.address)
    memory.put_pointer(driver.address + 3 * size, 0 if driver.vector is None else driver.vector.at)
    memory.put_u32(driver.address + 5 * size + 4, driver.vector_size)
    if not needed:
        driver.units.clear()
    if old is not None and driver.vector is not old:
        old.free("config_makeroom" if needed else "config_devdelete")


def read_vector(memory: Memory, table: int) -> list[int]:
    """Return the pointers of a NULL-terminated vector."""
    found = []
    while table and (pointer := memory.pointer(table)):
        found.append(pointer)
        table += memory.pointer_size
    return found


def read_attach_init(memory: Memory, table: int) -> list[tuple[str, list[int]]]:
    """Return (driver name, addresses of cfattach) of a cfattachinit table."""
    found = []
    size = memory.pointer_size
    while table and (name := memory.pointer(table)):
        found.append((memory.string(name), read_vector(memory, memory.pointer(table + size))))
        table += 2 * size
    return found


class ConfigData:
    """One cfdata entry in guest memory (the kernel writes its state there)."""

    def __init__(self, memory: Memory, address: int) -> None:
        size = memory.pointer_size
        self._memory = memory
        self._state_at = address + 2 * size + 3
        self.address = address
        self.name = memory.string(memory.pointer(address))
        self.attachment = memory.string(memory.pointer(address + size))
        self.unit = memory.u32(address + 2 * size) & 0xFFFFFF
        self.locators = memory.pointer(address + 3 * size)
        self.attribute = ""
        self.parent: str | None = None
        self.parent_unit = ANY_UNIT
        parent = memory.pointer(address + 5 * size)
        if parent:
            self.attribute = memory.string(memory.pointer(parent))
            name = memory.pointer(parent + size)
            self.parent = memory.string(name) if name else None
            self.parent_unit = memory.s32(parent + 2 * size)

    @property
    def state(self) -> int:
        """The byte cf_fstate."""
        return self._memory.u8(self._state_at)

    @state.setter
    def state(self, value: int) -> None:
        self._memory.put_u8(self._state_at, value)


def read_config_data(memory: Memory, table: int) -> list[ConfigData]:
    """Return the entries of a cfdata table up to its NULL name."""
    found = []
    while table and memory.pointer(table):
        found.append(ConfigData(memory, table))
        table += 6 * memory.pointer_size
    return found


def new_config_data(
    memory: Memory, name: str, attachment: str, parent: tuple[str, str, int]
) -> int:
    """Place a cfdata table of the kernel itself with one NOTFOUND entry; returns its address."""
    size = memory.pointer_size
    text = [memory.place(word.encode("ascii") + b"\0") for word in (name, attachment, *parent[:2])]
    spec = memory.place(bytes(3 * size))
    memory.put_pointer(spec, text[2])
    memory.put_pointer(spec + size, text[3])
    memory.put_u32(spec + 2 * size, parent[2])
    table = memory.place(bytes(12 * size))
    memory.put_pointer(table, text[0])
    memory.put_pointer(table + size, text[1])
    memory.put_pointer(table + 5 * size, spec)
    return table
