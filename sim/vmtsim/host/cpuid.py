"""The CPUID leaves that identify the hypervisor to a guest.

Leaves: open-vm-tools lib/include/x86cpuid.h and Linux arch/x86/kernel/cpu/vmware.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.host.options import HostOptions

_HYPERVISOR_BIT = 1 << 31
_VENDORS = {"vmware": b"VMwareVMware", "qemu": b"KVMKVMKVM\0\0\0"}
_HYPERCALL_BITS = {"none": 0, "vmmcall": 1 << 0, "vmcall": 1 << 1}

Registers = tuple[int, int, int, int]


def cpuid(options: HostOptions, leaf: int) -> Registers | None:
    """Return EAX, EBX, ECX, EDX of a hypervisor leaf, or None if the host does not define it.

    Leaf 1 holds only bit 31 of ECX: the caller adds it to its own processor's words.
    """
    vendor = _VENDORS.get(options.kind)
    if vendor is None or not options.cpuid:
        return None
    highest = 0x40000010 if options.kind == "vmware" else 0x40000001
    if leaf == 1:
        return 0, 0, _HYPERVISOR_BIT, 0
    if leaf == 0x40000000:
        name = [int.from_bytes(vendor[at : at + 4], "little") for at in (0, 4, 8)]
        return highest, name[0], name[1], name[2]
    if leaf == 0x40000010 and options.kind == "vmware":
        return options.mhz * 1000, options.apic_hz // 1000, _HYPERCALL_BITS[options.hypercall], 0
    if 0x40000000 < leaf <= highest:
        return 0, 0, 0, 0
    return None
