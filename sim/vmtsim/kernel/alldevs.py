"""Devices and drivers of autoconf(9): which are attached, and which units are in use.

A device that is detached while a device iterator is active is only marked: its unit stays in use
until the next garbage collection without an iterator.  A stock kernel panics if the unit is
attached before that; so does this one.  Sources: NetBSD sys/kern/subr_autoconf.c,
sys/kern/subr_device.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.pmf import Pmf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.conftables import Attachment, ConfigData, Driver
    from vmtsim.kernel.kernel import Kernel

# struct device: (dv_xname, dv_private, size)
_DEVICE = {8: (68, 104, 760), 4: (36, 64, 404)}


@dataclass(eq=False)
class Device:
    """One device; ``gone`` is set once it is detached and only its unit remains."""

    name: str
    unit: int
    address: int
    driver: Driver
    attachment: Attachment
    parent: Device | None
    data: ConfigData | None
    softc: int = 0
    gone: bool = False
    attaching: bool = False
    detaching: bool = False
    references: int = 0
    changed: WaitQueue = field(default_factory=lambda: WaitQueue("cfgmisc"))
    slots: dict[str, Device] = field(default_factory=dict)

    @property
    def native(self) -> bool:
        """Whether the kernel's own driver drives it."""
        return not self.attachment.address


class AllDevices(Subject):
    """The devices, and the drivers and cfdata tables that create them."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_autoconf.c 1.314": "*",
        "sys/kern/subr_device.c 1.14": (
            "device_cfdata device_is_a device_is_active device_parent device_private "
            "device_unit device_xname"
        ),
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "alldevs_lock": (
            "device_lookup device_lookup_private device_find_by_driver_unit device_find_by_xname"
        )
    }
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.drivers: dict[str, Driver] = {}
        self.config: list[tuple[int, list[ConfigData]]] = []
        self._devices: list[Device] = []
        self._iterators = 0
        kernel.devices = lambda: [device.address for device in self.devices()]
        kernel.device_name = lambda address, caller: self.device(address, caller).name

    def devices(self) -> list[Device]:
        """Return the attached devices, parents first."""
        return [device for device in self._devices if not device.gone]

    def find(self, name: str) -> Device | None:
        """Return the device of that name; a device that is only marked is not found."""
        return next((device for device in self.devices() if device.name == name), None)

    def device(self, address: int, function: str) -> Device:
        """Return the device whose struct device is at ``address``, or panic."""
        found = next((device for device in self._devices if device.address == address), None)
        if found is None:
            kernel = self.kernel
            kernel.panic(
                "no-device",
                f"{function} by {kernel.where()}: {kernel.describe(address)} is not a device",
            )
        return found

    def collect(self) -> None:
        """Free marked devices, unless an iterator is active (config_alldevs_enter)."""
        if self._iterators:
            return
        for device in [device for device in self._devices if device.gone]:
            self.free(device)

    def free(self, device: Device) -> None:
        """Release the unit and the memory of a detached device (config_devunlink)."""
        self._devices.remove(device)
        device.driver.units[device.unit] = None
        tables.publish_units(self.kernel, device.driver)
        kmem = self.kernel.subject(Kmem)
        if device.softc:
            kmem.release(device.softc, None, "config_devfree")
        kmem.release(device.address, None, "config_devfree")

    def iterate(self) -> None:
        """Start an iteration over all devices: a device detached during it is only marked."""
        self._iterators += 1

    def iterated(self) -> None:
        """End an iteration."""
        self._iterators -= 1

    def iterating(self) -> bool:
        """Whether a device iterator is active."""
        return self._iterators > 0

    def new(
        self, parent: Device | None, data: ConfigData | None, driver: Driver, attachment: Attachment
    ) -> Device:
        """Take a unit and make the device and its softc (config_devalloc, config_makeroom)."""
        kernel = self.kernel
        self.collect()
        units = driver.units
        if data is None or data.state in {tables.NOTFOUND, tables.FOUND}:
            unit = data.unit if data is not None else 0
        else:
            unit = next((i for i in range(data.unit, len(units)) if units[i] is None), len(units))
            unit = max(unit, data.unit)
        if unit < len(units) and units[unit] is not None:
            taken = units[unit]
            detail = (
                "its detached device is not freed yet, because a device iterator was active"
                if taken.gone
                else "it is attached"
            )
            kernel.panic(
                "unit-taken",
                "config_attach: allocation of device softc failed "
                f"(unit {unit} of driver {driver.name} is in use: {detail})",
            )
        if not attachment.flags & tables.PRIV_ALLOC:
            kernel.violation(
                "cfattach-flags",
                f"the cfattach {attachment.name} has no DVF_PRIV_ALLOC: CFATTACH_DECL_NEW sets it",
            )
        xname, private, size = _DEVICE[kernel.memory.pointer_size]
        kmem = kernel.subject(Kmem)
        name = f"{driver.name}{unit}"
        address = kmem.allocate(size, owner="device")
        kernel.memory.write(address + xname, name.encode("latin-1") + b"\0")
        device = Device(name, unit, address, driver, attachment, parent, data)
        if attachment.softc_size:
            device.softc = kmem.allocate(
                attachment.softc_size, owner="device", name=f"softc of {name}"
            )
            kernel.memory.put_pointer(address + private, device.softc)
        units.extend([None] * (unit + 1 - len(units)))
        units[unit] = device
        tables.publish_units(kernel, driver)
        self._devices.append(device)
        return device

    def add_native_device(
        self, driver: str, parent: Device | None, attachment: Attachment
    ) -> Device:
        """Attach unit 0 of a driver of the kernel's own, at boot."""
        device = self.new(parent, None, self.drivers[driver], attachment)
        where = "(root)" if parent is None else f"at {parent.name}"
        self.kernel.subject(Console).print(f"{device.name} {where}\n")
        return device

    def mark(self, device: Device, state: int) -> None:
        """Set the state of all entries for the same driver and unit."""
        before = tables.NOTFOUND if state == tables.FOUND else tables.FOUND
        for _table, entries in self.config:
            for entry in entries:
                same = entry.name == device.driver.name and entry.unit == device.unit
                if same and entry.state == before:
                    entry.state = state

    # -- drivers -----------------------------------------------------------------------------

    def add_driver(self, driver: Driver) -> int:
        """Register a driver (config_cfdriver_attach)."""
        if driver.name in self.drivers:
            return Errno.EEXIST
        self.drivers[driver.name] = driver
        return 0

    def attachment_of(self, entry: ConfigData) -> Attachment | None:
        """Return the attachment that a cfdata entry names (config_cfattach_lookup)."""
        driver = self.drivers.get(entry.name)
        if driver is None:
            return None
        return next((a for a in driver.attachments if a.name == entry.attachment), None)

    def add_attachment(self, name: str, address: int) -> int:
        """Add a cfattach to its driver's list; returns an errno (config_cfattach_attach)."""
        driver = self.drivers.get(name)
        if driver is None:
            return Errno.ESRCH
        attachment = tables.Attachment(self.kernel.memory, address)
        if any(known.name == attachment.name for known in driver.attachments):
            return Errno.EEXIST
        driver.attachments.insert(0, attachment)
        return 0

    def remove_attachment(self, name: str, address: int) -> int:
        """Remove it; returns an errno, EBUSY while it has devices (config_cfattach_detach)."""
        self.collect()
        driver = self.drivers.get(name)
        if driver is None:
            return Errno.ESRCH
        attachment = next((a for a in driver.attachments if a.address == address), None)
        if attachment is None:
            kernel = self.kernel
            kernel.panic(
                "cfattach-not-attached",
                f"config_cfattach_detach by {kernel.where()}: {kernel.describe(address)} is not in "
                f"the list of driver {name}: LIST_REMOVE follows the pointers in it",
            )
        if any(d is not None and d.attachment is attachment for d in driver.units):
            return Errno.EBUSY
        driver.attachments.remove(attachment)
        return 0

    # -- accessors ---------------------------------------------------------------------------

    @kernel_function("device_t device_find_by_xname(const char *name)")
    def device_find_by_xname(self, name: str | None) -> int:
        device = self.find(name or "")
        return device.address if device is not None else 0

    @kernel_function("device_t device_find_by_driver_unit(const char *name, int unit)")
    def device_find_by_driver_unit(self, name: str | None, unit: int) -> int:
        return self.device_find_by_xname(f"{name}{unit}")

    @kernel_function("void *device_private(device_t dev)")
    def device_private(self, address: int) -> int:
        return self.device(address, "device_private").softc if address else 0

    @kernel_function("char *device_xname(device_t dev)")
    def device_xname(self, address: int) -> int:
        self.device(address, "device_xname")
        return address + _DEVICE[self.kernel.memory.pointer_size][0]

    @kernel_function("int device_unit(device_t dev)")
    def device_unit(self, address: int) -> int:
        return self.device(address, "device_unit").unit

    @kernel_function("device_t device_parent(device_t dev)")
    def device_parent(self, address: int) -> int:
        parent = self.device(address, "device_parent").parent
        return parent.address if parent is not None else 0

    @kernel_function("bool device_is_a(device_t dev, const char *name)")
    def device_is_a(self, address: int, name: str | None) -> bool:
        return address != 0 and self.device(address, "device_is_a").driver.name == name

    @kernel_function("bool device_is_active(device_t dev)")
    def device_is_active(self, address: int) -> bool:
        device = self.device(address, "device_is_active")
        return not device.gone and address not in self.kernel.subject(Pmf).suspended

    @kernel_function("cfdata_t device_cfdata(device_t dev)")
    def device_cfdata(self, address: int) -> int:
        data = self.device(address, "device_cfdata").data
        return data.address if data is not None else 0

    def units_of(self, address: int) -> list[str]:
        """Return the names of the devices of the cfdriver at an address."""
        return [
            device.name
            for driver in self.drivers.values()
            if driver.address == address
            for device in driver.units
            if device is not None
        ]

    @kernel_function("device_t device_lookup(void *cd, int unit)")
    def device_lookup(self, address: int, unit: int) -> int:
        for driver in self.drivers.values():
            if driver.address == address and 0 <= unit < len(driver.units):
                device = driver.units[unit]
                return device.address if device is not None and not device.gone else 0
        return 0

    @kernel_function("void *device_lookup_private(void *cd, int unit)")
    def device_lookup_private(self, address: int, unit: int) -> int:
        device = self.device_lookup(address, unit)
        return self.device_private(device)
