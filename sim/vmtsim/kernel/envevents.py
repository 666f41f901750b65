"""Limits and states of sensors that sysmon_envsys(9) monitors, and the events from them.

Source: NetBSD sys/dev/sysmon/sysmon_envsys_events.c 1.123.  A device with a sensor that its driver
has marked for monitoring gets a thread; every half minute it refreshes each such sensor and
compares.  Only the states of batteries are monitored: a machine that runs low on power is not
modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel import envtables as tables
from vmtsim.kernel.api import Block, Call
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.sysmon import SysmonPower
from vmtsim.kernel.taskq import TaskQueue

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.envsys import Envsys, SensorDevice

_DEFAULT = 30  # SME_EVENTS_DEFTIMEOUT, in seconds
# sys/sys/power.h
NORMAL, EVENT_CRITICAL, LIMITS = 90, 100, 200
STATE_CHANGED, NULL = 190, 220
_RAISED = {
    tables.VALID: NORMAL,
    tables.CRIT_OVER: 110,
    tables.CRIT_UNDER: 120,
    tables.WARN_OVER: 130,
    tables.WARN_UNDER: 140,
}
# Flags of a sensor -> the type of its event, in the order of reg_events[].
_TYPES = (
    (tables.MON_CRITICAL, EVENT_CRITICAL),
    (tables.MON_STATE, STATE_CHANGED),
    (tables.MON_LIMITS, LIMITS),
    (tables.HAS_ENTROPY, NULL),
)
_NAMES = {
    EVENT_CRITICAL: "critical",
    STATE_CHANGED: "state-changed",
    LIMITS: "hw-range-limits",
    NULL: "refresh-event",
}
# A limit's offset, its property, whether it is a lower one, and the state beyond it; the first
# match counts.
_LIMITS = (
    (3, tables.CRIT_MIN, True, tables.CRIT_UNDER),
    (2, tables.WARN_MIN, True, tables.WARN_UNDER),
    (0, tables.CRIT_MAX, False, tables.CRIT_OVER),
    (1, tables.WARN_MAX, False, tables.WARN_OVER),
)
_VALUES = {
    tables.DRIVE: (tables.DRIVES, 4),
    tables.CAPACITY: (tables.CAPACITIES, 1),
    tables.INDICATOR: (tables.INDICATORS, None),
}


@dataclass(eq=False)
class Event:
    """A struct sme_event: the monitored property of a sensor, and its last event."""

    sensor: int
    type: int
    power: int
    state: int = tables.VALID
    value: int = 0


@dataclass(eq=False)
class Watch:
    """The events of a device, and the thread that monitors them."""

    events: list[Event] = field(default_factory=list)
    lwp: Lwp | None = None
    dying: bool = False
    wakeup: WaitQueue = field(default_factory=lambda: WaitQueue("smeevent"))


class Events:
    """The events of all devices."""

    def __init__(self, envsys: Envsys) -> None:
        self._envsys = envsys
        self.kernel = envsys.kernel
        self._watched: dict[SensorDevice, Watch] = {}

    def begin(self, device: SensorDevice) -> None:
        """Let the task queue register the events that the driver's flags request."""
        memory, fields = self.kernel.memory, self._envsys.device
        if not memory.u64(device.address + fields.timeout):
            memory.put_u64(device.address + fields.timeout, _DEFAULT)
        for sensor in device.sensors:
            if memory.u32(sensor + self._envsys.sensor.flags) & tables.MONITORED:
                self.kernel.subject(TaskQueue).schedule(
                    0,
                    lambda sensor=sensor: self._add(device, sensor),  # type: ignore[misc]
                )

    def _add(self, device: SensorDevice, sensor: int) -> Model:
        """sme_event_drvadd(): in the thread of the task queue."""
        envsys, memory = self._envsys, self.kernel.memory
        if device.gone or sensor not in device.sensors:
            return
        flags = memory.u32(sensor + envsys.sensor.flags)
        limits, properties = yield from self._limits(device, sensor)
        units = tables.entry_of(tables.UNITS, memory.s32(sensor + envsys.sensor.units))
        assert units is not None
        for flag, kind in _TYPES:
            if flags & flag:
                event = Event(sensor, kind, units.power)
                error = yield from self._register(device, event, limits, properties)
                if error not in {0, Errno.EEXIST}:
                    self.kernel.subject(Console).print(
                        f"sme_event_drvadd: failed to add event! error={int(error)} "
                        f"sensor={envsys.text(sensor)} event={_NAMES[kind]}\n"
                    )

    def _limits(self, device: SensorDevice, sensor: int) -> Model:
        """Get the limits from the driver: four numbers, and which of them are valid."""
        memory, fields = self.kernel.memory, self._envsys.device
        function = memory.pointer(device.address + fields.get_limits)
        flags = memory.u32(sensor + self._envsys.sensor.flags)
        if not function or not flags & tables.MON_LIMITS:
            return (0, 0, 0, 0), 0
        at = memory.place(bytes(20))
        yield Call(function, (device.address, sensor, at, at + 16))
        properties = memory.u32(at + 16)
        if not memory.pointer(device.address + fields.set_limits):
            properties &= ~tables.DRIVER_LIMITS
        return tuple(memory.u32(at + 4 * index) for index in range(4)), properties

    def _register(
        self, device: SensorDevice, event: Event, limits: tuple[int, ...], properties: int
    ) -> Model:
        """sme_event_register(): new limits for an event that is known, or a new event."""
        kernel, memory, envsys = self.kernel, self.kernel.memory, self._envsys
        sensor, at = event.sensor, envsys.sensor
        units = memory.s32(sensor + at.units)
        if properties and units in {tables.INDICATOR, tables.CHARGE}:
            return Errno.ENOTSUP
        if event.type == STATE_CHANGED and units not in _VALUES:
            kernel.panic(
                "envsys-state-units",
                f"sme_event_register: ENVSYS_FMONSTCHANGED of the sensor {envsys.text(sensor)!r} "
                f"of {device.name}: only drives, batteries and indicators have monitored states",
            )
        yield from envsys.lock(device)
        watch = self._watched.setdefault(device, Watch())
        known = next(
            (e for e in watch.events if e.sensor == sensor and e.type in {event.type, NULL}), None
        )
        if known is not None and event.type == NULL:
            envsys.unlock(device)
            return Errno.EEXIST
        if known is not None and properties and known.type == NULL:
            known.type = event.type
        for place, flag, _lower, _state in _LIMITS:
            if properties & flag:
                memory.put_u32(sensor + at.limits + 4 * place, limits[place])
        before = memory.u32(sensor + at.properties) & ~tables.DRIVER_LIMITS
        memory.put_u32(sensor + at.properties, before | properties)
        self._start(device, watch)
        function = memory.pointer(device.address + envsys.device.set_limits)
        if function:
            yield Call(
                function,
                (device.address, sensor, sensor + at.limits, sensor + at.properties),
            )
        if known is None:
            watch.events.insert(0, event)
        envsys.unlock(device)
        return 0

    def update_limits(self, device: SensorDevice, sensor: int) -> Model:
        """sme_update_limits(): the driver has new limits."""
        watch = self._watched.get(device, Watch())
        known = next((e for e in watch.events if e.sensor == sensor and e.type == LIMITS), None)
        if known is None:
            return Errno.EINVAL
        limits, properties = yield from self._limits(device, sensor)
        yield from self._register(device, Event(sensor, LIMITS, known.power), limits, properties)
        return 0

    # -- the thread --------------------------------------------------------------------------

    def _start(self, device: SensorDevice, watch: Watch) -> None:
        if watch.lwp is None:
            watch.lwp = self.kernel.spawn(device.name, "kthread", self._main(device, watch))
            watch.lwp.address = self.kernel.subject(Objects).new_lwp(device.name)

    def _main(self, device: SensorDevice, watch: Watch) -> Model:
        """Refresh and compare each time that sme_events_timeout is over."""
        kernel, envsys = self.kernel, self._envsys
        while True:
            seconds = kernel.memory.u64(device.address + envsys.device.timeout)
            yield Block(watch.wakeup, kernel.clock.now + seconds * SECOND, "smeevent")
            if watch.dying:
                break
            old = {event.sensor for event in watch.events}  # ENVSYS_FNEED_REFRESH
            for event in list(watch.events):
                yield from envsys.lock(device)
                if event in watch.events:
                    if event.sensor in old:
                        yield from envsys.refresh(device, event.sensor)
                        old.remove(event.sensor)
                    self._judge(device, event)
                envsys.unlock(device)
        kernel.scheduler.wake_all(watch.wakeup)

    def _judge(self, device: SensorDevice, event: Event) -> None:
        """Set the state of a sensor with limits, unless its driver does; report a new state."""
        memory, at = self.kernel.memory, self._envsys.sensor
        sensor = event.sensor
        if memory.s32(sensor + at.state) == tables.INVALID:
            return
        properties = memory.u32(sensor + at.properties)
        if event.type == LIMITS and not properties & tables.DRIVER_LIMITS:
            value = memory.s32(sensor + at.current)
            state = tables.VALID
            for place, flag, lower, beyond in _LIMITS:
                limit = memory.s32(sensor + at.limits + 4 * place)
                if properties & flag and (value < limit if lower else value > limit):
                    state = beyond
                    break
            memory.put_u32(sensor + at.state, state)
        self.deliver(device, event)

    def deliver_all(self, device: SensorDevice, sensor: int, kind: int) -> None:
        """sysmon_envsys_sensor_event(): a driver reports that a sensor has changed."""
        for event in list(self._watched.get(device, Watch()).events):
            if event.sensor == sensor and kind in {0, event.type}:
                self.deliver(device, event)

    def deliver(self, device: SensorDevice, event: Event) -> None:
        """sme_deliver_event(): pass the change to powerd(8), or print it."""
        memory, at = self.kernel.memory, self._envsys.sensor
        state = memory.s32(event.sensor + at.state)
        value = memory.s32(event.sensor + at.current)
        raised, text = 0, ""
        if event.type == LIMITS and state != event.state and state in _RAISED:
            raised, event.state = _RAISED[state], state
        elif event.type == EVENT_CRITICAL:
            if state == tables.VALID and event.state != tables.VALID:
                raised, event.state = NORMAL, tables.VALID
            elif state == tables.CRITICAL:
                if event.state != state or event.value != value:
                    raised, event.state = EVENT_CRITICAL, state
                event.value = value
        elif event.type == STATE_CHANGED and value != event.value:
            table, normal = _VALUES[memory.s32(event.sensor + at.units)]
            found = tables.entry_of(table, value)
            if found is None:
                self.kernel.panic(
                    "null-pointer",
                    f"sme_deliver_event: the sensor {self._envsys.text(event.sensor)!r} of "
                    f"{device.name} has the value {value}, which its table lacks",
                )
            text = found.text
            raised = NORMAL if value == (event.value if normal is None else normal) else event.type
            event.value = value
        if raised:
            power = self.kernel.subject(SysmonPower)
            power.sensor_event(
                device.name, self._envsys.text(event.sensor), event.power, raised, text
            )

    # -- the end -----------------------------------------------------------------------------

    def remove(self, device: SensorDevice, sensor: int) -> None:
        """Remove the events of a sensor that is detached; its device's mutex is held."""
        watch = self._watched.get(device)
        if watch is not None:
            watch.events = [event for event in watch.events if event.sensor != sensor]

    def end(self, device: SensorDevice) -> Model:
        """Wait for the thread of a device that is unregistered."""
        watch = self._watched.pop(device, None)
        if watch is None or watch.lwp is None:
            return
        watch.dying = True
        self.kernel.scheduler.wake_all(watch.wakeup)
        while watch.lwp.state != "gone":
            yield Block(watch.wakeup, what="smeevent")
