"""isa0: the bus with the ports of a scenario's registers, and the drivers that probe there.

Each cfdata at isa is probed with the values of its locators, like sys/dev/isa/isa.c 1.140
(isarescan, isasearch, isaprint); cards that identify themselves (PNP) are not modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Subject
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.busspace import BusSpace
from vmtsim.kernel.kernobj import KernelObject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.alldevs import Device
    from vmtsim.kernel.api import Model

ATTRIBUTE = "isa"
_PORT, _SIZE, _IOMEM, _IOSIZ, _IRQ, _DRQ, _DRQ2 = range(7)  # ISACF_* of sys/conf/files
# Offsets of the members of struct isa_attach_args of sys/dev/isa/isavar.h, in words.
_IOT, _MEMT, _IO, _NIO, _IOMEMS, _NIOMEM, _IRQS, _NIRQ, _DRQS, _NDRQ = (
    0,
    1,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
)
_WORDS = 15


class Isa(Subject):
    """The bus isa0, present if a scenario describes registers; it probes for its drivers."""

    SOURCES: ClassVar[Mapping[str, str]] = {}

    def boot(self) -> None:
        """Attach the bus if there is a device at it."""
        kernel, known = self.kernel, self.kernel.subject(AllDevices)
        if not kernel.options.windows or not kernel.subject(BusSpace).tags:
            return
        known.add_driver(tables.new_driver(kernel.memory, "isa", (ATTRIBUTE,)))
        hooks: dict[str, Callable[..., Model]] = {
            "rescan": self._rescan,
            "childdetached": self._child_detached,
        }
        known.add_native_device("isa", None, tables.NativeAttachment("isa", hooks))

    def _rescan(self, bus: Device, _attribute: str, _locators: int) -> Model:
        autoconf, known = self.kernel.subject(Autoconf), self.kernel.subject(AllDevices)
        for _table, entries in list(known.config):
            for entry in entries:
                if entry.attribute == ATTRIBUTE and autoconf.parent_matches(bus, entry):
                    again = True
                    while again and entry.state in {tables.NOTFOUND, tables.STAR}:
                        again = yield from self._offer(bus, entry)
        return 0

    def _offer(self, bus: Device, entry: tables.ConfigData) -> Model:
        """Probe a driver; returns whether it found a device, and may find more."""
        kernel, memory = self.kernel, self.kernel.memory
        attachment = kernel.subject(AllDevices).attachment_of(entry)
        if attachment is None:
            return False
        word, autoconf = memory.pointer_size, kernel.subject(Autoconf)
        given = KernelObject(kernel, _WORDS * word + 64, "isa attach arguments of isa0")
        rest = given.at + _WORDS * word
        tags = kernel.subject(BusSpace).tags
        locators = [memory.s32(entry.locators + 4 * index) for index in range(7)]
        for index, value in ((_IOT, tags["io"]), (_MEMT, tags["mem"])):
            memory.put_pointer(given.at + index * word, value)
        for at, count, where, values in (
            (_IO, _NIO, rest, (locators[_PORT], 0)),
            (_IOMEMS, _NIOMEM, rest + 8, (locators[_IOMEM], locators[_IOSIZ])),
            (_IRQS, _NIRQ, rest + 16, (9 if locators[_IRQ] == 2 else locators[_IRQ],)),
            (_DRQS, _NDRQ, rest + 24, (locators[_DRQ], locators[_DRQ2])),
        ):
            memory.put_pointer(given.at + at * word, where)
            memory.put_u32(given.at + count * word, 2 if at == _DRQS else 1)
            for number, value in enumerate(values):
                memory.put_u32(where + 4 * number, value)
        match = yield from autoconf.call_driver(attachment, "match", bus, entry, given.at)
        child = None
        if match > 0:
            printed = self._printed(given.at)
            child = yield from autoconf.attach(bus, entry, given.at, suffix=printed)
            if child is not None:
                bus.slots[child.name] = child
        given.free("isasearch")
        return child is not None and entry.state == tables.STAR

    def _printed(self, given: int) -> str:
        """Return the text that isaprint appends: the resources that the driver left."""
        memory, word, text = self.kernel.memory, self.kernel.memory.pointer_size, ""
        for name, at, count, size in (
            (" port ", _IO, _NIO, 8), (" iomem ", _IOMEMS, _NIOMEM, 8),
            (" irq ", _IRQS, _NIRQ, 4), (" drq ", _DRQS, _NDRQ, 4),
        ):  # fmt: skip
            many = memory.u32(given + count * word)
            where, numbers = memory.pointer(given + at * word), []
            for number in range(many):
                first = memory.s32(where + number * size)
                length = memory.s32(where + number * size + 4) if size == 8 else 0
                if size == 8 and length:
                    last = f"-{first + length - 1:#x}" if length > 1 else ""
                    numbers.append(f"{first:#x}{last}")
                elif size == 4 and first != -1:
                    numbers.append(str(first))
            text += name + ",".join(numbers) if many else ""
        return text

    def _child_detached(self, bus: Device, child: Device) -> Model:
        bus.slots = {slot: each for slot, each in bus.slots.items() if each is not child}
        yield from ()
        return 0
