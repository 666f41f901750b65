"""Devices that a module's own bus attaches and detaches: config_found(9) and related functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.twos import signed

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.console import Console
from vmtsim.kernel.kernlock import KernelLock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.alldevs import Device
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.conftables import ConfigData
    from vmtsim.kernel.kernel import Kernel

_VERSION = 1  # CFARGS_VERSION of sys/sys/device.h
# QUIET, UNCONF and UNSUPP of sys/sys/device.h: the text that a print function requests.
_NOT_FOUND = {0: "", 1: " not configured\n", 2: " unsupported\n"}


@dataclass(frozen=True)
class Arguments:
    """A struct cfargs."""

    submatch: int = 0  # or the search function: config_search_internal() calls both alike
    attribute: str = ""
    locators: int = 0


class Children(Subject):
    """A parent's functions: search for children, and detach them."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_autoconf.c 1.314": "*",
        "sys/dev/gpio/gpiolib.c 1.1": "gpiobus_print",
    }
    # They run under KERNEL_LOCK, which the models take or expect.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._devices = kernel.subject(AllDevices)
        self._autoconf = kernel.subject(Autoconf)

    def _asserts_kernel_lock(self, function: str) -> None:
        kernel = self.kernel
        if not kernel.subject(KernelLock).held():
            kernel.panic(
                "kernel-lock-asserted",
                f'{function} by {kernel.where()}: kernel diagnostic assertion "KERNEL_LOCKED_P()"',
            )

    def _arguments(self, function: str, address: int) -> Arguments:
        """Read a struct cfargs; NULL is CFARGS_NONE."""
        kernel, memory = self.kernel, self.kernel.memory
        if not address:
            return Arguments()
        word = memory.pointer_size
        version, submatch, search, attribute, locators = (
            memory.pointer(address + index * word) for index in range(5)
        )
        if version != _VERSION:
            kernel.panic(
                "cfargs-version",
                f"{function} by {kernel.where()}: cfargs of version {version}: CFARGS() makes "
                f"those of version {_VERSION}",
            )
        if submatch and search:
            kernel.panic(
                "cfargs-version",
                f"{function} by {kernel.where()}: submatch and search are mutually exclusive",
            )
        name = memory.string(attribute) if attribute else ""
        return Arguments(submatch or search, name, locators)

    @kernel_function("int config_probe(device_t parent, cfdata_t cf, void *aux)")
    @kernel_function("int config_match(device_t parent, cfdata_t cf, void *aux)")
    def config_match(self, parent: int, data: int, aux: int) -> Model:
        """Call the match function of the attachment that a cfdata names; 0 if there is none."""
        entry = tables.ConfigData(self.kernel.memory, data)
        attachment = self._devices.attachment_of(entry)
        if attachment is None or not attachment.has("match"):
            return 0
        return (yield from self._autoconf.call_driver(attachment, "match", parent, data, aux))

    @kernel_function(
        "int config_stdsubmatch(device_t parent, cfdata_t cf, const int *locs, void *aux)"
    )
    def config_stdsubmatch(self, address: int, data: int, locators: int, aux: int) -> Model:
        """Match if each locator of the cfdata is the given one, or its default."""
        kernel, memory = self.kernel, self.kernel.memory
        entry = tables.ConfigData(memory, data)
        parent = self._devices.device(address, "config_stdsubmatch")
        defaults = tables.read_locators(memory, parent.driver.address, entry.attribute)
        if defaults is None or (defaults and not locators):
            kernel.panic(
                "submatch-locators",
                f"config_stdsubmatch by {kernel.where()}: {parent.name} gave no locators "
                f"for its attribute {entry.attribute}",
            )
        for index, default in enumerate(defaults):
            value = memory.s32(entry.locators + 4 * index)
            if value not in {default, memory.s32(locators + 4 * index)}:
                return 0
        return (yield from self.config_match(address, data, aux))

    def _search(self, function: str, parent: Device, aux: int, arguments: Arguments) -> Model:
        """Return the entry that matches best, the first of equal ones (config_search_internal)."""
        kernel, known = self.kernel, parent.driver.attributes
        if arguments.attribute not in known if arguments.attribute else len(known) > 1:
            kernel.panic(
                "found-attribute",
                f"{function} by {kernel.where()}: {parent.name} has the interface attributes "
                f"{', '.join(known) or 'none'}, but the call names "
                f"{arguments.attribute or 'none of them'}",
            )
        best: ConfigData | None = None
        highest = 0
        for _table, entries in self._devices.config:
            for entry in entries:
                if entry.state not in {tables.NOTFOUND, tables.STAR} or not entry.attribute:
                    continue
                if arguments.attribute not in {"", entry.attribute}:
                    continue
                if not self._autoconf.parent_matches(parent, entry):
                    continue
                if arguments.submatch:
                    words = (parent.address, entry.address, arguments.locators, aux)
                    priority = signed((yield Call(arguments.submatch, words)), 32)
                else:
                    priority = yield from self.config_match(parent.address, entry.address, aux)
                if priority > highest:
                    best, highest = entry, priority
        return best

    @kernel_function("device_t config_found(device_t parent, void *aux, void *print, void *cfargs)")
    def config_found(self, address: int, aux: int, printer: int, cfargs: int) -> Model:
        """Attach the child that matches best; NULL if none does, and ``print`` reports it."""
        kernel = self.kernel
        kernel.rules.may_sleep("config_found")
        self._asserts_kernel_lock("config_found")
        parent = self._devices.device(address, "config_found")
        arguments = self._arguments("config_found", cfargs)
        entry = yield from self._search("config_found", parent, aux, arguments)
        if entry is not None:
            child = yield from self._autoconf.attach(parent, entry, aux, printer)
            return child.address
        if printer:
            name = self._devices.device_xname(address)
            answer = signed((yield Call(printer, (aux, name))), 32)
            kernel.subject(Console).print(_NOT_FOUND.get(answer, ""))
        return 0

    @kernel_function("cfdata_t config_search(device_t parent, void *aux, void *cfargs)")
    def config_search(self, address: int, aux: int, cfargs: int) -> Model:
        """Return the entry that matches best, or NULL; a search function attaches by itself."""
        self.kernel.rules.may_sleep("config_search")
        parent = self._devices.device(address, "config_search")
        arguments = self._arguments("config_search", cfargs)
        entry = yield from self._search("config_search", parent, aux, arguments)
        return 0 if entry is None else entry.address

    @kernel_function(
        "device_t config_attach(device_t parent, cfdata_t cf, void *aux, void *print, void *cfargs)"
    )
    def config_attach(self, address: int, data: int, aux: int, printer: int, cfargs: int) -> Model:
        """Attach the device that a cfdata of a table describes."""
        kernel = self.kernel
        kernel.rules.may_sleep("config_attach")
        self._asserts_kernel_lock("config_attach")
        parent = self._devices.device(address, "config_attach")
        self._arguments("config_attach", cfargs)
        entry = next(
            (each for _table, entries in self._devices.config for each in entries
             if each.address == data), None,
        )  # fmt: skip
        if entry is None or self._devices.attachment_of(entry) is None:
            kernel.panic(
                "cfdata-unknown",
                f"config_attach by {kernel.where()}: {kernel.describe(data)} is not a cfdata of a "
                "table that has an attachment",
            )
        child = yield from self._autoconf.attach(parent, entry, aux, printer)
        return child.address

    @kernel_function("int gpiobus_print(void *aux, const char *pnp)")
    def gpiobus_print(self, _aux: int, parent: str | None) -> int:
        """Print a device for which there is no driver: UNCONF."""
        if parent is not None:
            self.kernel.subject(Console).print(f"gpiobus at {parent}")
        return 1

    @kernel_function("int config_detach_children(device_t parent, int flags)")
    def config_detach_children(self, address: int, flags: int) -> Model:
        """Detach them, up to the first that refuses."""
        self.kernel.rules.may_sleep("config_detach_children")
        self._asserts_kernel_lock("config_detach_children")
        parent = self._devices.device(address, "config_detach_children")
        self._devices.iterate()
        error = 0
        for child in [each for each in self._devices.devices() if each.parent is parent]:
            error = yield from self._autoconf.detach(child, flags)
            if error:
                break
        self._devices.iterated()
        return error
