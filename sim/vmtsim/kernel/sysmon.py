"""sysmon_pswitch(9), /dev/power and the kernel's actions if there is no reader of it.

Source: NetBSD sys/dev/sysmon/sysmon_power.c, sys/sys/power.h, sys/kern/kern_reboot.c
(kern_reboot), sys/arch/amd64/amd64/machdep.c (cpu_reboot); aarch64 has no config_detach_all.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno, Halted
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Site, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.mounts import Mounts
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.watchdog import Watchdogs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

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
_LID_CLOSE = 10  # PMFE_CHASSIS_LID_CLOSE; _OPEN follows it
_LINES = {
    LID: {PRESSED: "lid closed.", RELEASED: "lid opened."},
    AC: {PRESSED: "AC adapter online.", RELEASED: "AC adapter offline."},
}
# sys/sys/power.h: events and kinds of sensors, powerd(8)'s names for them, words for the console.
_SENSOR_EVENTS = {
    90: ("normal", "normal state on"), 100: ("critical", "critical limit on"),
    110: ("critical-over", "critical over limit on"),
    120: ("critical-under", "critical under limit on"),
    130: ("warning-over", "warning over limit on"),
    140: ("warning-under", "warning under limit on"), 190: ("state-changed", "state changed on"),
}  # fmt: skip
_SENSOR_SCRIPTS = {
    10: "sensor_temperature", 11: "sensor_voltage", 12: "sensor_power", 13: "sensor_resistance",
    14: "sensor_battery", 15: "sensor_fan", 16: "sensor_drive", 17: "sensor_indicator",
}  # fmt: skip
_DICTIONARY = 32  # sizeof(struct power_event_dictionary)
RB_POWERDOWN = 0x808
RB_NOSYNC = 0x4
_SYNC = 500_000_000  # ns that the disks take at shutdown


class SysmonPower(Subject):
    """Power switches and their events.

    ``events`` are the dictionaries that a reader of /dev/power has received.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/dev/sysmon/sysmon_power.c 1.69": "*"}
    # No lock guards the list of switches in the kernel.
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "sysmon_power_event_queue_mtx": "sysmon_pswitch_event"
    }
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.switches: LiveObjects[Site] = LiveObjects(
            self, Words("power switch", "registered", "unregistered"), left="pswitch-left"
        )
        self.reader = False
        self.events: list[dict[str, str]] = []
        # Events for a reader, and how many of them it may read: opening or closing resets the
        # count, and events that were not read stay (sysmon_power_event_queue_flush, pev_dict_list).
        self._dictionaries: deque[dict[str, str]] = deque()
        self._count = 0
        self._arrived = WaitQueue("power")
        self._rebooter: Lwp | None = None
        # When a driver last raised an event, in virtual ns: by script and name of the event.
        self.raised: dict[tuple[str, str], int] = {}

    # -- /dev/power --------------------------------------------------------------------------

    def open(self) -> int:
        """Open /dev/power; returns an errno."""
        if self.reader:
            return Errno.EBUSY
        self.reader = True
        self._count = 0
        return 0

    def close(self) -> None:
        """Close it; the kernel counts lost events."""
        self.reader = False
        if self._count:
            plural = "s" if self._count > 1 else ""
            self.kernel.subject(Console).print(
                f"WARNING: {self._count} power event{plural} lost by exiting daemon\n"
            )
        self._count = 0

    @property
    def waiting(self) -> bool:
        """Whether there is an event to read."""
        return self._count > 0

    def take(self) -> dict[str, str]:
        """Read an event: the oldest unread one, even if it was lost before."""
        self._count -= 1
        event = self._dictionaries.popleft()
        self.events.append(event)
        return event

    def daemon(self, run: Callable[[str, str, str], Model] | None = None) -> Model:
        """powerd(8), after its ``open``: read events forever.

        ``run`` gets script, event and device; powerd(8) waits for the script
        (usr.sbin/powerd/powerd.c, run_script).
        """
        while True:
            while self.waiting:
                event = self.take()
                self.kernel.trace.emit(
                    "powerd",
                    script=event["powerd-script-name"],
                    name=event["powerd-event-name"],
                    device=event["driver-name"],
                    type=event["power-type"],
                )
                if run is not None:
                    yield from run(
                        event["powerd-script-name"],
                        event.get("powerd-event-name", ""),
                        event["driver-name"],
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
            kernel.violation(
                "pswitch-event",
                f"sysmon_pswitch_event by {kernel.where()}: type {kind}, event {event}",
            )
        if switch not in self.switches:
            kernel.violation(
                "pswitch-unregistered",
                f"sysmon_pswitch_event by {kernel.where()}: the switch of {name} is not registered",
            )
        words = "pressed" if event == PRESSED else "released"
        self.raised[_SCRIPTS.get(kind, ""), words] = kernel.clock.now
        if kind == LID and event in {PRESSED, RELEASED}:
            kernel.subject(Pmf).pmf_event_inject(0, _LID_CLOSE + event)
        if self.reader:
            if kernel.subject(Kmem).refuse(_DICTIONARY):
                return None  # kmem_zalloc(KM_NOSLEEP): the event is lost without a message
            if self._queue_event(name, kind, event):
                return None
        return self._default(name, kind, event)

    def _queue_event(self, name: str, kind: int, event: int) -> bool:
        """Pass an event to the reader; returns whether it took it (sysmon_power_daemon_task)."""
        if kind not in _SCRIPTS:
            return False
        if self._count == _QUEUE:
            self.kernel.subject(Console).print(
                "sysmon_power_daemon_task: WARNING: state change event 0 lost; queue full\n"
            )
            return False
        what = {"driver-name": name}
        if event in {PRESSED, RELEASED}:
            what["powerd-event-name"] = "pressed" if event == PRESSED else "released"
        self._append({**what, "powerd-script-name": _SCRIPTS[kind], "power-type": "pswitch"})
        return True

    def _append(self, event: dict[str, str]) -> None:
        self._dictionaries.append(event)
        self._count += 1
        self.kernel.scheduler.wake_all(self._arrived)

    def sensor_event(self, device: str, sensor: str, kind: int, event: int, state: str) -> None:
        """Pass an event of a sensor to the reader, or print it (sysmon_penvsys_event)."""
        name, words = _SENSOR_EVENTS[event]
        if self.reader and self._count < _QUEUE:
            self._append(
                {
                    "driver-name": device,
                    "sensor-name": sensor,
                    "state-description": state,
                    "powerd-event-name": name,
                    "powerd-script-name": _SENSOR_SCRIPTS[kind],
                    "power-type": "envsys",
                }
            )
            return
        to = f" to '{state}'" if state and name != "normal" else ""
        self.kernel.subject(Console).print(f"{device}: {words} '{sensor}'{to}\n")

    def _default(self, name: str, kind: int, event: int) -> Model | None:
        """Act as the kernel does when no daemon takes the event."""
        console = self.kernel.subject(Console)
        if kind in {LID, AC}:
            words = _LINES[kind].get(event)
            if words is None and kind == LID:
                words = f"unknown lid switch event: {event}"
            if words is not None:
                console.print(f"{name}: {words}\n")
            return None
        if event != PRESSED:
            return None
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
        """kern_reboot() in the running thread: file systems, devices, the pmf hooks, the end.

        A thread that calls it while another one reboots sleeps forever.  The hooks run under an
        iterator over all devices.
        """
        kernel = self.kernel
        if self._rebooter not in {None, kernel.current}:
            yield Block(what="reboot")
        self._rebooter = kernel.current
        yield from kernel.subject(KernelLock).lock(1) or ()
        memory, symbols = kernel.memory, kernel.symbols
        x86 = kernel.cpu.machine != "aarch64"
        if x86:  # cpu_reboot() of aarch64 leaves the flags of the last boot there
            memory.put_u32(symbols["boothowto"], howto)
        kernel.trace.emit("kernel.reboot", howto=howto, thread=kernel.current.name)
        yield from self._stop_file_systems()
        off = howto & RB_POWERDOWN == RB_POWERDOWN
        if x86:
            yield from kernel.subject(Autoconf).detach_all(power_off=off)
        devices = kernel.subject(AllDevices)
        devices.iterate()
        yield from kernel.subject(Pmf).shutdown(memory.u32(symbols["boothowto"]))
        devices.iterated()
        yield from kernel.subject(Watchdogs).shutdown()
        raise Halted("power off" if off else "reboot")

    def panicked(self, text: str) -> Model:
        """Panic in the running thread: no file system is touched, the pmf hooks run, then the end.

        vpanic in sys/kern/subr_prf.c 1.203, cpu_reboot in sys/arch/amd64/amd64/machdep.c 1.370.
        While a hook sleeps, other threads run: cv_wait of 10.99.12 does not check panicstr.
        """
        kernel, memory, symbols = self.kernel, self.kernel.memory, self.kernel.symbols
        kernel.subject(Console).print(f"panic: {text}\n")
        memory.put_u32(symbols["doing_shutdown"], 1)
        memory.put_pointer(symbols["panicstr"], memory.place(text.encode("ascii") + b"\0"))
        self._rebooter = kernel.current
        memory.put_u32(symbols["boothowto"], RB_NOSYNC)
        kernel.trace.emit("kernel.reboot", howto=RB_NOSYNC, thread=kernel.current.name)
        devices = kernel.subject(AllDevices)
        devices.iterate()
        yield from kernel.subject(Pmf).shutdown(RB_NOSYNC)
        devices.iterated()
        raise Halted("reboot")

    def _stop_file_systems(self) -> Model:
        """vfs_sync_all() and the unmounting: waits for the thread that has suspended a file system.

        User processes stop; those that a signal could wake are woken, and their sleep returns 0
        (suspendsched).
        """
        kernel, mounts = self.kernel, self.kernel.subject(Mounts)
        console = kernel.subject(Console)
        console.print("syncing disks... ")
        for lwp in list(kernel.scheduler.lwps):
            if lwp.kind == "user" and lwp is not kernel.current and lwp.interruptible:
                kernel.scheduler.wake(lwp)
        kernel.memory.put_u32(kernel.symbols["doing_shutdown"], 1)
        yield from mounts.sync_all()
        yield Block(deadline=kernel.clock.now + _SYNC, what="syncwait")
        console.print("done\n")
        for mount in reversed(list(mounts.mounted)):
            if not mount.gone:
                yield from mounts.unmount(mount.directory)
