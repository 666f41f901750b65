"""autoconf(9): devices come and go (NetBSD sys/kern/subr_autoconf.c).

A device that is detached while somebody iterates over all devices is only marked: its unit stays
taken until the next garbage collection without an iterator.  A stock kernel panics on it; so does
this one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.callout import Callouts
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.conftables import Attachment, ConfigData, Driver
    from vmtsim.kernel.kernel import Kernel

# How long the administrator waits for a second detach of the same device before ^C, in ns.
_PATIENCE = 10_000_000_000
# struct device: (dv_xname, dv_private, size)
_DEVICE = {8: (68, 104, 760), 4: (36, 64, 404)}


@dataclass(eq=False)
class Device:
    """One device; ``gone`` once it is detached and only its unit remains."""

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


class Autoconf(Subject):
    """The device tree and the tables that modules add to it."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_autoconf.c 1.314": "*",
        "sys/kern/subr_device.c 1.14": (
            "device_cfdata device_is_a device_is_active device_parent device_private "
            "device_unit device_xname"
        ),
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.drivers: dict[str, Driver] = {}
        self.config: list[tuple[int, list[ConfigData]]] = []
        self._devices: list[Device] = []
        self._iterators = 0
        kernel.devices = lambda: [device.address for device in self.devices()]
        kernel.device_name = lambda address, caller: self.device(address, caller).name

    def boot(self) -> None:
        """Find the main bus, the first CPU and what the kernel's own drivers drive."""
        from vmtsim.kernel import cpubus  # noqa: PLC0415 - needs Autoconf itself

        self.kernel.run_process("boot", cpubus.configure(self))

    # -- devices -----------------------------------------------------------------------------

    def devices(self) -> list[Device]:
        """Return the devices that are there, parents first."""
        return [device for device in self._devices if not device.gone]

    def find(self, name: str) -> Device | None:
        """Return the device of that name; one that is only marked is not found."""
        return next((device for device in self.devices() if device.name == name), None)

    def device(self, address: int, function: str) -> Device:
        """Return the device whose struct device is at ``address``, or panic."""
        found = next((device for device in self._devices if device.address == address), None)
        if found is None:
            kernel = self.kernel
            kernel.panic(
                "no-device",
                f"{function} by {kernel.where()}: {kernel.describe(address)} is no device",
            )
        return found

    def _collect(self) -> None:
        """Free what is only marked, unless somebody iterates (config_alldevs_enter)."""
        if self._iterators:
            return
        for device in [device for device in self._devices if device.gone]:
            self._free(device)

    def _free(self, device: Device) -> None:
        """Give back the unit and the memory of a detached device (config_devunlink)."""
        self._devices.remove(device)
        device.driver.units[device.unit] = None
        tables.publish_units(self.kernel, device.driver)
        kmem = self.kernel.subject(Kmem)
        if device.softc:
            kmem.release(device.softc, None, "config_devfree")
        kmem.release(device.address, None, "config_devfree")

    def iterate(self) -> None:
        """Begin to iterate over all devices: what is detached meanwhile is only marked."""
        self._iterators += 1

    def iterated(self) -> None:
        """End that."""
        self._iterators -= 1

    def _new_device(
        self, parent: Device | None, data: ConfigData | None, driver: Driver, attachment: Attachment
    ) -> Device:
        kernel = self.kernel
        self._collect()
        units = driver.units
        if data is None or data.state in {tables.NOTFOUND, tables.FOUND}:
            unit = data.unit if data is not None else 0
        else:
            unit = next((i for i in range(data.unit, len(units)) if units[i] is None), len(units))
            unit = max(unit, data.unit)
        if unit < len(units) and units[unit] is not None:
            taken = units[unit]
            detail = (
                "its detached device is still marked, because a device iterator was active"
                if taken.gone
                else "it is attached"
            )
            kernel.panic(
                "unit-taken",
                "config_attach: allocation of device softc failed "
                f"(unit {unit} of driver {driver.name} is taken: {detail})",
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
        device = self._new_device(parent, None, self.drivers[driver], attachment)
        where = "(root)" if parent is None else f"at {parent.name}"
        self.kernel.subject(Console).print(f"{device.name} {where}\n")
        return device

    # -- calling a driver --------------------------------------------------------------------

    def _call(self, attachment: Attachment, name: str, *arguments: Any) -> Model:
        native = attachment.native.get(name)
        if native is not None:
            return (yield from native(*arguments))
        words = [
            argument.address if hasattr(argument, "address") else argument for argument in arguments
        ]
        result = yield Call(attachment.functions[name], words)
        return ((result & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000

    def search(self, parent: Device, attribute: str, aux: int) -> Model:
        """Return the cfdata that matches best, or None (config_search)."""
        best: ConfigData | None = None
        best_priority = 0
        for _table, entries in list(self.config):
            for entry in entries:
                if entry.state not in {tables.NOTFOUND, tables.STAR}:
                    continue
                if entry.attribute != attribute or not self._parent_matches(parent, entry):
                    continue
                found = self._attachment(entry)
                if found is None or not found.has("match"):
                    continue
                priority = yield from self._call(found, "match", parent, entry, aux)
                if priority > best_priority:
                    best, best_priority = entry, priority
        return best

    def _parent_matches(self, parent: Device, entry: ConfigData) -> bool:
        """Whether a device may be the parent: any with the attribute, where none is named."""
        if entry.attribute not in parent.driver.attributes:
            return False
        if entry.parent is None:
            return True
        if entry.parent != parent.driver.name:
            return False
        return entry.parent_unit in {tables.ANY_UNIT, parent.unit}

    def _attachment(self, entry: ConfigData) -> Attachment | None:
        driver = self.drivers.get(entry.name)
        if driver is None:
            return None
        return next((a for a in driver.attachments if a.name == entry.attachment), None)

    def found(self, parent: Device, attribute: str, aux: int) -> Model:
        """Attach a child where a driver wants it; returns the Device or None (config_found)."""
        entry = yield from self.search(parent, attribute, aux)
        if entry is None:
            return None
        return (yield from self.attach(parent, entry, aux))

    def attach(self, parent: Device, entry: ConfigData, aux: int) -> Model:
        """Attach the device of a cfdata entry (config_attach)."""
        attachment = self._attachment(entry)
        assert attachment is not None
        device = self._new_device(parent, entry, self.drivers[entry.name], attachment)
        self._mark(device, tables.FOUND)
        self.kernel.subject(Console).print(f"{device.name} at {parent.name}")
        self.kernel.trace.emit("device.attach", device=device.name, parent=parent.name)
        device.attaching = True
        yield from self._call(attachment, "attach", parent, device, aux)
        device.attaching = False
        self.kernel.scheduler.wake_all(device.changed)
        console = self.kernel.subject(Console)
        if console.pending.startswith(f"{device.name} at "):
            self.kernel.violation(
                "attach-line", f"{device.name}'s attach function did not end its console line"
            )
            console.print("\n")
        return device

    def _mark(self, device: Device, state: int) -> None:
        """Set the state of all entries for the same driver and unit."""
        before = tables.NOTFOUND if state == tables.FOUND else tables.FOUND
        for _table, entries in self.config:
            for entry in entries:
                same = entry.name == device.driver.name and entry.unit == device.unit
                if same and entry.state == before:
                    entry.state = state

    def detach(self, device: Device, flags: int = 0) -> Model:
        """Detach a device; returns an errno (config_detach_release).

        One at a time, and not before attach is over.  Who comes second holds a reference while
        it waits, and who is first waits for all references to go before it is done: on a stock
        kernel both hang until the second gets a signal.  The administrator sends it: EINTR.
        """
        kernel = self.kernel
        wake = kernel.scheduler.wake_all
        device.references += 1
        error: int = yield from self._enter(device)
        device.references -= 1
        wake(device.changed)
        if error:
            return error
        if device.gone:
            kernel.subject(Console).print(
                f"config_detach_release: {device.name} is already detached\n"
            )
            return Errno.ENOENT
        device.detaching = True
        self._iterators += 1
        error = yield from self._detach(device, flags)
        device.detaching = False
        wake(device.changed)
        self._iterators -= 1
        # What others have marked goes at the next look, as in config_detach_release().
        if not error and not self._iterators:
            self._free(device)
        return error

    def _enter(self, device: Device) -> Model:
        """Wait until nobody attaches or detaches the device (config_detach_enter)."""
        kernel = self.kernel
        deadline = kernel.clock.now + _PATIENCE
        while device.attaching or device.detaching:
            woken = yield Block(device.changed, deadline, "cfgmisc", signal=True)
            if not woken:
                return Errno.EINTR
        return 0

    def _detach(self, device: Device, flags: int) -> Model:
        """Let the driver go, and tell everybody."""
        kernel = self.kernel
        attachment = device.attachment
        if not attachment.has("detach"):
            return Errno.EOPNOTSUPP
        error = yield from self._call(attachment, "detach", device, flags)
        if error:
            return error
        while device.references:
            yield Block(device.changed, what="cfgmisc")
        if device.softc:
            kernel.subject(Callouts).check_detach(
                device.softc, device.softc + attachment.softc_size, device.name
            )
        kernel.subject(Pmf).check_detach(device.address, device.name)
        device.gone = True
        child = next((each for each in self.devices() if each.parent is device), None)
        if child is not None:
            kernel.panic(
                "detached-with-children",
                f"config_detach: detached device {device.name} has children {child.name}",
            )
        if device.parent is not None and device.parent.attachment.has("childdetached"):
            yield from self._call(device.parent.attachment, "childdetached", device.parent, device)
        self._mark(device, tables.NOTFOUND)
        kernel.subject(Console).print(f"{device.name}: detached\n")
        kernel.trace.emit("device.detach", device=device.name)
        return 0

    def detach_all(self, *, power_off: bool) -> Model:
        """Detach leaves first what asks for it, or everything with ``kern.detachall``.

        subr_autoconf.c: config_detach_all, config_detach_release; in the thread that reboots.
        """
        everything = self.kernel.options.detachall
        flags = tables.DETACH_SHUTDOWN | (tables.DETACH_POWEROFF if power_off else 0)
        for device in reversed(list(self.devices())):
            if device.address in self.kernel.subject(Pmf).suspended:
                continue  # it is not active
            if everything or device.attachment.flags & tables.DVF_DETACH_SHUTDOWN:
                yield from self.detach(device, flags)

    # -- what drvctl(8) does -------------------------------------------------------------------

    def drvctl_detach(self, name: str) -> Model:
        """DRVDETACHDEV: returns an errno.  Holds an iterator while it detaches."""
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        self._iterators += 1
        device = self.find(name)
        error = Errno.ENXIO
        if device is not None:
            parent = device.parent
            if parent is not None and not parent.attachment.has("childdetached"):
                error = Errno.ENOTSUP
            else:
                error = yield from self.detach(device)
        self._iterators -= 1
        big.unlock(1)
        return int(error)

    def drvctl_rescan(self, name: str, attribute: str) -> Model:
        """DRVRESCANBUS: returns an errno."""
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        device = self.find(name)
        error: int = 0
        if device is None:
            error = Errno.ENXIO
        elif not device.attachment.has("rescan"):
            error = Errno.ENODEV
        elif attribute not in device.driver.attributes:
            error = Errno.EINVAL
        else:
            error = yield from self._call(device.attachment, "rescan", device, attribute, 0)
        big.unlock(1)
        return error

    # -- tables of modules ---------------------------------------------------------------------

    def add_driver(self, driver: Driver) -> int:
        """Register a driver (config_cfdriver_attach)."""
        if driver.name in self.drivers:
            return Errno.EEXIST
        self.drivers[driver.name] = driver
        return 0

    def _add_attachment(self, name: str, address: int) -> int:
        driver = self.drivers.get(name)
        if driver is None:
            return Errno.ESRCH
        attachment = tables.Attachment(self.kernel.memory, address)
        if any(known.name == attachment.name for known in driver.attachments):
            return Errno.EEXIST
        driver.attachments.insert(0, attachment)
        return 0

    def _remove_attachment(self, name: str, address: int) -> int:
        self._collect()
        driver = self.drivers.get(name)
        if driver is None:
            return Errno.ESRCH
        attachment = next((a for a in driver.attachments if a.address == address), None)
        if attachment is None:
            kernel = self.kernel
            kernel.panic(
                "cfattach-not-attached",
                f"config_cfattach_detach by {kernel.where()}: {kernel.describe(address)} is in no "
                f"list of driver {name}: LIST_REMOVE follows what its links hold",
            )
        if any(d is not None and d.attachment is attachment for d in driver.units):
            return Errno.EBUSY
        driver.attachments.remove(attachment)
        return 0

    def _rescan(self, entries: list[ConfigData]) -> Model:
        """Offer new entries to all devices that can rescan, under an iterator."""
        self._iterators += 1
        for device in list(self._devices):
            if device.gone or not device.attachment.has("rescan"):
                continue
            for entry in entries:
                if entry.attribute and self._parent_matches(device, entry):
                    yield from self._call(
                        device.attachment, "rescan", device, entry.attribute, entry.locators
                    )
        self._iterators -= 1

    @kernel_function(
        "int config_init_component(struct cfdriver *const *cfdriverv, "
        "const struct cfattachinit *cfattachv, struct cfdata *cfdatav)"
    )
    def config_init_component(self, drivers: int, attachments: int, data: int) -> Model:
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        undo: list[Callable[[], object]] = []
        error = self._add_drivers(drivers, undo) or self._add_attachments(attachments, undo)
        if error:
            for step in reversed(undo):
                step()
        else:
            self._add_table(data)
            yield from self._rescan(self.config[-1][1])
        big.unlock(1)
        return error

    def _add_drivers(self, vector: int, undo: list[Callable[[], object]]) -> int:
        memory = self.kernel.memory
        for address in tables.read_vector(memory, vector):
            driver = tables.read_driver(memory, address)
            error = self.add_driver(driver)
            if error:
                self.kernel.subject(Console).print(
                    f"configure: `{driver.name}' driver init failed: {int(error)}\n"
                )
                return error
            undo.append(lambda name=driver.name: self.drivers.pop(name))  # type: ignore[misc]
        return 0

    def _add_attachments(self, table: int, undo: list[Callable[[], object]]) -> int:
        memory = self.kernel.memory
        for name, vector in tables.read_attach_init(memory, table):
            for address in vector:
                error = self._add_attachment(name, address)
                if error:
                    what = memory.string(memory.pointer(address))
                    self.kernel.subject(Console).print(
                        f"configure: attachment `{what}' of `{name}' driver "
                        f"init failed: {int(error)}\n"
                    )
                    return error
                undo.append(lambda n=name, a=address: self._remove_attachment(n, a))  # type: ignore[misc]
        return 0

    @kernel_function(
        "int config_fini_component(struct cfdriver *const *cfdriverv, "
        "const struct cfattachinit *cfattachv, struct cfdata *cfdatav)"
    )
    def config_fini_component(self, drivers: int, attachments: int, data: int) -> Model:
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        error = yield from self._fini(drivers, attachments, data)
        big.unlock(1)
        return error

    def _fini(self, drivers: int, attachments: int, data: int) -> Model:
        """Devices, table, attachments, drivers; what fails puts back what went before it."""
        error = yield from self._detach_table(data)
        if error:
            return error
        self._collect()
        undo: list[Callable[[], object]] = [lambda: self._add_table(data)]
        error = self._remove_attachments(attachments, undo) or self._remove_drivers(drivers, undo)
        if error:
            for step in reversed(undo):
                step()
        return error

    def _add_table(self, data: int) -> None:
        self.config.append((data, tables.read_config_data(self.kernel.memory, data)))

    def _detach_table(self, data: int) -> Model:
        """Detach a table's devices, last one first, then the table (config_cfdata_detach)."""
        entries = {entry.address for entry in tables.read_config_data(self.kernel.memory, data)}
        self._iterators += 1
        error = 0
        for device in reversed(list(self._devices)):
            if not device.gone and device.data is not None and device.data.address in entries:
                error = yield from self.detach(device)
                if error:
                    self.kernel.subject(Console).print(
                        f"{device.name}: unable to detach instance\n"
                    )
                    break
        self._iterators -= 1
        if error:
            return error
        table = next((entry for entry in self.config if entry[0] == data), None)
        if table is None:
            return Errno.EINVAL
        self.config.remove(table)
        return 0

    def _remove_attachments(self, table: int, undo: list[Callable[[], object]]) -> int:
        memory = self.kernel.memory
        for name, vector in tables.read_attach_init(memory, table):
            for address in vector:
                error = self._remove_attachment(name, address)
                if error:
                    what = memory.string(memory.pointer(address))
                    self.kernel.subject(Console).print(
                        f"configure: attachment `{what}' of `{name}' driver "
                        f"fini failed: {int(error)}\n"
                    )
                    return error
                undo.append(lambda n=name, a=address: self._add_attachment(n, a))  # type: ignore[misc]
        return 0

    def _remove_drivers(self, vector: int, undo: list[Callable[[], object]]) -> int:
        memory = self.kernel.memory
        for address in tables.read_vector(memory, vector):
            driver = self.drivers[memory.string(memory.pointer(address + 4 * memory.pointer_size))]
            if any(unit is not None for unit in driver.units):
                self.kernel.subject(Console).print(
                    f"configure: `{driver.name}' driver fini failed: {int(Errno.EBUSY)}\n"
                )
                return Errno.EBUSY
            del self.drivers[driver.name]
            undo.append(lambda driver=driver: self.add_driver(driver))  # type: ignore[misc]
        return 0

    def check_unload(self, module: str) -> None:
        """Report tables, drivers and attachments in the memory of a module that is gone."""
        super().check_unload(module)
        inside = self.kernel.module_memory(module)
        found = [(address, "the cfdata table") for address, _ in self.config if inside(address)]
        found += [(each.address, f"the cfdriver {each.name}") for each in self.drivers.values()
                  if inside(each.address)]  # fmt: skip
        for driver in self.drivers.values():
            found += [
                (each.address, f"the cfattach {each.name} of driver {driver.name}")
                for each in driver.attachments
                if inside(each.address)
            ]
        for _address, what in found:
            self.kernel.violation(
                "autoconf-left", f"module {module} is gone, but {what} is in autoconf's lists"
            )
        self.config = [each for each in self.config if not inside(each[0])]
        self.drivers = {n: each for n, each in self.drivers.items() if not inside(each.address)}
        for driver in self.drivers.values():
            driver.attachments = [each for each in driver.attachments if not inside(each.address)]

    @kernel_function("struct cfdriver *config_cfdriver_lookup(const char *name)")
    def config_cfdriver_lookup(self, name: str | None) -> int:
        driver = self.drivers.get(name or "")
        return driver.address if driver is not None else 0

    @kernel_function("int config_cfattach_attach(const char *driver, struct cfattach *ca)")
    def config_cfattach_attach(self, name: str | None, address: int) -> int:
        self._need_kernel_lock("config_cfattach_attach")
        return self._add_attachment(name or "", address)

    @kernel_function("int config_cfattach_detach(const char *driver, struct cfattach *ca)")
    def config_cfattach_detach(self, name: str | None, address: int) -> int:
        self._need_kernel_lock("config_cfattach_detach")
        return self._remove_attachment(name or "", address)

    def _need_kernel_lock(self, function: str) -> None:
        kernel = self.kernel
        if not kernel.subject(KernelLock).held():
            kernel.violation(
                "kernel-lock", f"{function} called by {kernel.where()} without the kernel lock"
            )

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
