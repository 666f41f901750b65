"""The host's options: every choice of a run before power-on."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from vmtgen.common.dataclass import dataclass
from vmtgen.common.schema import Length, Range

NANOSECONDS = 1_000_000_000

# 2026-01-01T00:00:00Z.  Fixed, so that a run gives the same result at any time.
EPOCH = 1_767_225_600

Kind = Literal["vmware", "qemu", "hardware"]
Hypercall = Literal["none", "vmcall", "vmmcall"]

Age = Literal["current", "old"]
Balloon = Literal["none", "old", "basic", "batched"]
# The host's policy for a second client of the same name (E14).
SecondClient = Literal["newest", "first", "both"]
# The messages to the guest that end with a NUL inside their length (E5).
NulTerminated = Literal["none", "ping", "all"]

# Options that a host sends as soon as the application exists, before Capabilities_Register.  The
# first eleven with their order and values: public logs of open-vm-tools (E5, E6, E7).  The others
# do not occur in those logs: their names are those of open-vm-tools
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
    """The options of a host.  Times in seconds unless the name says otherwise.

    E1 to E17 are the public logs and texts of docs/host-evidence.md.  Numbers without a source
    beside them are choices of this simulation: VMware publishes none.
    """

    # old: a host that expects a command with its space, and replies without a NUL.  Today's hosts
    # accept both: govmomi's toolbox and talos-vmtoolsd send a capability without the space to ESXi
    # 6 to 8, and answers of open-vm-tools to VIX commands end in a NUL.
    age: Age = "current"
    # vmware: everything.  qemu: the `vmport` device, which has no MESSAGE command.
    # hardware: no device answers, and a read returns all ones.
    kind: Kind = "vmware"
    # 2 ESX, 4 Workstation and Fusion (open-vm-tools lib/include/vm_vmx_type.h).
    product_type: int = 2
    cpuid: bool = True
    # The instruction that leaf 0x40000010 offers.  Few hosts offer one: those whose guests have
    # encrypted memory (Linux arch/x86/kernel/cpu/vmware.c).
    hypercall: Hypercall = "none"
    # x86 only.  False: a guest with encrypted memory, for which the I/O ports do not work.
    ports: bool = True
    # Report no violation for I/O ports and commands that a tools driver must not use: another
    # driver probes them.
    foreign_access: bool = False
    high_bandwidth: bool = True
    # The memory balloon: none, an old host without capabilities, one that takes single pages, or
    # batches too (Linux drivers/misc/vmw_balloon.c, vmballoon_send_start).
    balloon: Balloon = "batched"
    cookies: bool = True
    # lib/include/guest_msg_def.h; old hosts had 8.
    channels: Annotated[int, Range(1, 0x10000)] = 128
    max_message: int = 65536
    # Seconds after which an idle channel is closed, 0 means never.  No VMware product does that;
    # the out-of-tree QEMU emulation does, after 80 s.
    idle_close: int = 0
    # A client that sends a name which another channel has: the newest client gets it, the first one
    # keeps it, or both are disconnected (E14).
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
    # The error of the guest's clock that the host accepts as normal: about a second (E12).
    max_lag_us: int = 1_000_000
    interrupt_lag_us: int = 0
    # The virtual machine's own time synchronisation switch (GUI option bit 0x400).
    synctime: bool = False

    # Messages that the host sends unprompted after the reset, in order: Time_Synchronize 0 and the
    # options (neither of them if there are no options), Capabilities_Register, OS_PowerOn (E5, E6,
    # E7).
    option_burst: tuple[tuple[str, str], ...] = OPTION_BURST
    capabilities_register: bool = True
    power_on: bool = True
    # The late variant of govmomi's pull request 778: broadcastIP comes this many seconds after the
    # reset, and not among the options.  0 means: as one of the options.
    broadcast_ip: int = 0
    # Seconds between pings (E5), and from the reset to the VIX command by which the host requests
    # the state of guest operations (E17); 0 means never.
    ping: int = 15
    vix_probe: int = 23
    # Messages with a NUL inside their announced length: of the logged ones it is `ping` alone (E5).
    nul_terminated: NulTerminated = "ping"

    # A message that the guest has received and does not answer (E3: last heartbeat 5 s before).
    reply_timeout: int = 5
    # A message to a name without a client: 59 to 62 s (E11).
    message_expiry: int = 60
    # Silence after which the tools are not running (E1, E2).
    heartbeat_timeout: int = 20
    # The host abandons a power operation without a status from the guest after this time.
    power_timeout: int = 60
    # An accepted halt or reboot is in progress until the guest registers with a smaller uptime
    # (E9); false: until its status.
    power_pending: bool = True
    # vmx option tools.setInfo.sizeLimit, bytes of all guest variables together.
    guestinfo_limit: int = 1_048_576
    # Treat a short OS name that is not in VMware's table as a violation.  It is stored anyway
    # (E13).
    strict_os_names: bool = True
    # Commands of guest_rpc.rpci.auth.cmd.NAME: refused over the backdoor, also to root (E15).
    denied_commands: frozenset[str] = frozenset()
    # False is isolation.tools.setinfo.disable: no guest information is accepted (E15).
    setinfo: bool = True
    # False: events of a backup are refused, as from a guest without privilege (open-vm-tools
    # services/plugins/vmbackup/stateMachine.c).
    privileged: bool = True
    # Commands that are answered as by an old host: "0 Unknown command".
    unknown_commands: frozenset[str] = frozenset()
    # SetGuestInfo keys that this host does not accept (10 and 11 are unknown to old ones).
    unknown_guestinfo_keys: frozenset[int] = frozenset()
    # Fill registers that a call does not define with random values.
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
