"""The whole host: its interface to the guest's processor, and the operator's actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import replace

from vmtsim.core.frame import Frame, GuestMemory, low16
from vmtsim.host import highband
from vmtsim.host.backdoor import GETVERSION, HIGH_PORT, LOW_PORT, MAGIC, Backdoor
from vmtsim.host.backup import Backup
from vmtsim.host.balloon import PORT as BALLOON_PORT
from vmtsim.host.balloon import Balloon
from vmtsim.host.channel import CLOSED
from vmtsim.host.clock import HostClock
from vmtsim.host.context import Context
from vmtsim.host.cpuid import cpuid
from vmtsim.host.faults import Faults
from vmtsim.host.guestinfo import GuestInfo
from vmtsim.host.options import NANOSECONDS, HostOptions
from vmtsim.host.power import Power
from vmtsim.host.rpci import Rpci
from vmtsim.host.tclo import Tclo
from vmtsim.host.tools import Tools
from vmtsim.host.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.rng import Rng
    from vmtsim.core.trace import Trace

_ALL_ONES = 0xFFFFFFFF


class Host:
    """A simulated VMware host for one virtual machine.

    ``now`` returns virtual nanoseconds since power-on; the host never sleeps.  The caller drives
    its later actions: ``next_event`` returns their time, ``advance`` handles those that are due.
    ``faults`` makes the object that decides about faults, for campaigns.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        rng: Rng,
        options: HostOptions,
        trace: Trace,
        faults: Callable[[Context], Faults] = Faults,
    ) -> None:
        self.context = Context(now=now, rng=rng.fork("host"), options=options, trace=trace)
        self.options = options
        self.faults = faults(self.context)
        self.transport = Transport(self.context, self.faults)
        self.clock = HostClock(self.context)
        self.tools = Tools(self.context)
        self.guestinfo = GuestInfo(self.context)
        self.power = Power(self.context, self.tools)
        self.backup = Backup(self.context)
        self.tclo = Tclo(self.context, self.transport, self.faults, self.tools, self.power)
        self.power.tclo = self.backup.tclo = self.tclo
        self.tclo.on_fetched = self.backup.fetched
        self.rpci = Rpci(
            self.context,
            self.faults,
            self.tools,
            self.guestinfo,
            self.power,
            self.backup,
            self.tclo,
        )
        self.transport.endpoints = {"rpci": self.rpci, "tclo": self.tclo}
        self.balloon = Balloon(self.context)
        self.backdoor = Backdoor(self.context, self.transport, self.clock, self.faults)
        self._called = False  # by VMCALL or VMMCALL

    # Called by the guest's processor.

    def low_bandwidth(self, frame: Frame) -> None:
        """Execute ``in eax, dx`` on port 0x5658 (or its aarch64 form); changes ``frame``.

        On x86 the balloon's port is handled as well.
        """
        port = frame.arg3 & 0xFFFF
        if port == BALLOON_PORT:
            self.balloon.call(frame)
            return
        if port != LOW_PORT:
            self.context.violation("port", f"DX {low16(frame.arg3):#06x}, not {LOW_PORT:#06x}")
            frame.arg0 = _ALL_ONES
            return
        if not self.options.ports:
            number = low16(frame.arg2)
            if number != GETVERSION:
                self.context.violation("dead-port", f"command {number} on port {LOW_PORT:#06x}")
            frame.arg0 = _ALL_ONES
            return
        self.backdoor.call(frame)

    def high_bandwidth(self, frame: Frame, memory: GuestMemory, *, to_host: bool) -> None:
        """Execute ``rep outsb`` (``to_host``) or ``rep insb`` on port 0x5659.

        Raises GuestFault if the buffer is not mapped, as the processor would fault.
        """
        self.backdoor.calls += 1
        if self.options.kind != "vmware":
            # No device answers: the string instruction reads ones and writes nowhere.
            return
        if not self.options.ports:
            self.context.violation("dead-port", f"string I/O on port {HIGH_PORT:#06x}")
            return
        self._buffer(frame, memory, to_host=to_host)

    def _buffer(self, frame: Frame, memory: GuestMemory, *, to_host: bool) -> None:
        if low16(frame.arg3) != HIGH_PORT:
            self.context.violation("port", f"DX {low16(frame.arg3):#06x}, not {HIGH_PORT:#06x}")
            frame.arg1 = 0
            return
        if frame.arg0 & _ALL_ONES != MAGIC:
            self.context.violation("magic", f"EAX {frame.arg0 & _ALL_ONES:#010x} on port 0x5659")
            frame.arg1 = 0
            return
        highband.high_bandwidth(self.context, self.transport, frame, memory, to_host=to_host)

    def hypercall(self, frame: Frame, memory: GuestMemory) -> None:
        """Execute VMCALL or VMMCALL: the flags in EDX replace the port.

        Source: open-vm-tools lib/backdoor/backdoorInt.h (0 low, 1 high read, 3 high write).
        """
        flags = low16(frame.arg3)
        channel = frame.arg3 & 0xFFFF0000
        if self.options.kind != "vmware" or self.options.hypercall == "none":
            # On a processor it would be an invalid instruction, or another hypervisor's call.
            self.context.violation("hypercall", f"flags {flags:#06x}, and CPUID offers none")
            frame.arg0 = _ALL_ONES
            return
        if not self._called:
            self._called = True
            self.context.trace.emit(
                "hypercall", instruction=self.options.hypercall, ports=self.options.ports
            )
        if flags == 0:
            frame.arg3 = channel | LOW_PORT
            self.backdoor.call(frame)
        elif flags in {1, 3}:
            frame.arg3 = channel | HIGH_PORT
            self.backdoor.calls += 1
            self._buffer(frame, memory, to_host=flags == 3)
        else:
            self.context.violation("port", f"hypercall flags {flags:#06x}")
            frame.arg0 = _ALL_ONES

    def other_port(self, port: int, size: int, value: int | None) -> int:
        """Execute I/O on a port other than the backdoor's; returns the value read.

        ``size`` in bytes; ``value`` is the value written, None for a read.
        """
        if not self.options.foreign_access:
            did = "read" if value is None else f"written with {value:#x}"
            self.context.violation("foreign-port", f"port {port:#06x} {did}, {8 * size} bits wide")
        return (1 << (8 * size)) - 1  # no device answers on the bus

    def cpuid(self, leaf: int) -> tuple[int, int, int, int] | None:
        """Return EAX to EDX of a hypervisor leaf (leaf 1: only bit 31 of ECX), or None."""
        return cpuid(self.options, leaf)

    # Time.

    def next_event(self) -> int | None:
        """Return when the host next acts by itself (virtual ns), or None."""
        return self.context.timers.next()

    def advance(self) -> None:
        """Handle the events that are due."""
        self.context.timers.fire(self.context.now)

    # Called by an operator.

    @property
    def violations(self) -> int:
        """The number of protocol rules that the guest has broken."""
        return self.context.violations

    @property
    def guest_channels(self) -> list[int]:
        """Return the numbers of the open channels that the guest has to close."""
        return sorted(n for n, channel in self.transport.channels.items() if channel.guests)

    def send(self, message: str | bytes) -> None:
        """Queue a TCLO message for the guest's tools."""
        self.tclo.send(message)

    def lose_channel(self, which: str = "tclo") -> int:
        """Forget channels without notice: ``tclo``, ``rpci`` or ``all``; returns how many."""
        protocols = ("tclo", "rpci") if which == "all" else (which,)
        channels = [c for name in protocols for c in self.transport.of(name)]
        for channel in channels:
            self.transport.kill(channel, "lost")
        return len(channels)

    def close_channel(self, which: str = "tclo") -> int:
        """Close channels from the host's side, so that the guest sees CLOSED; returns how many."""
        channels = self.transport.of(which)
        for channel in channels:
            self.transport.kill(channel, "closed", CLOSED)
        return len(channels)

    def steal_channel(self, seconds: float = 3.0) -> bool:
        """Let another client claim the application; returns false if no channel had it.

        HostOptions.second_client decides how the host treats the two.
        """
        if self.tclo.channel is None:
            return False
        self.tclo.steal(seconds)
        return True

    def checkpoint(self) -> None:
        """Interrupt every message in transfer."""
        self.context.trace.emit("host.checkpoint")
        self.transport.interrupt()

    def _synchronize(self) -> None:
        """Ask the guest to check the clock, forward only, as after everything but a boot (E12)."""
        self.send("Time_Synchronize 0")

    def snapshot_revert(
        self,
        seconds_back: float = 0.0,
        *,
        lose_channels: bool = False,
        time_synchronize: bool = True,
    ) -> None:
        """Revert to a snapshot: the guest's clock is then behind the host's.

        Without ``time_synchronize`` the administrator has switched that off
        (time.synchronize.restore).
        """
        self.context.trace.emit("host.revert", seconds=seconds_back, lost=lose_channels)
        self.transport.interrupt()
        if lose_channels:
            self.lose_channel("all")
        self.clock.jump(round(seconds_back * NANOSECONDS))
        if time_synchronize:
            self._synchronize()

    def migrate(self, *, lose_channels: bool = False) -> None:
        """Move to another host (vMotion): a checkpoint.

        Flag 0x0010 exists because channels survive a checkpoint; channels were lost only under
        heavy load (govmomi issue 829).
        """
        self.context.trace.emit("host.migrate", lost=lose_channels)
        self.transport.interrupt()
        if lose_channels:
            self.lose_channel("all")
        self._synchronize()

    def suspend(self, seconds: float, *, lose_channels: bool = False) -> bool:
        """Ask the guest, sleep for ``seconds`` of host time, resume: OS_Suspend to OS_Resume.

        The guest does not see the time pass: the host's clock jumps.  Returns false if a management
        client would not offer the operation.
        """

        def slept() -> None:
            self.transport.interrupt()
            self.clock.jump(round(seconds * NANOSECONDS))
            if lose_channels:
                self.lose_channel("all")
            self.power.request("resume")
            self._synchronize()

        def answered(accepted: bool) -> None:
            if accepted:
                self.context.after(0.001, slept)

        return self.power.request("suspend", answered)

    def offer_high_bandwidth(self, *, on: bool) -> None:
        """Offer high bandwidth for the next messages, or stop."""
        if any(
            channel.sending is not None or channel.reading is not None
            for channel in self.transport.channels.values()
        ):
            # A message is announced the other way: it has to end first.
            self.context.after(0.01, lambda: self.offer_high_bandwidth(on=on))
            return
        self.options = self.context.options = replace(self.options, high_bandwidth=on)

    def set_synctime(self, *, on: bool) -> None:
        """Change the machine's time synchronisation switch, and report it to the guest."""
        self.backdoor.sync_time = on
        self.tclo.set_option("synctime", str(int(on)))

    def summary(self) -> dict[str, Any]:
        """Return the figures that matter at the end of a run."""
        return {
            "calls": self.backdoor.calls + self.balloon.calls,
            "resets": self.tclo.resets,
            "tools": self.tools.status,
            "guest": self.power.guest_state,
            "capabilities": dict(self.tools.capabilities),
            "violations": self.violations,
            "channels": len(self.guest_channels),
            "faults": dict(self.faults.injected),
        }
