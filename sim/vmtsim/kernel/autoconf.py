"""autoconf(9): devices are found, attached and detached (NetBSD sys/kern/subr_autoconf.c 1.314)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.twos import signed

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Block, Call, Subject
from vmtsim.kernel.callout import Callouts
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.pmf import Pmf

if TYPE_CHECKING:
    from vmtsim.kernel.alldevs import Device
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.conftables import Attachment, ConfigData
    from vmtsim.kernel.kernel import Kernel

# How long the administrator waits for a second detach of the same device before ^C, in ns.
_PATIENCE = 10_000_000_000


class Autoconf(Subject):
    """Calls the drivers' functions of match, attach, detach and rescan."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._devices = kernel.subject(AllDevices)

    def boot(self) -> None:
        """Find the main bus, the first CPU and the devices of the kernel's own drivers."""
        from vmtsim.kernel import cpubus  # noqa: PLC0415 - needs Autoconf itself

        self.kernel.run_process("boot", cpubus.configure(self))

    def call_driver(self, attachment: Attachment, name: str, *arguments: Any) -> Model:
        """Call one of a driver's functions on the running thread; returns its result, an int."""
        native = attachment.native.get(name)
        if native is not None:
            return (yield from native(*arguments))
        words = [
            argument.address if hasattr(argument, "address") else argument for argument in arguments
        ]
        result = yield Call(attachment.functions[name], words)
        return signed(result, 32)

    def search(self, parent: Device, attribute: str, aux: int) -> Model:
        """Return the cfdata that matches best, or None (config_search)."""
        best: ConfigData | None = None
        best_priority = 0
        for _table, entries in list(self._devices.config):
            for entry in entries:
                if entry.state not in {tables.NOTFOUND, tables.STAR}:
                    continue
                if entry.attribute != attribute or not self.parent_matches(parent, entry):
                    continue
                found = self._devices.attachment_of(entry)
                if found is None or not found.has("match"):
                    continue
                priority = yield from self.call_driver(found, "match", parent, entry, aux)
                if priority > best_priority:
                    best, best_priority = entry, priority
        return best

    def parent_matches(self, parent: Device, entry: ConfigData) -> bool:
        """Whether a device may be the parent: any with the attribute, if none is named."""
        if entry.attribute not in parent.driver.attributes:
            return False
        if entry.parent is None:
            return True
        if entry.parent != parent.driver.name:
            return False
        return entry.parent_unit in {tables.ANY_UNIT, parent.unit}

    def found(self, parent: Device, attribute: str, aux: int) -> Model:
        """Attach a child if a driver matches; returns the Device or None (config_found)."""
        entry = yield from self.search(parent, attribute, aux)
        if entry is None:
            return None
        return (yield from self.attach(parent, entry, aux))

    def attach(
        self, parent: Device, entry: ConfigData, aux: int, printer: int = 0, suffix: str = ""
    ) -> Model:
        """Attach the device of a cfdata entry (config_attach).

        ``printer`` is a function of the parent that prints the text after "X at Y", or 0;
        ``suffix`` is the text that the kernel's own drivers print there.
        """
        attachment = self._devices.attachment_of(entry)
        assert attachment is not None
        device = self._devices.new(parent, entry, self._devices.drivers[entry.name], attachment)
        self._devices.mark(device, tables.FOUND)
        self.kernel.subject(Console).print(f"{device.name} at {parent.name}{suffix}")
        self.kernel.trace.emit("device.attach", device=device.name, parent=parent.name)
        if printer:
            yield Call(printer, (aux, 0))
        device.attaching = True
        yield from self.call_driver(attachment, "attach", parent, device, aux)
        device.attaching = False
        self.kernel.scheduler.wake_all(device.changed)
        console = self.kernel.subject(Console)
        if console.pending.startswith(f"{device.name} at "):
            self.kernel.violation(
                "attach-line", f"{device.name}'s attach function did not end its console line"
            )
            console.print("\n")
        return device

    def attach_pseudo(self, entry: ConfigData) -> Model:
        """Attach a device without a parent; without a console line (config_attach_pseudo)."""
        attachment = self._devices.attachment_of(entry)
        assert attachment is not None
        device = self._devices.new(None, entry, self._devices.drivers[entry.name], attachment)
        if entry.state != tables.STAR:
            entry.state = tables.FOUND
        self.kernel.trace.emit("device.attach", device=device.name, parent="")
        device.attaching = True
        yield from self.call_driver(attachment, "attach", 0, device, 0)
        device.attaching = False
        self.kernel.scheduler.wake_all(device.changed)
        return device

    def detach(self, device: Device, flags: int = 0) -> Model:
        """Detach a device; returns an errno (config_detach_release).

        Detaches run one at a time, and not before attach ended.  A second caller holds a reference
        while it waits, and the first one waits for all references before it is done: on a stock
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
        self._devices.iterate()
        error = yield from self._detach(device, flags)
        device.detaching = False
        wake(device.changed)
        self._devices.iterated()
        # A device that others have marked is freed at the next check, as in
        # config_detach_release().
        if not error and not self._devices.iterating():
            self._devices.free(device)
        return error

    def _enter(self, device: Device) -> Model:
        """Wait until no thread attaches or detaches the device (config_detach_enter)."""
        kernel = self.kernel
        deadline = kernel.clock.now + _PATIENCE
        while device.attaching or device.detaching:
            woken = yield Block(device.changed, deadline, "cfgmisc", signal=True)
            if not woken:
                return Errno.EINTR
        return 0

    def _detach(self, device: Device, flags: int) -> Model:
        """Detach the driver, and notify all subjects."""
        kernel = self.kernel
        attachment = device.attachment
        error: int = Errno.EOPNOTSUPP
        if attachment.has("detach"):
            error = yield from self.call_driver(attachment, "detach", device, flags)
        if error and flags & tables.DETACH_FORCE:
            kernel.panic(
                "detach-forced",
                f"config_detach: forced detach of {device.name} failed ({error})",
            )
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
        child = next((each for each in self._devices.devices() if each.parent is device), None)
        if child is not None:
            kernel.panic(
                "detached-with-children",
                f"config_detach: detached device {device.name} has children {child.name}",
            )
        if device.parent is not None and device.parent.attachment.has("childdetached"):
            yield from self.call_driver(
                device.parent.attachment, "childdetached", device.parent, device
            )
        self._devices.mark(device, tables.NOTFOUND)
        if not flags & tables.DETACH_QUIET:
            kernel.subject(Console).print(f"{device.name}: detached\n")
        kernel.trace.emit("device.detach", device=device.name)
        return 0

    def detach_all(self, *, power_off: bool) -> Model:
        """Detach the devices that request it, leaves first, or all with ``kern.detachall``.

        subr_autoconf.c: config_detach_all, config_detach_release; in the thread that reboots.
        """
        everything = self.kernel.options.detachall
        flags = tables.DETACH_SHUTDOWN | (tables.DETACH_POWEROFF if power_off else 0)
        for device in reversed(list(self._devices.devices())):
            if device.address in self.kernel.subject(Pmf).suspended:
                continue  # it is not active
            if everything or device.attachment.flags & tables.DVF_DETACH_SHUTDOWN:
                yield from self.detach(device, flags)

    # -- drvctl(8) -----------------------------------------------------------------------------

    def drvctl_detach(self, name: str) -> Model:
        """DRVDETACHDEV: returns an errno.  Holds an iterator while it detaches."""
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        self._devices.iterate()
        device = self._devices.find(name)
        error = Errno.ENXIO
        if device is not None:
            parent = device.parent
            if parent is not None and not parent.attachment.has("childdetached"):
                error = Errno.ENOTSUP
            else:
                error = yield from self.detach(device)
        self._devices.iterated()
        big.unlock(1)
        return int(error)

    def drvctl_rescan(self, name: str, attribute: str) -> Model:
        """DRVRESCANBUS: returns an errno."""
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        device = self._devices.find(name)
        error: int = 0
        if device is None:
            error = Errno.ENXIO
        elif not device.attachment.has("rescan"):
            error = Errno.ENODEV
        elif attribute not in device.driver.attributes:
            error = Errno.EINVAL
        else:
            error = yield from self.call_driver(device.attachment, "rescan", device, attribute, 0)
        big.unlock(1)
        return error
