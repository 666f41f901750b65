"""sysmon_pswitch(9), /dev/power and what the kernel does when nobody reads it.

Source: NetBSD sys/dev/sysmon/sysmon_power.c, sys/sys/power.h, sys/kern/kern_reboot.c
(kern_reboot), sys/arch/amd64/amd64/machdep.c (cpu_reboot); aarch64 has no config_detach_all.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno, Halted
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.live import LiveObjects, Site, Words
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.scheduler import Lwp

_QUEUE = 32
POWER, SLEEP, LID, RESET, AC, HOTKEY, RADIO = range(7)
_SCRIPTS = {
    POWER: "power_button",
    SLEEP: "sleep_button",
    LID: "lid_switch",
    RESET: "reset_button",
    AC: "acadapter",
    HOTKEY: "hotkey_button",
    RADIO: "radio_button",
}
PRESSED, RELEASED = 0, 1
RB_POWERDOWN = 0x808
_SYNC = 500_000_000  # ns that the disks take at shutdown


class SysmonPower(Subject):
    """Power switches and their events.

    ``events`` are the dictionaries that a reader of /dev/power has received.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/dev/sysmon/sysmon_power.c 1.69": "*"}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.switches: LiveObjects[Site] = LiveObjects(
            self, Words("power switch", "registered", "unregistered"), left="pswitch-left"
        )
        self.reader = False
        self.events: list[dict[str, str]] = []
        self.queue: deque[dict[str, str]] = deque()
        self._arrived = WaitQueue("power")
        self._rebooter: Lwp | None = None

    # -- /dev/power --------------------------------------------------------------------------

    def open(self) -> int:
        """Open /dev/power; returns an errno."""
        if self.reader:
            return Errno.EBUSY
        self.reader = True
        self.queue.clear()
        return 0

    def close(self) -> None:
        """Close it; the kernel counts what is lost."""
        self.reader = False
        if self.queue:
            self.kernel.subject(Console).print(
                f"WARNING: {len(self.queue)} power event(s) lost by exiting daemon\n"
            )
        self.queue.clear()

    def daemon(self) -> Model:
        """powerd(8), after its ``open``: read events for ever."""
        while True:
            while self.queue:
                event = self.queue.popleft()
                self.events.append(event)
                self.kernel.trace.emit(
                    "powerd",
                    script=event["powerd-script-name"],
                    name=event["powerd-event-name"],
                    device=event["driver-name"],
                    type=event["power-type"],
                )
            yield Block(self._arrived, what="power")

    # -- the kernel's side -------------------------------------------------------------------

    @kernel_function("int sysmon_pswitch_register(struct sysmon_pswitch *smpsw)")
    def sysmon_pswitch_register(self, switch: int) -> int:
        self.kernel.memory.pointer(switch)
        self.switches[switch] = Site(self.kernel.call_site)
        return 0

    @kernel_function("void sysmon_pswitch_unregister(struct sysmon_pswitch *smpsw)")
    def sysmon_pswitch_unregister(self, switch: int) -> None:
        self.switches.pop(switch, None)

    @kernel_function("void sysmon_pswitch_event(struct sysmon_pswitch *smpsw, int event)")
    def sysmon_pswitch_event(self, switch: int, event: int) -> Model | None:
        kernel = self.kernel
        kernel.rules.thread_context("sysmon_pswitch_event")
        kernel.rules.no_locks("sysmon_pswitch_event", "pswitch-with-mutex")
        memory = kernel.memory
        name = memory.string(memory.pointer(switch))
        kind = memory.s32(switch + memory.pointer_size)
        if event not in {PRESSED, RELEASED} or kind not in _SCRIPTS:
            kernel.panic(
                "pswitch-event",
                f"sysmon_pswitch_event by {kernel.where()}: type {kind}, event {event}",
            )
        if switch not in self.switches:
            kernel.violation(
                "pswitch-unregistered",
                f"sysmon_pswitch_event by {kernel.where()}: the switch of {name} is not registered",
            )
        if self.reader and len(self.queue) < _QUEUE:
            self.queue.append(
                {
                    "driver-name": name,
                    "powerd-event-name": "pressed" if event == PRESSED else "released",
                    "powerd-script-name": _SCRIPTS[kind],
                    "power-type": "pswitch",
                }
            )
            kernel.scheduler.wake_all(self._arrived)
            return None
        return self._default(name, kind, event)

    def _default(self, name: str, kind: int, event: int) -> Model | None:
        """Do what the kernel does when no daemon takes the event."""
        if event != PRESSED:
            return None
        console = self.kernel.subject(Console)
        if kind == POWER:
            console.print(f"{name}: power button pressed, shutting down!\n")
            return self.reboot(RB_POWERDOWN)
        if kind == RESET:
            console.print(f"{name}: reset button pressed, rebooting!\n")
            return self.reboot(0)
        if kind == SLEEP:
            console.print(f"{name}: sleep button pressed.\n")
        return None

    def reboot(self, howto: int) -> Model:
        """kern_reboot() in the running thread: devices go, the pmf hooks, the end of the machine.

        Who comes while another thread reboots sleeps for ever.
        """
        kernel = self.kernel
        if self._rebooter not in {None, kernel.current}:
            yield Block(what="reboot")
        self._rebooter = kernel.current
        yield from kernel.subject(KernelLock).lock(1) or ()
        kernel.memory.put_u32(kernel.symbols["doing_shutdown"], 1)
        console = kernel.subject(Console)
        kernel.trace.emit("kernel.reboot", howto=howto, thread=kernel.current.name)
        # vfs_shutdown(): other threads run meanwhile.
        yield Block(deadline=kernel.clock.now + _SYNC, what="syncwait")
        console.print("syncing disks... done\n")
        if kernel.cpu.machine != "aarch64":
            off = howto & RB_POWERDOWN == RB_POWERDOWN
            yield from kernel.subject(Autoconf).detach_all(power_off=off)
        yield from kernel.subject(Pmf).shutdown(howto)
        raise Halted("power off" if howto & RB_POWERDOWN == RB_POWERDOWN else "reboot")
