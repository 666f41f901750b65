"""Sensors of sysmon_envsys(9) as values: layouts, units, states, and how envstat(8) prints them.

The layouts are those of sys/dev/sysmon/sysmonvar.h, by the size of a word; the tables are those of
sys/dev/sysmon/sysmon_envsys_tables.c, in its order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

# sys/sys/envsys.h
TEMPERATURE, FAN, VOLTS_AC, VOLTS_DC, OHMS, WATTS, AMPS, WATT_HOUR, AMP_HOUR = range(9)
INDICATOR, INTEGER, DRIVE, CAPACITY, CHARGE, HUMIDITY, LUX, PRESSURE = range(9, 17)
VALID, INVALID, CRITICAL, CRIT_UNDER, CRIT_OVER, WARN_UNDER, WARN_OVER = range(10, 17)
# sys/sys/power.h
TYPE_TEMPERATURE, TYPE_VOLTAGE, TYPE_POWER, TYPE_RESISTANCE, TYPE_BATTERY, TYPE_FAN = range(10, 16)
TYPE_DRIVE, TYPE_INDICATOR = 16, 17
# Flags of a sensor, of its limits, and of the device (sysmonvar.h).
PERCENT, VALID_MAX, VALID_MIN = 0x1, 0x2, 0x4
MON_CRITICAL, MON_LIMITS, MON_STATE, HAS_ENTROPY = 0x20, 0x40, 0x400, 0x2000
MONITORED = MON_CRITICAL | MON_LIMITS | MON_STATE | HAS_ENTROPY
CRIT_MAX, CRIT_MIN, WARN_MAX, WARN_MIN = 0x1, 0x2, 0x4, 0x8
DRIVER_LIMITS = 0x8000
DISABLE_REFRESH, INIT_REFRESH = 0x2, 0x8
DESCRIPTION = 32  # ENVSYS_DESCLEN

_SIZE_OF_SOURCE = {8: 184, 4: 144}  # sizeof(krndsource_t)


class SensorFields:
    """Offsets of struct envsys_data."""

    def __init__(self, word: int) -> None:
        self.number = 2 * word
        self.units = self.number + 4
        self.state = self.number + 8
        self.flags = self.number + 12
        self.current = self.number + 24
        self.previous = self.number + 28
        self.maximum = self.number + 32
        self.minimum = self.number + 36
        self.limits = self.number + 44  # critmax, warnmax, warnmin, critmin
        self.properties = self.number + 60
        self.source = self.number + 64
        self.description = self.source + _SIZE_OF_SOURCE[word]
        self.size = self.description + DESCRIPTION


class DeviceFields:
    """Offsets of struct sysmon_envsys."""

    def __init__(self, word: int) -> None:
        self.name = 0
        self.sensors = word
        self.first = word + 4
        self.flags = word + 12
        self.cookie = word + 16
        self.refresh = self.cookie + word
        self.set_limits = self.cookie + 2 * word
        self.get_limits = self.cookie + 3 * word
        self.timeout = 152 if word == 8 else 84
        self.list = 184 if word == 8 else 104
        self.mutex = 208 if word == 8 else 116
        self.size = 240 if word == 8 else 132


@dataclass(frozen=True, slots=True)
class Entry:
    """A struct sme_descr_entry: a number, the kind of its power events (-1: none), and its name."""

    type: int
    power: int
    text: str


def _plain(*pairs: tuple[int, str]) -> tuple[Entry, ...]:
    return tuple(Entry(number, -1, text) for number, text in pairs)


UNITS = (
    Entry(TEMPERATURE, TYPE_TEMPERATURE, "Temperature"),
    Entry(FAN, TYPE_FAN, "Fan"),
    Entry(VOLTS_AC, TYPE_VOLTAGE, "Voltage AC"),
    Entry(VOLTS_DC, TYPE_VOLTAGE, "Voltage DC"),
    Entry(OHMS, TYPE_RESISTANCE, "Ohms"),
    Entry(WATTS, TYPE_POWER, "Watts"),
    Entry(AMPS, TYPE_POWER, "Ampere"),
    Entry(WATT_HOUR, TYPE_BATTERY, "Watt hour"),
    Entry(AMP_HOUR, TYPE_BATTERY, "Ampere hour"),
    Entry(INDICATOR, TYPE_INDICATOR, "Indicator"),
    Entry(INTEGER, TYPE_INDICATOR, "Integer"),
    Entry(DRIVE, TYPE_DRIVE, "Drive"),
    Entry(CAPACITY, TYPE_BATTERY, "Battery capacity"),
    *_plain(
        (CHARGE, "Battery charge"),
        (HUMIDITY, "relative Humidity"),
        (LUX, "Illuminance"),
        (PRESSURE, "pressure"),
    ),
)
STATES = _plain(
    (VALID, "valid"),
    (INVALID, "invalid"),
    (CRITICAL, "critical"),
    (CRIT_UNDER, "critical-under"),
    (CRIT_OVER, "critical-over"),
    (WARN_UNDER, "warning-under"),
    (WARN_OVER, "warning-over"),
)
DRIVES = _plain(
    (1, "unknown"), (2, "ready"), (3, "powering up"), (4, "online"), (12, "offline"), (5, "idle"),
    (6, "active"), (13, "building"), (7, "rebuilding"), (8, "powering down"), (9, "failed"),
    (10, "degraded"), (11, "migrating"), (14, "checking"),
)  # fmt: skip
CAPACITIES = _plain((1, "NORMAL"), (2, "WARNING"), (3, "CRITICAL"), (6, "LOW"))
INDICATORS = _plain((0, "FALSE"), (1, "TRUE"))
# enum sme_descr_type
TABLES = {1: UNITS, 2: STATES, 3: DRIVES, 4: CAPACITIES, 5: INDICATORS}


def entry_of(table: tuple[Entry, ...], number: int) -> Entry | None:
    """Return the entry with that number (sme_find_table_entry)."""
    return next((each for each in table if each.type == number), None)


def _named(table: tuple[Entry, ...], value: int) -> str:
    found = entry_of(table, value)
    return "?" if found is None else found.text


def _scaled(unit: str) -> Callable[[int], str]:
    return lambda value: f"{value / 1e6:.3f} {unit}"


# envstat's format of the current value: print_sensors() in usr.sbin/envstat/envstat.c.
_PRINTED: dict[int, Callable[[int], str]] = {
    TEMPERATURE: lambda value: f"{(value & 0xFFFFFFFF) / 1e6 - 273.15:.3f} degC",
    FAN: lambda value: f"{value & 0xFFFFFFFF} RPM",
    INDICATOR: lambda value: "TRUE" if value else "FALSE",
    CHARGE: lambda value: "TRUE" if value else "FALSE",
    INTEGER: lambda value: f"{value} none",
    DRIVE: lambda value: _named(DRIVES, value),
    CAPACITY: lambda value: _named(CAPACITIES, value),
    LUX: lambda value: f"{value & 0xFFFFFFFF} lux",
    VOLTS_DC: _scaled("V"),
    VOLTS_AC: _scaled("VAC"),
    AMPS: _scaled("A"),
    WATTS: _scaled("W"),
    OHMS: _scaled("Ohms"),
    WATT_HOUR: _scaled("Wh"),
    AMP_HOUR: _scaled("Ah"),
    HUMIDITY: _scaled("%rH"),
}


def printed(units: int, state: int, value: int, maximum: int, *, percent: bool) -> str:
    """Return envstat's output for a sensor; ``value`` and ``maximum`` as the driver set them."""
    if state == INVALID:
        return "N/A"
    text = _PRINTED.get(units, _scaled("?"))(value)
    scaled = units not in {TEMPERATURE, FAN, INDICATOR, CHARGE, INTEGER, DRIVE, CAPACITY, LUX}
    return f"{text} ({value * 100 / maximum:5.2f}%)" if percent and maximum and scaled else text
