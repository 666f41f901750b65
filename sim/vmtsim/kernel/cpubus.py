"""cpu0 and its feature bus, and the driver that is built into GENERIC.

Sources: NetBSD sys/arch/x86/x86/cpu.c, sys/arch/aarch64/aarch64/cpu.c (cpufeaturebus).  The
latter has the bus since 10.99.12; before, GENERIC64 had ``vmt* at fdt?``, which cannot be detached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtsim.kernel import conftables as tables
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.console import Console
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.objects import CI_DEVICE, Objects
from vmtsim.kernel.sysctltree import SysctlTree

if TYPE_CHECKING:
    from vmtsim.kernel.alldevs import Device
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.autoconf import Autoconf
    from vmtsim.kernel.conftables import ConfigData
    from vmtsim.kernel.kernel import Kernel

FEATURE_BUS = "cpufeaturebus"
_FDT_BUS = "fdt"
_BUS_ON_AARCH64 = 1_099_001_200
_X86_FEATURES = ("frequency", "padlock", "temperature", "vm")


class CpuBus:
    """The native driver of cpu0."""

    def __init__(self, autoconf: Autoconf) -> None:
        self.autoconf = autoconf
        kernel = self.kernel = autoconf.kernel
        self.x86 = kernel.options.machine != "aarch64"
        memory = kernel.memory
        self.names = {name: memory.place(name.encode("ascii") + b"\0") for name in _X86_FEATURES}

    def rescan(self, cpu: Device, _attribute: str, _locators: int) -> Model:
        """Offer each feature whose slot is free (x86), or offer all (aarch64)."""
        if not self.x86:
            yield from self._offer(cpu, FEATURE_BUS)
            return 0
        for feature in _X86_FEATURES:
            if feature in cpu.slots:
                continue
            child = yield from self._offer(cpu, FEATURE_BUS, self.names[feature])
            if child is not None:
                cpu.slots[feature] = child
                self._publish(cpu)
        return 0

    def _offer(self, parent: Device, attribute: str, name: int = 0) -> Model:
        """Search for a child; its arguments are on the caller's stack, and invalid afterwards."""
        memory = self.kernel.memory
        arguments = KernelObject(
            self.kernel, 2 * memory.pointer_size, f"attach arguments of {parent.name}"
        )
        memory.put_pointer(arguments.at, self.kernel.subject(Objects).cpu0)
        memory.put_pointer(arguments.at + memory.pointer_size, name)
        child = yield from self.autoconf.found(parent, attribute, arguments.at)
        arguments.free("cpu_rescan")
        return child

    def rescan_fdt(self, bus: Device, _attribute: str, _locators: int) -> Model:
        """Offer the node /hypervisor of the device tree."""
        yield from self._offer(bus, _FDT_BUS)
        return 0

    def child_detached(self, cpu: Device, child: Device) -> Model:
        """Free the slot."""
        cpu.slots = {name: device for name, device in cpu.slots.items() if device is not child}
        self._publish(cpu)
        yield from ()
        return 0

    def _publish(self, cpu: Device) -> None:
        objects = self.kernel.subject(Objects)
        vm = cpu.slots.get("vm")
        if objects.ci.vm >= 0:
            self.kernel.memory.put_pointer(
                objects.cpu0 + objects.ci.vm, 0 if vm is None else vm.address
            )


BUILTIN = "vmt"  # the driver of GENERIC, and the module whose name it takes


class BuiltinVmt:
    """A driver like the stock vmt as far as autoconf can see; it does not talk to the host."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def match(self, _parent: Device, _data: ConfigData, aux: int) -> Model:
        """Priority 1 on the feature "vm"."""
        if self.kernel.options.machine == "aarch64":
            devices = self.kernel.subject(AllDevices).devices()
            return int(all(each.driver.name != BUILTIN for each in devices))
        memory = self.kernel.memory
        name = memory.string(memory.pointer(aux + memory.pointer_size))
        yield from ()
        return int(name == "vm")

    def attach(self, _parent: Device, device: Device, _aux: int) -> Model:
        """Print the line and create the nodes."""
        self.kernel.subject(Console).print("\n")
        self.kernel.subject(SysctlTree).add_native(
            device.name,
            {"uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f", "clock_sync.period": 60},
            writable={"clock_sync.period"},
        )
        yield from ()
        return 0

    def detach(self, device: Device, _flags: int) -> Model:
        """Remove the nodes."""
        self.kernel.subject(SysctlTree).remove_native(device.name)
        yield from ()
        return 0


def configure(autoconf: Autoconf) -> Model:
    """Attach mainbus0, cpu0 and, on a kernel with a built-in one, the stock vmt(4)."""
    kernel = autoconf.kernel
    memory, options, known = kernel.memory, kernel.options, kernel.subject(AllDevices)
    old = options.machine == "aarch64" and options.version < _BUS_ON_AARCH64
    bus = CpuBus(autoconf)
    hooks = {"rescan": bus.rescan, "childdetached": bus.child_detached}
    drivers: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        # On x86 mainbus is notified of detached children (sys/arch/x86/x86/mainbus.c); none can be
        # detached.
        "mainbus": (("cpubus",), {"childdetached": bus.child_detached} if bus.x86 else {}),
        "cpu": ((), {}) if old else ((FEATURE_BUS,), hooks),
    }
    if old:
        drivers["simplebus"] = ((_FDT_BUS,), {**hooks, "rescan": bus.rescan_fdt})
    devices: dict[str, Device] = {}
    for name, (attributes, functions) in drivers.items():
        known.add_driver(tables.new_driver(memory, name, attributes))
        devices[name] = known.add_native_device(
            name, devices.get("mainbus"), tables.NativeAttachment(name, functions)
        )
    at = CI_DEVICE[options.machine]
    memory.put_pointer(kernel.subject(Objects).cpu0 + at, devices["cpu"].address)
    if kernel.builtin_vmt:
        vmt = BuiltinVmt(kernel)
        functions = {"match": vmt.match, "attach": vmt.attach}
        if not old:
            functions["detach"] = vmt.detach
        driver = tables.new_driver(memory, "vmt", ())
        driver.attachments.append(tables.NativeAttachment("vmt", functions))
        known.add_driver(driver)
        place = (_FDT_BUS, "simplebus", 0) if old else (FEATURE_BUS, "cpu", 0)
        table = tables.new_config_data(memory, "vmt", "vmt", place)
        known.config.append((table, tables.read_config_data(memory, table)))
    if old:
        yield from bus.rescan_fdt(devices["simplebus"], _FDT_BUS, 0)
    else:
        yield from bus.rescan(devices["cpu"], FEATURE_BUS, 0)
