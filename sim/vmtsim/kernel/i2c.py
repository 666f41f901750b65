"""i2c: a bus with the chips that a scenario describes, and iic_exec(9) for their drivers.

The bus is iic0, present if there are chips.  It offers each driver the addresses of its cfdata, as
NetBSD's iic(4) does without a table of the machine's chips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.mutex import Mutexes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.alldevs import Device
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

ATTRIBUTE = "iic"
_WRITE, _BLOCK = 2, 4  # I2C_OPMASK_* of sys/dev/i2c/i2c_io.h
_LAST = 0x7F  # I2C_MAX_ADDR
_ADDRESS_ONLY = 1  # I2C_MATCH_ADDRESS_ONLY of sys/dev/i2c/i2cvar.h
_SIZE = 64  # of a struct i2c_attach_args: all zero except for the tag and the address
_NOTHING = 0xFF  # the value read from an idle bus, which is pulled up


def _special(address: int) -> bool:
    """Whether the standard reserves the address (iic_is_special_address)."""
    return address < 8 or address >= 0x78


class Chip:
    """Registers by their numbers, each of some bytes; a command of several is one number."""

    def __init__(self, registers: Mapping[int, bytes]) -> None:
        self.registers = dict(registers)
        self._at = 0

    def read(self, command: bytes, count: int) -> bytes:
        """Return ``count`` bytes, starting at the register that the latest command named."""
        if command:
            self._at = int.from_bytes(command, "big")
        found, number = b"", self._at
        while len(found) < count:
            found += self.registers.get(number, bytes([_NOTHING]))
            number += 1
        return found[:count]

    def write(self, command: bytes, data: bytes) -> None:
        """Set a register, or select it: without a command it is the first byte."""
        named, content = (command, data) if command else (data[:1], data[1:])
        self._at = int.from_bytes(named, "big")
        if content:
            old = self.registers.get(self._at, b"")
            self.registers[self._at] = content + old[len(content) :]


class I2c(Subject):
    """The bus, its lock, and the transfers of drivers."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/dev/i2c/i2c_exec.c 1.18": "*",
        "sys/dev/i2c/i2c.c 1.90": "iic_compatible_match iic_use_direct_match",
    }
    # The mutex of the bus is one of mutex(9).
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "iic_exec iic_smbus_read_byte iic_smbus_read_word iic_smbus_receive_byte"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.chips = {address: Chip(each) for address, each in kernel.options.i2c.items()}
        self._tag: KernelObject | None = None
        self._lock = 0

    def data(self) -> Iterator[DataSymbol]:
        """Yield the variable that is set at shutdown, when i2c_exec.c polls instead of waiting."""
        yield DataSymbol("shutting_down", bytes(4))

    def boot(self) -> None:
        """Attach the bus."""
        if not self.chips:
            return
        kernel, known = self.kernel, self.kernel.subject(AllDevices)
        word = kernel.memory.pointer_size
        self._tag = KernelObject(kernel, 12 * word, "i2c_controller of iic0")
        self._lock = self._tag.at + word  # ic_bus_lock
        kernel.subject(Mutexes).own(self._lock)
        known.add_driver(tables.new_driver(kernel.memory, "iic", (ATTRIBUTE,)))
        hooks: dict[str, Callable[..., Model]] = {
            "rescan": self._rescan,
            "childdetached": self._child_detached,
        }
        known.add_native_device("iic", None, tables.NativeAttachment("iic", hooks))

    # -- the bus and its drivers ---------------------------------------------------------------

    def _rescan(self, bus: Device, _attribute: str, _locators: int) -> Model:
        """Offer each address to the drivers that name it, or name none (iic_search)."""
        autoconf, known = self.kernel.subject(Autoconf), self.kernel.subject(AllDevices)
        for _table, entries in list(known.config):
            for entry in entries:
                if entry.attribute != ATTRIBUTE or not autoconf.parent_matches(bus, entry):
                    continue
                place = self.kernel.memory.s32(entry.locators)
                for address in range(_LAST + 1) if place == -1 else [place]:
                    if entry.state in {tables.NOTFOUND, tables.STAR}:
                        yield from self._offer(bus, entry, address)
        return 0

    def _offer(self, bus: Device, entry: tables.ConfigData, address: int) -> Model:
        kernel, slot = self.kernel, f"{address:#x}"
        attachment = kernel.subject(AllDevices).attachment_of(entry)
        if _special(address) or slot in bus.slots or attachment is None or self._tag is None:
            return
        autoconf, memory = kernel.subject(Autoconf), kernel.memory
        given = KernelObject(kernel, _SIZE, "i2c attach arguments of iic0")
        memory.put_pointer(given.at, self._tag.at)
        memory.put_u16(given.at + memory.pointer_size, address)
        match = yield from autoconf.call_driver(attachment, "match", bus, entry, given.at)
        if match > 0 and (match != _ADDRESS_ONLY or address in self.chips):
            bus.slots[slot] = yield from autoconf.attach(
                bus, entry, given.at, suffix=f" addr {slot}"
            )
        given.free("iic_search")

    def _child_detached(self, bus: Device, child: Device) -> Model:
        bus.slots = {slot: each for slot, each in bus.slots.items() if each is not child}
        yield from ()
        return 0

    @kernel_function("int iic_compatible_match(const void *ia, const void *compats)")
    def iic_compatible_match(self, _given: int, _compatible: int) -> int:
        """Return 0, no match: the bus has no table of chips."""
        return 0

    @kernel_function(
        "bool iic_use_direct_match(const void *ia, cfdata_t cf, const void *compats, int *result)"
    )
    def iic_use_direct_match(self, _given: int, _data: int, _compatible: int, _result: int) -> bool:
        return False

    # -- functions for drivers -----------------------------------------------------------------

    @property
    def tag(self) -> int:
        """The i2c_tag_t of the bus; 0 where there is none."""
        return 0 if self._tag is None else self._tag.at

    def _known(self, function: str, tag: int) -> None:
        if not tag or tag != self.tag:
            kernel = self.kernel
            kernel.memory.pointer(tag)
            kernel.panic(
                "i2c-tag", f"{function} by {kernel.where()}: {kernel.describe(tag)} is not a bus"
            )

    @kernel_function("int iic_acquire_bus(void *tag, int flags)")
    def iic_acquire_bus(self, tag: int, _flags: int) -> Model:
        """Take the lock of the bus, an adaptive mutex: the caller has it until it releases."""
        self._known("iic_acquire_bus", tag)
        yield from self.kernel.subject(Mutexes).mutex_enter(self._lock) or ()
        return 0

    @kernel_function("void iic_release_bus(void *tag, int flags)")
    def iic_release_bus(self, tag: int, _flags: int) -> None:
        self._known("iic_release_bus", tag)
        mutexes = self.kernel.subject(Mutexes)
        mutexes.release(mutexes.mine("iic_release_bus", self._lock))

    @kernel_function(
        "int iic_exec(void *tag, int op, uint16_t addr, const void *cmd, size_t cmdlen, "
        "void *buf, size_t buflen, int flags)"
    )
    def iic_exec(
        self,
        tag: int,
        operation: int,
        address: int,
        command_at: int,
        command_size: int,
        data_at: int,
        size: int,
        _flags: int,
    ) -> int:
        """EIO if no chip answers.  A packet's error code (I2C_F_PEC) is always correct."""
        self._known("iic_exec", tag)
        kernel, memory = self.kernel, self.kernel.memory
        if not any(each.address == self._lock for each in kernel.current.held):
            kernel.violation(
                "i2c-not-acquired",
                f"iic_exec by {kernel.where()}: the thread has not acquired the bus, and another "
                "transfer may come between its command and its data",
            )
        command = memory.read(command_at, command_size) if command_size else b""
        if operation & _WRITE:
            data = memory.read(data_at, size) if size else b""
            if operation & _BLOCK:
                data = bytes([size]) + data
            kernel.trace.emit("i2c.write", address=address, data=(command + data).hex(" "))
            chip = self.chips.get(address)
            if chip is None:
                return Errno.EIO
            chip.write(command, data)
            return 0
        chip = self.chips.get(address)
        if chip is None:
            return Errno.EIO
        if size:
            memory.write(data_at, chip.read(command, size))
        return 0

    def _scratch(self, data: bytes) -> tuple[int, int]:
        where = self.kernel.memory.scratch(max(len(data), 1))
        self.kernel.memory.write(where, data)
        return where, len(data)

    def _smbus(
        self, write: int, tag: int, address: int, command: bytes, data: tuple[int, int], flags: int
    ) -> int:
        return self.iic_exec(tag, write | 1, address, *self._scratch(command), *data, flags)

    @kernel_function(
        "int iic_smbus_read_byte(void *tag, uint16_t addr, uint8_t cmd, void *valp, int flags)"
    )
    def iic_smbus_read_byte(
        self, tag: int, address: int, command: int, where: int, flags: int
    ) -> int:
        return self._smbus(0, tag, address, bytes([command]), (where, 1), flags)

    @kernel_function(
        "int iic_smbus_read_word(void *tag, uint16_t addr, uint8_t cmd, void *valp, int flags)"
    )
    def iic_smbus_read_word(
        self, tag: int, address: int, command: int, where: int, flags: int
    ) -> int:
        return self._smbus(0, tag, address, bytes([command]), (where, 2), flags)

    @kernel_function("int iic_smbus_receive_byte(void *tag, uint16_t addr, void *valp, int flags)")
    def iic_smbus_receive_byte(self, tag: int, address: int, where: int, flags: int) -> int:
        return self._smbus(0, tag, address, b"", (where, 1), flags)

    @kernel_function(
        "int iic_smbus_write_byte(void *tag, uint16_t addr, uint8_t cmd, uint8_t val, int flags)"
    )
    def iic_smbus_write_byte(
        self, tag: int, address: int, command: int, value: int, flags: int
    ) -> int:
        return self._write(tag, address, bytes([command]), bytes([value]), flags)

    @kernel_function(
        "int iic_smbus_write_word(void *tag, uint16_t addr, uint8_t cmd, uint16_t val, int flags)"
    )
    def iic_smbus_write_word(
        self, tag: int, address: int, command: int, value: int, flags: int
    ) -> int:
        return self._write(tag, address, bytes([command]), value.to_bytes(2, "little"), flags)

    @kernel_function("int iic_smbus_send_byte(void *tag, uint16_t addr, uint8_t val, int flags)")
    def iic_smbus_send_byte(self, tag: int, address: int, value: int, flags: int) -> int:
        return self._write(tag, address, b"", bytes([value]), flags)

    def _write(self, tag: int, address: int, command: bytes, data: bytes, flags: int) -> int:
        memory = self.kernel.memory
        both = memory.scratch(len(command) + len(data))
        memory.write(both, command + data)
        at, size = both + len(command), len(data)
        return self.iic_exec(tag, _WRITE | 1, address, both, len(command), at, size, flags)
