"""The driver attaches only on VMware, in every order of loading and unloading; and
the unwinding of every step of attach that can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.modules import Modules

from .inject import Injection
from .rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Rig]

ENOMEM, EBUSY, EEXIST = 12, 16, 17
LINE = "vmt0 at cpu0: VMware Tools driver"


# Hosts.


def test_attach_on_vmware_logs_one_line(rig: Make) -> None:
    machine = rig()
    assert machine.console[2:] == [LINE]
    assert machine.read("uuid") == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    machine.leave()


@pytest.mark.parametrize("host", [{"kind": "hardware", "cpuid": False}, {"kind": "qemu"},
                                  {"kind": "qemu", "cpuid": False}, {"cpuid": False}])  # fmt: skip
def test_load_outside_vmware_is_silent(rig: Make, host: dict[str, Any]) -> None:
    machine = rig(settle=False, **host)
    machine.run(5)
    assert machine.loaded
    assert not machine.attached
    assert machine.console[2:] == []
    assert machine.host.transport.channels == {}
    if host["kind" if "kind" in host else "cpuid"] == "hardware":
        assert machine.host.backdoor.calls == 0  # the driver does not touch another device's port
    machine.leave()


def _force(machine: Rig, **properties: bool) -> int:
    load = machine.kernel.subject(Modules).load(machine.path, properties=properties)
    error = machine.guest.wait("modload", load)
    assert isinstance(error, int)
    return error


def test_force_attaches_without_hypervisor_cpuid(rig: Make) -> None:
    machine = rig(load=False, cpuid=False)
    assert _force(machine, force=True) == 0
    machine.settle()
    assert machine.attached
    assert machine.ask("ping") == b"OK "
    machine.leave()


@pytest.mark.parametrize("host", [{"kind": "hardware"}, {"kind": "qemu"}])
@pytest.mark.parametrize("cpuid", [False, True])
def test_force_without_backdoor_does_not_attach(
    rig: Make, host: dict[str, Any], cpuid: bool
) -> None:
    machine = rig(load=False, cpuid=cpuid, **host)
    assert _force(machine, force=True) == 0
    machine.run(5)
    assert not machine.attached
    assert machine.console[2:] == []
    machine.leave()


def test_force_property_must_be_true(rig: Make) -> None:
    for properties in ({"force": False}, {"other": True}):
        machine = rig(load=False, cpuid=False)
        assert _force(machine, **properties) == 0
        assert not machine.attached
        machine.leave()


@pytest.mark.parametrize("force", [False, True])
def test_i486_without_cpuid_does_not_attach(rig: Make, force: bool) -> None:
    """An i486 has no such instruction, and GENERIC runs there."""
    machine = rig(load=False, kind="hardware")
    level = machine.kernel.symbols["cpuid_level"]
    machine.kernel.memory.put_u32(level, 0xFFFFFFFF)
    asked: list[int] = []
    machine.host.cpuid = asked.append  # type: ignore[assignment,method-assign]
    assert _force(machine, force=force) == 0
    machine.run(5)
    assert not machine.attached
    assert asked == []
    machine.leave()


def test_full_channel_table_does_not_prevent_attach(rig: Make) -> None:
    """The host must free a channel; the driver retries."""
    machine = rig(settle=False, before=lambda rig: rig.host.faults.arm("table-full", times=8))
    machine.run(1)
    assert machine.attached
    machine.settle(120)
    assert machine.log == ["the host refuses a channel; trying again"]
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_second_instance_is_refused(rig: Make) -> None:
    machine = rig()
    assert machine.do("rescan", "cpu0") == 0
    assert machine.console.count(LINE) == 1
    assert machine.do("load") == EEXIST
    assert machine.ask("ping") == b"OK "
    machine.leave()


def test_repeated_detach_attach_leaks_nothing(rig: Make) -> None:
    machine = rig()
    before = len(machine.kmem.live)
    for _ in range(20):
        assert machine.do("detach", "vmt0") == 0
        assert machine.host.guest_channels == []
        assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    machine.run(61)
    assert len(machine.kmem.live) == before
    assert machine.console.count("vmt0: detached") == 20
    machine.leave()


def test_attach_and_detach_update_service_state_on_host(rig: Make) -> None:
    machine = rig()
    assert machine.do("detach", "vmt0") == 0
    assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    assert machine.requests("tools.capability.hgfs_server") == [
        b"tools.capability.hgfs_server toolbox 1",
        b"tools.capability.hgfs_server toolbox 0",
        b"tools.capability.hgfs_server toolbox 1",
    ]
    machine.leave()


# Beside the driver that GENERIC has. d: drvctl -d, r: drvctl -r, l: modload, u: modunload (of the
# built-in one first); the driver that attaches at the end, and the errors.
ORDERS = [
    ("u l d r", "ours"),  # the order of the manual
    ("u d l", "ours"),  # pkgsrc's start script has been there before
    ("d u l", "ours"),
    ("d r d u l", "ours"),
    ("u l", "built-in"),
    ("u l d r d r", "ours"),
    ("u l d r d r d r", "ours"),
    ("u l d r u r", "built-in"),
    ("u l u", "built-in"),  # the module is unloaded; the built-in driver's device is not affected
    ("u l u d r", "built-in"),
    ("u l d r u r d l", "ours"),
    ("u l d u l", "ours"),
    ("u d l u r", "built-in"),
    ("u d r l d r", "ours"),
    ("d r", "built-in"),
]


def _device(machine: Rig) -> str:
    device = machine.kernel.subject(AllDevices).find("vmt0")
    if device is None:
        return "none"
    return "ours" if device.attachment.address else "built-in"


@pytest.mark.parametrize(("order", "expected"), ORDERS)
def test_load_order_with_built_in_driver(rig: Make, order: str, expected: str) -> None:
    machine = rig(load=False, builtin=True)
    assert _device(machine) == "built-in"
    verbs = {"d": ("detach", "vmt0"), "r": ("rescan", "cpu0"), "l": ("load", None),
             "u": ("unload", "vmt")}  # fmt: skip
    for letter in order.split():
        assert machine.do(*verbs[letter]) == 0, letter
        machine.run(0.3)
    assert _device(machine) == expected
    if expected == "ours":
        machine.settle()
        assert machine.ask("ping") == b"OK "
    machine.leave()


def test_module_named_vmt_requires_built_in_driver_disabled(rig: Make) -> None:
    machine = rig(load=False, builtin=True)
    assert machine.do("load") == EEXIST
    assert machine.do("detach", "vmt0") == 0
    assert machine.do("load") == EEXIST
    assert machine.do("rescan", "cpu0") == 0
    assert _device(machine) == "built-in"
    machine.leave()


def test_unit_in_use_fails_attach_without_panic(rig: Make) -> None:
    """Another thread iterates over the devices while the module is loaded."""
    machine = rig(load=False, builtin=True)
    devices = machine.kernel.subject(AllDevices)
    assert machine.do("unload", "vmt") == 0
    devices.iterate()
    assert machine.do("detach", "vmt0") == 0
    assert machine.do("load") == EBUSY
    devices.iterated()
    assert any(
        "vmt0 is detached but its unit is still allocated" in line for line in machine.console
    )
    assert machine.do("rescan", "cpu0") == 0
    assert machine.do("load") == 0
    assert machine.do("detach", "vmt0") == 0
    assert machine.do("rescan", "cpu0") == 0
    assert _device(machine) == "ours"
    machine.leave()


def test_rescan_by_another_module_skips_allocated_unit(rig: Make) -> None:
    """During an iteration the unit cannot be freed: the driver's match must refuse it."""
    machine = rig()
    devices = machine.kernel.subject(AllDevices)
    devices.iterate()
    assert machine.do("detach", "vmt0") == 0
    assert machine.do("rescan", "cpu0") == 0
    assert _device(machine) == "none"
    devices.iterated()
    assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    assert _device(machine) == "ours"
    machine.leave()


# Unwinding.

# The log of attach when a function fails.
STEPS = {
    "kmem_alloc": "cannot allocate the message buffer",
    "sysmon_pswitch_register": "cannot register the power switches",
    "pmf_device_register1": "cannot register the shutdown hook",
    "kthread_create": "cannot create the worker thread",
    "sysctl_createv": "cannot create the sysctl nodes",
}


def _calls(module: Path) -> dict[str, int]:
    """The number of calls of each function that may fail, while the module is loaded."""
    machine = Rig(module, load=False)
    injection = Injection(machine.kernel)
    machine.load()
    return dict(injection.calls)


def test_each_failing_call_in_attach_is_unwound(module: Path, rig: Make) -> None:
    """A failed attach leaks nothing, a detach is harmless, and the next attach works."""
    counts = _calls(module)
    for name in ("kthread_create", "sysctl_createv", "sysmon_pswitch_register", "kmem_alloc",
                 "pmf_device_register1", "config_init_component"):  # fmt: skip
        assert counts[name] >= 1, name
    assert counts["sysctl_createv"] > 20
    unwound = 0
    for name, count in sorted(counts.items()):
        for nth in range(1, count + 1):
            unwound += _fails(rig, name, nth)
    assert unwound >= 30


def _fails(rig: Make, name: str, nth: int) -> bool:
    """Returns whether attach failed by it."""
    machine = rig(load=False)
    injection = Injection(machine.kernel)
    clean = set(machine.kmem.live)
    injection.fail(name, nth)
    error = machine.do("load")
    place = f"{name}, call {nth}"
    assert injection.injected[name] == 1, place
    if name == "config_init_component":
        assert error == ENOMEM
        assert not machine.loaded
        assert machine.do("load") == 0
        machine.settle()
        machine.leave()
        return False
    assert error == 0, place
    failed = [line for line in machine.console if "not started" in line]
    if failed:
        assert STEPS[name] in failed[0], place
        machine.run(5)
        assert machine.threads == [], place
        assert machine.power.switches == {}, place
        assert machine.host.guest_channels == [], place
        left = [each for at, each in machine.kmem.live.items()
                if at not in clean and each.owner == "kmem"]  # fmt: skip
        assert left == [], place
        assert machine.read("uuid") is None, place
    assert machine.do("detach", "vmt0") == 0, place
    assert machine.do("rescan", "cpu0") == 0, place
    machine.settle()
    assert machine.ask("ping") == b"OK ", place
    machine.leave()
    return bool(failed)


def test_each_failing_call_in_attach_is_unwound_beside_built_in_driver(
    module: Path, rig: Make
) -> None:
    for name, nth in (("kthread_create", 1), ("sysctl_createv", 9), ("kmem_alloc", 1)):
        machine = rig(load=False, builtin=True)
        injection = Injection(machine.kernel)
        assert machine.do("unload", "vmt") == 0
        assert machine.do("load") == 0
        assert machine.do("detach", "vmt0") == 0
        injection.fail(name, nth)
        assert machine.do("rescan", "cpu0") == 0
        assert any(f"not started: {STEPS[name]}" in line for line in machine.console)
        assert machine.do("detach", "vmt0") == 0
        assert machine.do("rescan", "cpu0") == 0
        machine.settle()
        assert machine.ask("ping") == b"OK "
        machine.leave()


def test_failed_unload_leaves_working_driver(rig: Make) -> None:
    machine = rig(load=False)
    injection = Injection(machine.kernel)
    machine.load()
    machine.settle()
    injection.fail("config_fini_component")
    assert machine.do("unload", "vmt") == EBUSY
    assert machine.ask("ping") == b"OK "
    machine.leave()


@pytest.mark.parametrize("nth", range(1, 13))
def test_worker_survives_each_failing_allocation(rig: Make, nth: int) -> None:
    machine = rig(load=False)
    injection = Injection(machine.kernel)
    machine.load()
    injection.fail("kmem_alloc", nth, times=3)
    machine.settle()
    machine.host.guestinfo.variables["a"] = b"x" * 9000
    assert machine.rpc(b"info-get guestinfo.a").error in {0, 12, 40}
    machine.ask(b"Set_Option guestLogLevel " + b"x" * 9000)
    machine.ask("Set_Option broadcastIP 1")
    machine.run(130)
    assert injection.injected["kmem_alloc"] == 3
    assert machine.ask("OS_Halt") == b"OK "
    assert machine.host.guestinfo.decoded[10]["nics"]
    machine.leave()


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_file_system_with_failing_statvfs_is_omitted(rig: Make, nth: int) -> None:
    machine = rig(load=False)
    injection = Injection(machine.kernel)
    machine.mounts.mount("ffs", "/home", "/dev/wd0e", size=1 << 30, free=1 << 29)
    injection.fail("dostatvfs", nth)
    machine.load()
    machine.settle()
    assert injection.injected["dostatvfs"] == 1
    machine.run(61)
    assert len(machine.host.guestinfo.disks) == 2
    machine.leave()
