"""sysmon_envsys(9): devices with sensors, as envstat(8) shows them, and their limits.

A device is one struct sysmon_envsys.  A reader of its sensors first marks it busy, and calls the
driver's refresh function with its mutex held: sme_mtx, an adaptive one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed

from vmtsim.kernel import envtables as tables
from vmtsim.kernel.api import Block, Call, DataSymbol, Subject, kernel_function
from vmtsim.kernel.callback import same_locks
from vmtsim.kernel.console import Console
from vmtsim.kernel.entropy import Entropy
from vmtsim.kernel.envevents import Events
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.mutex import Mutex, Mutexes
from vmtsim.kernel.taskq import TaskQueue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_GLOBAL = "sme_global_mtx"


@dataclass(eq=False)
class SensorDevice:
    """A struct sysmon_envsys; ``sensors`` are the addresses of its struct envsys_data, in order."""

    address: int
    made_at: int
    mutex: Mutex
    name: str = ""
    registered: bool = False
    gone: bool = False
    busy: bool = False
    sensors: list[int] = field(default_factory=list)
    changed: WaitQueue = field(default_factory=lambda: WaitQueue("sme_wait"))


class Envsys(Subject):
    """All devices with sensors that modules have made, and those of them that are registered."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/dev/sysmon/sysmon_envsys.c 1.151": "*",
        "sys/dev/sysmon/sysmon_envsys_events.c 1.123": (
            "sysmon_envsys_sensor_event sysmon_envsys_update_limits"
        ),
        "sys/dev/sysmon/sysmon_envsys_tables.c 1.14": "sme_find_table_entry sme_find_table_desc",
    }
    # The models take the mutexes of the list and of each device.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        word = kernel.memory.pointer_size
        self.sensor, self.device = tables.SensorFields(word), tables.DeviceFields(word)
        self.live: LiveObjects[SensorDevice] = LiveObjects(
            self,
            Words("sysmon_envsys", "created"),
            unknown="envsys-unknown",
            left="envsys-left",
            name=lambda device: repr(device.name) if device.name else "",
        )
        self.registered: list[SensorDevice] = []  # the last one first
        self.events = Events(self)
        self._entries: dict[tuple[int, int], int] = {}  # (table, place) -> struct sme_descr_entry
        self._global: Mutex | None = None

    def data(self) -> Iterator[DataSymbol]:
        """Yield the mutex of the list."""
        yield DataSymbol(_GLOBAL, bytes(self.kernel.memory.pointer_size))

    def boot(self) -> None:
        """Register for the notification of freed memory."""
        self.kernel.subject(Kmem).on_free.append(self._freed)

    def _freed(self, start: int, end: int, function: str) -> None:
        """Panic for memory that is freed with a sensor in it."""
        kernel = self.kernel
        for device in self.live.values():
            for sensor in device.sensors:
                if start <= sensor < end:
                    kernel.panic(
                        "envsys-sensor-freed",
                        f"{function} by {kernel.where()}: the sensor {self.text(sensor)!r} of "
                        f"{self._called(device)} is in this memory, and attached",
                    )

    # -- a sensor, and the device ------------------------------------------------------------

    def text(self, sensor: int) -> str:
        """Return the description of a sensor."""
        where = sensor + self.sensor.description
        return self.kernel.memory.cstring(where, tables.DESCRIPTION).decode("latin-1")

    def _called(self, device: SensorDevice) -> str:
        return device.name or f"the sysmon_envsys {self.live.at(device.address)}"

    def lock(self, device: SensorDevice) -> Model:
        """Take the mutex of a device."""
        yield from self.kernel.subject(Mutexes).mutex_enter(device.mutex.address) or ()

    def unlock(self, device: SensorDevice) -> None:
        """Release it."""
        self.kernel.subject(Mutexes).release(device.mutex)

    def _acquire_locked(self, device: SensorDevice) -> Model:
        """Wait until no thread uses the device, and mark it busy (sysmon_envsys_acquire).

        The caller holds the mutex, which is free while it waits, as in cv_wait(9).
        """
        while device.busy:
            self.unlock(device)
            yield Block(device.changed, what="sme_wait")
            yield from self.lock(device)
        device.busy = True

    def _acquire(self, device: SensorDevice) -> Model:
        """Do the same for a caller without the mutex."""
        yield from self.lock(device)
        yield from self._acquire_locked(device)
        self.unlock(device)

    def _release_locked(self, device: SensorDevice) -> None:
        device.busy = False
        self.kernel.scheduler.wake_all(device.changed)

    def _release(self, device: SensorDevice) -> Model:
        yield from self.lock(device)
        self._release_locked(device)
        self.unlock(device)

    def _write_list(self, device: SensorDevice) -> None:
        """Link the sensors, as TAILQ does: tqe_next and tqe_prev, tqh_first and tqh_last."""
        memory = self.kernel.memory
        word = memory.pointer_size
        link = device.address + self.device.list
        for sensor in device.sensors:
            memory.put_pointer(link, sensor)
            memory.put_pointer(sensor + word, link)
            link = sensor
        memory.put_pointer(link, 0)
        memory.put_pointer(device.address + self.device.list + word, link)
        memory.put_u32(device.address + self.device.sensors, len(device.sensors))

    def refresh(self, device: SensorDevice, sensor: int) -> Model:
        """Let the driver read its hardware; the device is busy and its mutex held."""
        kernel, memory = self.kernel, self.kernel.memory
        lwp, at = kernel.current, self.sensor
        held = list(lwp.held)
        function = memory.pointer(device.address + self.device.refresh)
        if not memory.u32(device.address + self.device.flags) & tables.DISABLE_REFRESH:
            yield Call(function, (device.address, sensor))
            who = f"the refresh function {kernel.location(function)}"
            same_locks(kernel, held, who, "envsys-refresh-lock")
        value = memory.u32(sensor + at.current)
        if (
            memory.u32(sensor + at.flags) & tables.HAS_ENTROPY
            and memory.u32(sensor + at.state) != tables.INVALID
            and memory.u32(sensor + at.previous) != value
        ):
            kernel.subject(Entropy).added.append((4, 0))
        memory.put_u32(sensor + at.previous, value)

    # -- functions for drivers ---------------------------------------------------------------

    @kernel_function("struct sysmon_envsys *sysmon_envsys_create(void)")
    def sysmon_envsys_create(self) -> int:
        kernel = self.kernel
        kernel.rules.may_sleep("sysmon_envsys_create")
        address = kernel.subject(Kmem).allocate(self.device.size, owner="sysmon_envsys")
        mutex = kernel.subject(Mutexes).own(address + self.device.mutex)
        found = SensorDevice(address, kernel.call_site, mutex)
        self.live.add("sysmon_envsys_create", address, found)
        self._write_list(found)
        return address

    @kernel_function("void sysmon_envsys_destroy(struct sysmon_envsys *sme)")
    def sysmon_envsys_destroy(self, address: int) -> None:
        kernel = self.kernel
        device = self.live.find("sysmon_envsys_destroy", address)
        if device.registered:
            kernel.panic(
                "envsys-destroy-registered",
                f"sysmon_envsys_destroy by {kernel.where()}: {device.name} is registered, and "
                "stays in the list of devices",
            )
        self._destroy(device)

    def _destroy(self, device: SensorDevice) -> None:
        device.gone = True
        device.sensors.clear()
        self.live.remove(device.address)
        self.kernel.subject(Mutexes).mutex_destroy(device.mutex.address)
        self.kernel.subject(Kmem).release(device.address, None, "sysmon_envsys_destroy")

    @kernel_function("int sysmon_envsys_sensor_attach(struct sysmon_envsys *sme, void *edata)")
    def sysmon_envsys_sensor_attach(self, address: int, sensor: int) -> Model:
        memory = self.kernel.memory
        units = memory.s32(sensor + self.sensor.units)
        text = self.text(sensor)
        if tables.entry_of(tables.UNITS, units) is None or not text:
            return Errno.EINVAL
        device = self.live.find("sysmon_envsys_sensor_attach", address)
        yield from self.lock(device)
        yield from self._acquire_locked(device)
        error = Errno.EEXIST if text in map(self.text, device.sensors) else 0
        if not error:
            memory.put_u32(sensor + self.sensor.number, len(device.sensors))
            device.sensors.append(sensor)
            self._write_list(device)
        self._release_locked(device)
        self.unlock(device)
        return error

    @kernel_function("int sysmon_envsys_sensor_detach(struct sysmon_envsys *sme, void *edata)")
    def sysmon_envsys_sensor_detach(self, address: int, sensor: int) -> Model:
        """EINVAL if no sensor of the device has the number of this one."""
        kernel, number = self.kernel, self.sensor.number
        device = self.live.find("sysmon_envsys_sensor_detach", address)
        yield from self.lock(device)
        yield from self._acquire_locked(device)
        numbers = [kernel.memory.u32(each + number) for each in device.sensors]
        error = 0 if kernel.memory.u32(sensor + number) in numbers else Errno.EINVAL
        if not error and sensor not in device.sensors:
            kernel.panic(
                "envsys-sensor-unknown",
                f"sysmon_envsys_sensor_detach by {kernel.where()}: the sensor "
                f"{self.text(sensor)!r} is not attached to {self._called(device)}, another has its "
                "number, and TAILQ_REMOVE follows the pointers in it",
            )
        if not error:
            source = sensor + self.sensor.source
            if source in kernel.subject(Entropy).sources:
                kernel.subject(Entropy).rnd_detach_source(source)
            self.events.remove(device, sensor)
            device.sensors.remove(sensor)
            self._write_list(device)
        self._release_locked(device)
        self.unlock(device)
        return error

    @kernel_function("int sysmon_envsys_register(struct sysmon_envsys *sme)")
    def sysmon_envsys_register(self, address: int) -> Model:
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("sysmon_envsys_register")
        device = self.live.find("sysmon_envsys_register", address)
        name_at = memory.pointer(address + self.device.name)
        if not name_at:
            kernel.panic(
                "null-pointer", f"sysmon_envsys_register by {kernel.where()}: sme_name is NULL"
            )
        name = memory.string(name_at)
        yield from self._lock_list()
        known = any(each.name == name for each in self.registered)
        self._unlock_list()
        flags = memory.u32(address + self.device.flags)
        if known:
            return Errno.EEXIST
        if not flags & tables.DISABLE_REFRESH and not memory.pointer(address + self.device.refresh):
            return Errno.EINVAL
        if not device.sensors:
            return Errno.ENOTSUP
        if any(self._unprintable(sensor) for sensor in device.sensors):
            device.sensors.clear()
            self._write_list(device)
            return Errno.EINVAL
        yield from self._lock_list()
        device.name, device.registered = name, True
        memory.put_u32(address + self.device.first, sum(len(e.sensors) for e in self.registered))
        self.registered.insert(0, device)
        self._unlock_list()
        kernel.trace.emit("envsys.register", device=name, sensors=len(device.sensors))
        for sensor in device.sensors:
            if memory.u32(sensor + self.sensor.flags) & tables.HAS_ENTROPY:
                yield from kernel.subject(Entropy).rnd_attach_source(
                    sensor + self.sensor.source, f"{name}-{self.text(sensor)}", 0, 0
                )
        if flags & tables.INIT_REFRESH:
            kernel.subject(TaskQueue).schedule(0, lambda: self._first_refresh(device))
        self.events.begin(device)
        return 0

    def _unprintable(self, sensor: int) -> bool:
        """Whether a new sensor has a state that the tables lack; the console shows a message."""
        memory = self.kernel.memory
        state = memory.s32(sensor + self.sensor.state)
        if tables.entry_of(tables.STATES, state) is not None:
            return False
        number = memory.u32(sensor + self.sensor.number)
        self.kernel.subject(Console).print(
            f"sme_update_sensor_dictionary: cannot update sensor {number} state {state} unknown\n"
        )
        return True

    def _first_refresh(self, device: SensorDevice) -> Model:
        """sme_initial_refresh(), by the kernel's task queue."""
        if device.gone:
            return
        yield from self.lock(device)
        yield from self._acquire_locked(device)
        for sensor in list(device.sensors):
            yield from self.refresh(device, sensor)
        self._release_locked(device)
        self.unlock(device)

    @kernel_function("void sysmon_envsys_unregister(struct sysmon_envsys *sme)")
    def sysmon_envsys_unregister(self, address: int) -> Model:
        """Take it out of the list, detach its sensors, wait for its events, and destroy it."""
        kernel = self.kernel
        kernel.rules.may_sleep("sysmon_envsys_unregister")
        device = self.live.find("sysmon_envsys_unregister", address)
        if not device.registered:
            kernel.panic(
                "envsys-not-registered",
                f"sysmon_envsys_unregister by {kernel.where()}: {self._called(device)} is not "
                "registered, and LIST_REMOVE follows a null pointer",
            )
        yield from self._lock_list()
        self.registered.remove(device)
        self._unlock_list()
        device.registered = False
        for sensor in list(device.sensors):
            yield from self.sysmon_envsys_sensor_detach(address, sensor)
        yield from self.events.end(device)
        kernel.trace.emit("envsys.unregister", device=device.name)
        self._destroy(device)

    def _lock_list(self) -> Model:
        """Take the mutex of the list, which the first caller creates (sme_preinit)."""
        if self._global is None:
            self._global = self.kernel.subject(Mutexes).own(self.kernel.symbols[_GLOBAL])
        yield from self.kernel.subject(Mutexes).mutex_enter(self._global.address) or ()

    def _unlock_list(self) -> None:
        assert self._global is not None
        self.kernel.subject(Mutexes).release(self._global)

    @kernel_function(
        "void sysmon_envsys_sensor_event(struct sysmon_envsys *sme, void *edata, int ev_type)"
    )
    def sysmon_envsys_sensor_event(self, address: int, sensor: int, kind: int) -> Model:
        device = self.live.find("sysmon_envsys_sensor_event", address)
        yield from self.lock(device)
        self.events.deliver_all(device, sensor, kind)
        self.unlock(device)

    @kernel_function("int sysmon_envsys_update_limits(struct sysmon_envsys *sme, void *edata)")
    def sysmon_envsys_update_limits(self, address: int, sensor: int) -> Model:
        memory = self.kernel.memory
        device = self.live.find("sysmon_envsys_update_limits", address)
        yield from self._acquire(device)
        limited = memory.u32(sensor + self.sensor.flags) & tables.MON_LIMITS
        error = Errno.EINVAL
        if memory.pointer(address + self.device.get_limits) and limited:
            error = yield from self.events.update_limits(device, sensor)
        yield from self._release(device)
        return error

    @kernel_function(
        "void sysmon_envsys_foreach_sensor(bool (*func)(const void *, const void *, void *), "
        "void *arg, bool refresh)"
    )
    def sysmon_envsys_foreach_sensor(self, function: int, argument: int, refresh: bool) -> Model:
        yield from self._lock_list()
        for device in list(self.registered):
            yield from self._acquire(device)
            for sensor in list(device.sensors):
                if refresh:
                    yield from self._refresh_locked(device, sensor)
                more = yield Call(function, (device.address, sensor, argument))
                if not more & 0xFF:
                    break
            yield from self._release(device)
        self._unlock_list()

    @kernel_function(
        "uint32_t sysmon_envsys_get_max_value(bool (*predicate)(const void *), bool refresh)"
    )
    def sysmon_envsys_get_max_value(self, predicate: int, _refresh: bool) -> Model:
        """Refresh the sensors that the predicate accepts, ignoring ``refresh``:
        sme_get_max_value().
        """
        memory = self.kernel.memory
        most = 0
        yield from self._lock_list()
        for device in list(self.registered):
            yield from self._acquire(device)
            for sensor in list(device.sensors):
                if not (yield Call(predicate, (sensor,))) & 0xFF:
                    continue
                yield from self._refresh_locked(device, sensor)
                most = max(most, memory.u32(sensor + self.sensor.current))
            yield from self._release(device)
        self._unlock_list()
        return most

    def _refresh_locked(self, device: SensorDevice, sensor: int) -> Model:
        yield from self.lock(device)
        yield from self.refresh(device, sensor)
        self.unlock(device)

    # -- tables ------------------------------------------------------------------------------

    def _entry(self, table: int, place: int) -> int:
        """Return the address of a struct sme_descr_entry."""
        memory = self.kernel.memory
        if (table, place) not in self._entries:
            found = tables.TABLES[table][place]
            at = memory.place(bytes(8 + memory.pointer_size))
            memory.put_u32(at, found.type)
            memory.put_u32(at + 4, found.power)
            memory.put_pointer(at + 8, memory.place(found.text.encode("ascii") + b"\0"))
            self._entries[table, place] = at
        return self._entries[table, place]

    @kernel_function("const void *sme_find_table_entry(unsigned table, int key)")
    def sme_find_table_entry(self, table: int, key: int) -> int:
        for place, entry in enumerate(tables.TABLES.get(table, ())):
            if entry.type == key:
                return self._entry(table, place)
        return 0

    @kernel_function("const void *sme_find_table_desc(unsigned table, const char *str)")
    def sme_find_table_desc(self, table: int, text: str | None) -> int:
        for place, entry in enumerate(tables.TABLES.get(table, ())):
            if entry.text == text:
                return self._entry(table, place)
        return 0

    # -- envstat(8) ----------------------------------------------------------------------------

    def envstat(self, name: str) -> Model:
        """Return "DESCRIPTION: VALUE" of each sensor of a device, with commas, or an errno.

        ENVSYS_GETDICTIONARY refreshes the sensors of all devices, with the list locked.
        """
        yield from self._lock_list()
        found: str | int = Errno.ENXIO
        for device in list(self.registered):
            yield from self._acquire(device)
            words, error = [], 0
            for sensor in list(device.sensors):
                yield from self._refresh_locked(device, sensor)
                if self._unprintable(sensor):
                    error = Errno.EINVAL
                    break
                words.append(f"{self.text(sensor)}: {self._printed(sensor)}")
            yield from self._release(device)
            if error:
                found = error
                break
            if device.name == name:
                found = ", ".join(words)
        self._unlock_list()
        return found

    def _printed(self, sensor: int) -> str:
        memory, at = self.kernel.memory, self.sensor
        flags = memory.u32(sensor + at.flags)
        maximum = memory.s32(sensor + at.maximum) if flags & tables.VALID_MAX else 0
        return tables.printed(
            memory.s32(sensor + at.units),
            memory.s32(sensor + at.state),
            signed(memory.u32(sensor + at.current), 32),
            maximum,
            percent=bool(flags & tables.PERCENT),
        )
