"""What kind of host this is: every choice that a run may make before power-on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args

from vmtgen.common.schema import Length, Range

NANOSECONDS = 1_000_000_000

# 2026-01-01T00:00:00Z.  Fixed, so that a run says the same today and in ten years.
EPOCH = 1_767_225_600

Kind = Literal["vmware", "qemu", "hardware"]
Hypercall = Literal["none", "vmcall", "vmmcall"]

# Options that a current host sends after Capabilities_Register, with the values of a fresh VM.
# Names: open-vm-tools lib/include/vmware/guestrpc/{tclodefs,timesync,powerops}.h; which of them
# arrive in a burst is written down in OpenBSD's sys/dev/pv/vmt.c.
OPTION_BURST: tuple[tuple[str, str], ...] = (
    ("synctime", "0"),
    ("copypaste", "1"),
    ("enableDnD", "1"),
    ("toolScripts.afterPowerOn", "1"),
    ("toolScripts.afterResume", "1"),
    ("toolScripts.beforePowerOff", "1"),
    ("toolScripts.beforeSuspend", "1"),
    ("time.synchronize.tools.startup.backward", "0"),
    ("time.synchronize.tools.startup", "1"),
    ("time.synchronize.tools.enable", "1"),
    ("time.synchronize.tools.slewCorrection", "1"),
    ("time.synchronize.tools.percentCorrection", "0"),
    ("time.synchronize.guest.resync", "0"),
    ("time.synchronize.guest.resync.timeout", "10"),
    ("enableMessageBusTunnel", "0"),
    ("guestLogLevel", "none"),
)


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """The host's make.  Times in seconds unless the name says otherwise.

    Numbers without a source beside them are choices of this simulation: VMware publishes none.
    """

    # vmware: everything.  qemu: the `vmport` device, which has no MESSAGE command.
    # hardware: nobody answers, the bus floats high.
    kind: Kind = "vmware"
    # 2 ESX, 4 Workstation and Fusion (open-vm-tools lib/include/vm_vmx_type.h).
    product_type: int = 2
    cpuid: bool = True
    # The instruction that leaf 0x40000010 offers.  Few hosts do: those whose guests have encrypted
    # memory (Linux arch/x86/kernel/cpu/vmware.c).
    hypercall: Hypercall = "none"
    # x86 alone: False is such a guest, whose ports nobody answers.
    ports: bool = True
    # Blame nobody for I/O ports and commands that a tools driver has no business with: another
    # driver looks around.
    foreign_access: bool = False
    high_bandwidth: bool = True
    cookies: bool = True
    # lib/include/guest_msg_def.h; hosts of old had 8.
    channels: Annotated[int, Range(1, 0x10000)] = 128
    max_message: int = 65536
    # The out-of-tree QEMU emulation closes idle channels after 80 s; VMware's figure is unknown.
    idle_close: int = 80

    mhz: int = 2400
    apic_hz: int = 66_000_000
    memory_mb: int = 2048
    hardware_version: int = 21
    build_number: int = 24_022_510
    # Four words as GETUUID returns them in EAX, EBX, ECX, EDX.
    uuid: Annotated[tuple[int, ...], Length(4, 4, "numbers")] = (
        0x03020100,
        0x07060504,
        0x0B0A0908,
        0x0F0E0D0C,
    )

    epoch: int = EPOCH
    # The time commands that this host knows: 23 GETTIME, 46 GETTIMEFULL, 55 with lag.
    time_commands: tuple[int, ...] = (23, 46, 55)
    drift_ppm: int = 0
    max_lag_us: int = 10_000
    interrupt_lag_us: int = 0
    # The virtual machine's own time synchronisation switch (GUI option bit 0x400).
    synctime: bool = False

    # What the host says by itself on a new TCLO channel, after the reset.
    capabilities_register: bool = True
    option_burst: tuple[tuple[str, str], ...] = OPTION_BURST
    power_on: bool = True
    # Seconds from the reset to `Set_Option broadcastIP 1`, and between pings; 0 means never.
    broadcast_ip: int = 30
    ping: int = 60
    # Trailing NUL inside the announced length of each message to the guest.
    nul_terminated: bool = False

    # vmware.log shows 5 to 9 s until a message is given up, some 20 s until the heartbeat is.
    reply_timeout: int = 9
    heartbeat_timeout: int = 20
    # A power operation without a status from the guest is given up after this.
    power_timeout: int = 60
    # vmx option tools.setInfo.sizeLimit, bytes of all guest variables together.
    guestinfo_limit: int = 1_048_576
    # Refuse a short OS name that is not in VMware's table.
    strict_os_names: bool = True
    # Commands answered as an old host does: "0 Unknown command".
    unknown_commands: frozenset[str] = frozenset()
    # SetGuestInfo keys that this host does not take (10 and 11 are unknown to old ones).
    unknown_guestinfo_keys: frozenset[int] = frozenset()
    # Fill registers that a call does not define with noise.
    scramble: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind {self.kind!r}: use one of {', '.join(get_args(Kind))}")
        if self.hypercall not in get_args(Hypercall):
            raise ValueError(
                f"hypercall {self.hypercall!r}: use one of {', '.join(get_args(Hypercall))}"
            )
        if not 1 <= self.channels <= 0x10000:
            raise ValueError(f"channels {self.channels}: from 1 to 65536")


OPTION_NAMES = tuple(field.name for field in fields(HostOptions))
