"""What kind of host this is: every choice that a run may make before power-on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from vmtgen.common.schema import Length, Range

NANOSECONDS = 1_000_000_000

# 2026-01-01T00:00:00Z.  Fixed, so that a run says the same today and in ten years.
EPOCH = 1_767_225_600

Kind = Literal["vmware", "qemu", "hardware"]
Hypercall = Literal["none", "vmcall", "vmmcall"]

Age = Literal["current", "old"]
Balloon = Literal["none", "old", "basic", "batched"]
# What a second client of one name meets (E14).
SecondClient = Literal["newest", "first", "both"]
# Which messages to the guest end with a NUL inside their length (E5).
NulTerminated = Literal["none", "ping", "all"]

# Options that a host sends as soon as the application is there, before Capabilities_Register.  The
# first eleven in their order and with their values: public logs of open-vm-tools (E5, E6, E7).  The
# others have no place in those logs: their names are those of open-vm-tools
# lib/include/vmware/guestrpc/{tclodefs,timesync,powerops}.h.
OPTION_BURST: tuple[tuple[str, str], ...] = (
    ("synctime", "0"),
    ("copypaste", "0"),
    ("autohide", "0"),
    ("broadcastIP", "1"),
    ("enableDnD", "0"),
    ("synctime.period", "0"),
    ("time.synchronize.tools.enable", "1"),
    ("time.synchronize.guest.resync", "0"),
    ("time.synchronize.guest.resync.timeout", "0"),
    ("time.synchronize.tools.startup.backward", "0"),
    ("time.synchronize.tools.startup", "1"),
    ("time.synchronize.tools.slewCorrection", "1"),
    ("time.synchronize.tools.percentCorrection", "0"),
    ("toolScripts.afterPowerOn", "1"),
    ("toolScripts.afterResume", "1"),
    ("toolScripts.beforePowerOff", "1"),
    ("toolScripts.beforeSuspend", "1"),
    ("enableMessageBusTunnel", "0"),
    ("guestLogLevel", "none"),
)


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """The host's make.  Times in seconds unless the name says otherwise.

    E1 to E17 are the public logs and texts of docs/host-evidence.md.  Numbers without a source
    beside them are choices of this simulation: VMware publishes none.
    """

    # old: a host that looks for a command with its space, and for replies without a NUL.  Today's
    # hosts take both: govmomi's toolbox and talos-vmtoolsd send a capability without the space to
    # ESXi 6 to 8, and answers of open-vm-tools to VIX commands end in a NUL.
    age: Age = "current"
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
    # The memory balloon: none, an old host that knows no capabilities, one that takes single pages,
    # or batches too (Linux drivers/misc/vmw_balloon.c, vmballoon_send_start).
    balloon: Balloon = "batched"
    cookies: bool = True
    # lib/include/guest_msg_def.h; hosts of old had 8.
    channels: Annotated[int, Range(1, 0x10000)] = 128
    max_message: int = 65536
    # Seconds after which an idle channel is closed, 0 means never.  Nothing of VMware's does that;
    # the out-of-tree QEMU emulation does, after 80 s.
    idle_close: int = 0
    # A client that gives a name which another channel has: the newest client gets it, the first one
    # keeps it, or both are thrown out (E14).
    second_client: SecondClient = "newest"

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
    # The error of the guest's clock that the host takes for normal: about a second (E12).
    max_lag_us: int = 1_000_000
    interrupt_lag_us: int = 0
    # The virtual machine's own time synchronisation switch (GUI option bit 0x400).
    synctime: bool = False

    # What the host says by itself after the reset, in this order: Time_Synchronize 0 and the
    # options (nothing of both where there are no options), Capabilities_Register, OS_PowerOn (E5,
    # E6, E7).
    option_burst: tuple[tuple[str, str], ...] = OPTION_BURST
    capabilities_register: bool = True
    power_on: bool = True
    # The late variant of govmomi's pull request 778: broadcastIP comes so many seconds after the
    # reset, and not among the options.  0 means: in its place among them.
    broadcast_ip: int = 0
    # Seconds between pings (E5), and from the reset to the VIX command by which the host asks for
    # the state of guest operations (E17); 0 means never.
    ping: int = 15
    vix_probe: int = 23
    # Messages with a NUL inside their announced length: of the logged ones it is `ping` alone (E5).
    nul_terminated: NulTerminated = "ping"

    # A message that the guest has, and does not answer (E3: the guest was last heard 5 s before).
    reply_timeout: int = 5
    # A message to a name that no client has given: 59 to 62 s (E11).
    message_expiry: int = 60
    # Silence after which the tools are not running (E1, E2).
    heartbeat_timeout: int = 20
    # A power operation without a status from the guest is given up after this.
    power_timeout: int = 60
    # An accepted halt or reboot is under way until the guest registers with a smaller uptime (E9);
    # false: until its status.
    power_pending: bool = True
    # vmx option tools.setInfo.sizeLimit, bytes of all guest variables together.
    guestinfo_limit: int = 1_048_576
    # Call a short OS name that is not in VMware's table a violation.  It is stored anyway (E13).
    strict_os_names: bool = True
    # Commands of guest_rpc.rpci.auth.cmd.NAME: refused over the backdoor, also to root (E15).
    denied_commands: frozenset[str] = frozenset()
    # False is isolation.tools.setinfo.disable: no guest information is taken (E15).
    setinfo: bool = True
    # False: events of a backup are refused as from a guest without privilege (open-vm-tools
    # services/plugins/vmbackup/stateMachine.c).
    privileged: bool = True
    # Commands answered as an old host does: "0 Unknown command".
    unknown_commands: frozenset[str] = frozenset()
    # SetGuestInfo keys that this host does not take (10 and 11 are unknown to old ones).
    unknown_guestinfo_keys: frozenset[int] = frozenset()
    # Fill registers that a call does not define with noise.
    scramble: bool = False

    def __post_init__(self) -> None:
        for name, kinds in (
            ("age", Age),
            ("kind", Kind),
            ("hypercall", Hypercall),
            ("balloon", Balloon),
            ("second_client", SecondClient),
            ("nul_terminated", NulTerminated),
        ):
            value = getattr(self, name)
            if value not in get_args(kinds):
                raise ValueError(f"{name} {value!r}: use one of {', '.join(get_args(kinds))}")
        if not 1 <= self.channels <= 0x10000:
            raise ValueError(f"channels {self.channels}: from 1 to 65536")
