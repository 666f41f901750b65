"""Adds a module's tables of drivers, attachments and devices to autoconf(9)'s, and removes them.

Source: NetBSD sys/kern/subr_autoconf.c (config_init_component, config_fini_component).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernlock import KernelLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.conftables import ConfigData
    from vmtsim.kernel.kernel import Kernel


class Components(Subject):
    """config_init_component(9) adds all or nothing; config_fini_component(9) removes it."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_autoconf.c 1.314": "*"}
    # The others take KERNEL_LOCK, or nothing.
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "alldevs_lock": "config_cfattach_detach config_cfdriver_detach"
    }
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._devices = kernel.subject(AllDevices)
        self._autoconf = kernel.subject(Autoconf)

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
            yield from self._rescan(self._devices.config[-1][1])
        big.unlock(1)
        return error

    def _add_drivers(self, vector: int, undo: list[Callable[[], object]]) -> int:
        memory = self.kernel.memory
        for address in tables.read_vector(memory, vector):
            driver = tables.read_driver(memory, address)
            error = self._devices.add_driver(driver)
            if error:
                self.kernel.subject(Console).print(
                    f"configure: `{driver.name}' driver init failed: {int(error)}\n"
                )
                return error
            undo.append(partial(self._devices.drivers.pop, driver.name))
        return 0

    def _add_attachments(self, table: int, undo: list[Callable[[], object]]) -> int:
        add, remove = self._devices.add_attachment, self._devices.remove_attachment
        return self._each_attachment(table, "init", add, remove, undo)

    def _remove_attachments(self, table: int, undo: list[Callable[[], object]]) -> int:
        add, remove = self._devices.add_attachment, self._devices.remove_attachment
        return self._each_attachment(table, "fini", remove, add, undo)

    def _each_attachment(
        self,
        table: int,
        what: str,
        step: Callable[[str, int], int],
        back: Callable[[str, int], int],
        undo: list[Callable[[], object]],
    ) -> int:
        """Do ``step`` for each cfattach of a table, until one fails; ``back`` undoes it."""
        memory = self.kernel.memory
        for name, vector in tables.read_attach_init(memory, table):
            for address in vector:
                error = step(name, address)
                if error:
                    attachment = memory.string(memory.pointer(address))
                    self.kernel.subject(Console).print(
                        f"configure: attachment `{attachment}' of `{name}' driver "
                        f"{what} failed: {int(error)}\n"
                    )
                    return error
                undo.append(partial(back, name, address))
        return 0

    def _rescan(self, entries: list[ConfigData]) -> Model:
        """Offer new entries to all devices that can rescan, under an iterator."""
        self._devices.iterate()
        for device in self._devices.devices():
            if device.gone or not device.attachment.has("rescan"):
                continue
            for entry in entries:
                if entry.attribute and self._autoconf.parent_matches(device, entry):
                    yield from self._autoconf.call_driver(
                        device.attachment, "rescan", device, entry.attribute, entry.locators
                    )
        self._devices.iterated()

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
        """Remove devices, table, attachments, drivers; a failure restores those already removed."""
        error = yield from self._detach_table(data)
        if error:
            return error
        self._devices.collect()
        undo: list[Callable[[], object]] = [partial(self._add_table, data)]
        error = self._remove_attachments(attachments, undo) or self._remove_drivers(drivers, undo)
        if error:
            for step in reversed(undo):
                step()
        return error

    def _add_table(self, data: int) -> None:
        self._devices.config.append((data, tables.read_config_data(self.kernel.memory, data)))

    def _detach_table(self, data: int) -> Model:
        """Detach a table's devices, last one first, then the table (config_cfdata_detach)."""
        entries = {entry.address for entry in tables.read_config_data(self.kernel.memory, data)}
        self._devices.iterate()
        error = 0
        for device in reversed(self._devices.devices()):
            if not device.gone and device.data is not None and device.data.address in entries:
                error = yield from self._autoconf.detach(device)
                if error:
                    self.kernel.subject(Console).print(
                        f"{device.name}: unable to detach instance\n"
                    )
                    break
        self._devices.iterated()
        if error:
            return error
        table = next((entry for entry in self._devices.config if entry[0] == data), None)
        if table is None:
            return Errno.EINVAL
        self._devices.config.remove(table)
        return 0

    def _remove_drivers(self, vector: int, undo: list[Callable[[], object]]) -> int:
        memory = self.kernel.memory
        for address in tables.read_vector(memory, vector):
            driver = self._devices.drivers[
                memory.string(memory.pointer(address + 4 * memory.pointer_size))
            ]
            if any(unit is not None for unit in driver.units):
                self.kernel.subject(Console).print(
                    f"configure: `{driver.name}' driver fini failed: {int(Errno.EBUSY)}\n"
                )
                return Errno.EBUSY
            del self._devices.drivers[driver.name]
            undo.append(partial(self._devices.add_driver, driver))
        return 0

    def check_unload(self, module: str) -> None:
        """Report tables, drivers and attachments in the memory of an unloaded module."""
        super().check_unload(module)
        inside, known = self.kernel.module_memory(module), self._devices
        left = ["the cfdata table" for address, _ in known.config if inside(address)]
        left += [f"the cfdriver {each.name}" for each in known.drivers.values()
                 if inside(each.address)]  # fmt: skip
        for driver in known.drivers.values():
            left += [
                f"the cfattach {each.name} of driver {driver.name}"
                for each in driver.attachments
                if inside(each.address)
            ]
        for what in left:
            self.kernel.violation(
                "autoconf-left",
                f"module {module} is unloaded, but {what} is still in autoconf's lists",
            )
        known.config = [each for each in known.config if not inside(each[0])]
        known.drivers = {n: each for n, each in known.drivers.items() if not inside(each.address)}
        for driver in known.drivers.values():
            driver.attachments = [each for each in driver.attachments if not inside(each.address)]

    @kernel_function("struct cfdriver *config_cfdriver_lookup(const char *name)")
    def config_cfdriver_lookup(self, name: str | None) -> int:
        driver = self._devices.drivers.get(name or "")
        return driver.address if driver is not None else 0

    @kernel_function("int config_cfattach_attach(const char *driver, struct cfattach *ca)")
    def config_cfattach_attach(self, name: str | None, address: int) -> int:
        self._need_kernel_lock("config_cfattach_attach")
        return self._devices.add_attachment(name or "", address)

    @kernel_function("int config_cfattach_detach(const char *driver, struct cfattach *ca)")
    def config_cfattach_detach(self, name: str | None, address: int) -> int:
        self._need_kernel_lock("config_cfattach_detach")
        return self._devices.remove_attachment(name or "", address)

    @kernel_function("int config_cfdriver_attach(struct cfdriver *cd)")
    def config_cfdriver_attach(self, address: int) -> int:
        return self._devices.add_driver(tables.read_driver(self.kernel.memory, address))

    @kernel_function("int config_cfdriver_detach(struct cfdriver *cd)")
    def config_cfdriver_detach(self, address: int) -> int:
        """EBUSY while it has devices or attachments."""
        self._devices.collect()
        known = self._devices.drivers
        driver = next((each for each in known.values() if each.address == address), None)
        if driver is None:
            kernel = self.kernel
            kernel.panic(
                "cfdriver-not-attached",
                f"config_cfdriver_detach by {kernel.where()}: {kernel.describe(address)} is not in "
                "the list: LIST_REMOVE follows the pointers in it",
            )
        if any(unit is not None for unit in driver.units) or driver.attachments:
            return Errno.EBUSY
        del known[driver.name]
        return 0

    @kernel_function("int config_cfdata_attach(cfdata_t cf, int scannow)")
    def config_cfdata_attach(self, data: int, scan: int) -> Model:
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        self._add_table(data)
        if scan:
            yield from self._rescan(self._devices.config[-1][1])
        big.unlock(1)
        return 0

    @kernel_function("int config_cfdata_detach(cfdata_t cf)")
    def config_cfdata_detach(self, data: int) -> Model:
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        error = yield from self._detach_table(data)
        big.unlock(1)
        return error

    @kernel_function("device_t config_attach_pseudo(cfdata_t cf)")
    def config_attach_pseudo(self, data: int) -> Model:
        """Attach a device without a parent; NULL without an attachment, or if the unit is in use.

        The caller holds the kernel lock, as the comment at NetBSD's function requires.
        """
        kernel = self.kernel
        kernel.rules.may_sleep("config_attach_pseudo")
        self._need_kernel_lock("config_attach_pseudo")
        entry = tables.ConfigData(kernel.memory, data)
        if self._devices.attachment_of(entry) is None:
            return 0
        self._devices.collect()
        if entry.state != tables.STAR:
            units = self._devices.drivers[entry.name].units
            if entry.unit < len(units) and units[entry.unit] is not None:
                return 0
            if entry.state != tables.NOTFOUND:
                kernel.panic(
                    "pseudo-state",
                    f"config_attach_pseudo by {kernel.where()}: the state of the cfdata of "
                    f"{entry.name}{entry.unit} is {entry.state}, not FSTATE_NOTFOUND",
                )
        big = kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        device = yield from self._autoconf.attach_pseudo(entry)
        big.unlock(1)
        return device.address

    @kernel_function("int config_detach(device_t dev, int flags)")
    def config_detach(self, address: int, flags: int) -> Model:
        """Detach a device; its caller holds the kernel lock, as the comment there requires."""
        self.kernel.rules.may_sleep("config_detach")
        self._need_kernel_lock("config_detach")
        device = self._devices.device(address, "config_detach")
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        error = yield from self._autoconf.detach(device, flags)
        big.unlock(1)
        return error

    def _need_kernel_lock(self, function: str) -> None:
        kernel = self.kernel
        if not kernel.subject(KernelLock).held():
            kernel.violation(
                "kernel-lock", f"{function} called by {kernel.where()} without the kernel lock"
            )
