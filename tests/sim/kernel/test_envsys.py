"""sysmon_envsys(9): sensors, envstat's output, limits, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel import envtables as tables
from vmtsim.kernel.console import Console
from vmtsim.kernel.envsys import Envsys
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.sysmon import SysmonPower

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/errno.h>
    #include <sys/kmem.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/systm.h>

    #include <dev/sysmon/sysmonvar.h>

    void sysmon_envsys_foreach_sensor(bool (*)(const struct sysmon_envsys *,
        const envsys_data_t *, void *), void *, bool);
    uint32_t sysmon_envsys_get_max_value(bool (*)(const envsys_data_t *), bool);

    static struct sysmon_envsys *sme;
    static envsys_data_t sensors[3], *allocated;
    static kmutex_t lock;
    int refreshed, keep, limit = 50, value = 21, state = ENVSYS_SVALID, given;

    static void
    refresh(struct sysmon_envsys *device, envsys_data_t *sensor)
    {
            refreshed++;
            if (keep == 1)
                    mutex_enter(&lock);
            if (keep == 2)
                    sysmon_envsys_sensor_attach(device, &sensors[2]);
            sensor->value_cur = value + (int)sensor->sensor;
            if (sensor->units == ENVSYS_STEMP)
                    sensor->value_cur = value * 1000000 + 273150000;
            sensor->state = state;
    }

    static void
    get_limits(struct sysmon_envsys *device, envsys_data_t *sensor,
        sysmon_envsys_lim_t *limits, uint32_t *props)
    {
            limits->sel_critmax = limit;
            *props = PROP_CRITMAX;
    }

    static void
    set_limits(struct sysmon_envsys *device, envsys_data_t *sensor,
        sysmon_envsys_lim_t *limits, uint32_t *props)
    {
            given = limits->sel_critmax;
    }

    int
    create(void)
    {
            sme = sysmon_envsys_create();
            return 0;
    }

    int
    sensor(int which, int units, int flags)
    {
            sensors[which].units = units;
            sensors[which].flags = flags;
            sensors[which].state = ENVSYS_SINVALID;
            strlcpy(sensors[which].desc, which == 0 ? "first" : which == 1 ? "second" : "third",
                sizeof(sensors[which].desc));
            return sysmon_envsys_sensor_attach(sme, &sensors[which]);
    }

    int
    unnamed(void)
    {
            return sysmon_envsys_sensor_attach(sme, &sensors[2]);
    }

    int
    again(void)
    {
            return sysmon_envsys_sensor_attach(sme, &sensors[0]);
    }

    int
    with_limits(int set)
    {
            sme->sme_get_limits = get_limits;
            sme->sme_set_limits = set ? set_limits : NULL;
            return 0;
    }

    int
    enter(int refreshes)
    {
            sme->sme_name = "test";
            sme->sme_refresh = refreshes ? refresh : NULL;
            return sysmon_envsys_register(sme);
    }

    int
    enter_without_name(void)
    {
            return sysmon_envsys_register(sme);
    }

    int
    leave(void)
    {
            sysmon_envsys_unregister(sme);
            return 0;
    }

    int
    destroy(void)
    {
            sysmon_envsys_destroy(sme);
            return 0;
    }

    int
    take_away(int which)
    {
            return sysmon_envsys_sensor_detach(sme, &sensors[which]);
    }

    static bool
    any(const envsys_data_t *sensor)
    {
            return true;
    }

    int
    highest(int refreshes)
    {
            return (int)sysmon_envsys_get_max_value(any, refreshes);
    }

    static bool
    slow(const struct sysmon_envsys *device, const envsys_data_t *sensor, void *arg)
    {
            kpause("slow", false, hz / 2, NULL);
            return true;
    }

    int
    each(void)
    {
            sysmon_envsys_foreach_sensor(slow, NULL, true);
            return 0;
    }

    int
    count(void)
    {
            envsys_data_t *sensor;
            int found = 0;

            for (sensor = sme->sme_sensors_list.tqh_first; sensor != NULL;
                sensor = sensor->sensors_head.tqe_next)
                    found = found * 10 + (int)sensor->sensor + 1;
            return found;
    }

    int
    keeps(int what)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            keep = what;
            return 0;
    }

    int
    sets(int to, int with)
    {
            value = to;
            state = with;
            return 0;
    }

    int
    frees(void)
    {
            allocated = kmem_zalloc(sizeof(*allocated), KM_SLEEP);
            allocated->units = ENVSYS_INTEGER;
            strlcpy(allocated->desc, "on the heap", sizeof(allocated->desc));
            sysmon_envsys_sensor_attach(sme, allocated);
            kmem_free(allocated, sizeof(*allocated));
            return 0;
    }
"""
TEMPERATURE, FAN, INDICATOR, INTEGER, DRIVE = 0, 1, 9, 10, 11
CRITICAL, LIMITS, STATE, ENTROPY = 0x20, 0x40, 0x400, 0x2000


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


@pytest.fixture
def one(load: Any) -> Code:
    loaded = load(SOURCE)
    loaded.call("create")
    return loaded


def test_layouts_match_header(load: Any) -> None:
    """gen/kpi's header is compared with NetBSD's own in tests/gen/module/test_kpi.py."""
    sensor = "sensor units state flags value_cur value_prev value_max value_min limits upropset "
    sensor += "rnd_src desc"
    device = "sme_name sme_nsensors sme_fsensor sme_flags sme_cookie sme_refresh sme_set_limits "
    device += "sme_get_limits sme_events_timeout sme_sensors_list sme_mtx"
    asked = [f"offsetof(envsys_data_t, {name})" for name in sensor.split()]
    asked += [f"offsetof(struct sysmon_envsys, {name})" for name in device.split()]
    asked += ["sizeof(envsys_data_t)", "sizeof(struct sysmon_envsys)"]
    for machine in MACHINES:
        code = load(
            "#include <sys/param.h>\n#include <sys/stddef.h>\n#include <dev/sysmon/sysmonvar.h>\n"
            f"int found[] = {{ {', '.join(f'(int){each}' for each in asked)} }};\n"
            "int one(void);\nint one(void) { return found[0]; }\n",
            machine,
        )
        at = code.address("found")
        found = [code.kernel.memory.u32(at + 4 * index) for index in range(len(asked))]
        word = code.kernel.memory.pointer_size
        s, d = tables.SensorFields(word), tables.DeviceFields(word)
        assert found == [
            s.number, s.units, s.state, s.flags, s.current, s.previous, s.maximum, s.minimum,
            s.limits, s.properties, s.source, s.description,
            d.name, d.sensors, d.first, d.flags, d.cookie, d.refresh, d.set_limits,
            d.get_limits, d.timeout, d.list, d.mutex, s.size, d.size,
        ]  # fmt: skip


def envstat(code: Code, name: str = "test") -> Any:
    return code.kernel.run_process("envstat", code.kernel.subject(Envsys).envstat(name))


def test_sensors_are_refreshed_and_printed(code: Code) -> None:
    code.call("create")
    assert code.call("sensor", 0, TEMPERATURE, 0) == 0
    assert code.call("sensor", 1, INTEGER, 0) == 0
    assert code.call("enter", 1) == 0
    assert code.call("count") == 12
    assert envstat(code) == "first: 21.000 degC, second: 22 none"
    code.call("sets", 5, 11)
    assert envstat(code) == "first: N/A, second: N/A"
    assert envstat(code, "other") == Errno.ENXIO
    code.call("leave")
    assert envstat(code) == Errno.ENXIO
    assert code.unload() == []


@pytest.mark.parametrize(
    ("value", "state", "printed"), [(22, 10, "first: 22 RPM"), (1, 99, Errno.EINVAL)]
)
def test_unknown_sensor_state_is_an_error(one: Code, value: int, state: int, printed: Any) -> None:
    one.call("sensor", 0, FAN, 0)
    one.call("enter", 1)
    one.call("sets", value, state)
    assert envstat(one) == printed


def test_invalid_sensor_or_device_is_refused(code: Code) -> None:
    code.call("create")
    assert code.call("enter", 1) == Errno.ENOTSUP
    assert code.call("sensor", 0, 17, 0) == Errno.EINVAL
    assert code.call("unnamed") == Errno.EINVAL
    assert code.call("sensor", 0, INTEGER, 0) == 0
    assert code.call("again") == Errno.EEXIST
    assert code.call("enter", 0) == Errno.EINVAL
    assert code.call("enter", 1) == 0
    assert code.call("enter", 1) == Errno.EEXIST
    assert code.call("take_away", 0) == 0
    assert code.call("take_away", 1) == Errno.EINVAL
    assert code.call("count") == 0
    code.call("leave")


def test_limit_raises_one_event_and_its_end_another(one: Code) -> None:
    one.call("sensor", 0, INTEGER, LIMITS)
    one.call("with_limits", 1)
    one.call("enter", 1)
    power = one.kernel.subject(SysmonPower)
    power.open()
    one.kernel.run_for(40 * 10**9)
    assert one.number("given") == 50
    assert not power.waiting
    one.call("sets", 60, 10)
    one.kernel.run_for(95 * 10**9)
    one.call("sets", 40, 10)
    one.kernel.run_for(40 * 10**9)
    found = [power.take() for _ in range(2)]
    assert [each["powerd-event-name"] for each in found] == ["critical-over", "normal"]
    assert found[0]["sensor-name"] == "first"
    assert found[0]["powerd-script-name"] == "sensor_indicator"
    assert not power.waiting
    one.call("leave")
    assert one.unload() == []


def test_sensor_is_detached_while_device_is_read(one: Code) -> None:
    for which in range(3):
        one.call("sensor", which, INTEGER, 0)
    one.call("enter", 1)
    looking = one.start("each")
    one.kernel.run_for(10**8)
    taking = one.start("take_away", 2)
    one.kernel.run_for(3 * 10**9)
    one.finish(looking, taking)
    assert (taking.result, one.call("count")) == (0, 12)


def test_doubly_watched_sensor_is_refreshed_once(one: Code) -> None:
    one.call("sensor", 0, INTEGER, CRITICAL | LIMITS)
    one.call("with_limits", 0)
    one.call("enter", 1)
    one.kernel.run_for(31 * 10**9)
    assert one.number("refreshed") == 1


def test_maximum_value_is_always_reported(one: Code) -> None:
    one.call("sensor", 0, INTEGER, 0)
    one.call("enter", 1)
    assert one.call("highest", 0) == 21
    assert one.number("refreshed") == 1


def test_indicator_with_limits_raises_no_event_and_logs(one: Code) -> None:
    one.call("sensor", 0, INDICATOR, LIMITS)
    one.call("with_limits", 0)
    one.call("enter", 1)
    one.kernel.run_for(10**9)
    lines = [line.text for line in one.kernel.subject(Console).lines]
    assert ("sme_event_drvadd: failed to add event! error=86 sensor=first event=hw-range-limits"
            in lines)  # fmt: skip


def test_without_powerd_console_shows_event(one: Code) -> None:
    one.call("sensor", 0, TEMPERATURE, CRITICAL)
    one.call("enter", 1)
    one.call("sets", 99, 12)
    one.kernel.run_for(40 * 10**9)
    lines = [line.text for line in one.kernel.subject(Console).lines]
    assert "test: critical limit on 'first'" in lines


@pytest.mark.parametrize(
    ("calls", "rule"),
    [
        ([("leave",)], "envsys-not-registered"),
        ([("sensor", 0, INTEGER, 0), ("enter", 1), ("destroy",)], "envsys-destroy-registered"),
        ([("sensor", 0, INTEGER, 0), ("enter", 1), ("leave",), ("again",)], "use-after-free"),
        ([("destroy",), ("destroy",)], "use-after-free"),
        ([("sensor", 0, INTEGER, 0), ("take_away", 1)], "envsys-sensor-unknown"),
        ([("frees",)], "envsys-sensor-freed"),
        ([("sensor", 0, INTEGER, 0), ("enter_without_name",)], "null-pointer"),
    ],
)
def test_rule_violation_panics(one: Code, calls: list[Any], rule: str) -> None:
    for call in calls[:-1]:
        one.call(*call)
    if rule == "use-after-free":
        with pytest.raises(Exception, match=r"freed|destroyed"):
            one.call(*calls[-1])
    else:
        assert one.panic(*calls[-1]).startswith(rule + ":")


def test_uncreated_device_is_invalid(load: Any) -> None:
    code = load(
        """
        #include <dev/sysmon/sysmonvar.h>
        static struct sysmon_envsys mine;

        int
        leave(void)
        {
                sysmon_envsys_unregister(&mine);
                return 0;
        }
        """
    )
    assert code.panic("leave").startswith("envsys-unknown:")


@pytest.mark.parametrize(("what", "rule"), [(1, "envsys-refresh-lock"), (2, "mutex-double-enter")])
def test_refresh_function_must_release_locks_and_not_take_devices(
    one: Code, what: int, rule: str
) -> None:
    one.call("sensor", 0, INTEGER, 0)
    one.call("sensor", 2, INTEGER, 0)
    one.call("enter", 1)
    one.call("take_away", 2)
    one.call("keeps", what)
    with pytest.raises(Exception, match=r"returned with the mutex|locking against myself") as seen:
        envstat(one)
    assert seen.value.rule == rule


def test_only_drives_and_similar_have_watched_states(one: Code) -> None:
    one.call("sensor", 0, TEMPERATURE, STATE)
    one.call("enter", 1)
    with pytest.raises(Exception, match="only drives") as seen:
        one.kernel.run_for(10**9)
    assert seen.value.rule == "envsys-state-units"


def test_drive_state_outside_table_gives_null_pointer(one: Code) -> None:
    one.call("sensor", 0, DRIVE, STATE)
    one.call("enter", 1)
    one.call("sets", 77, 10)
    with pytest.raises(Exception, match="lacks") as seen:
        one.kernel.run_for(40 * 10**9)
    assert seen.value.rule == "null-pointer"


def test_device_left_by_module_is_reported(one: Code) -> None:
    one.call("sensor", 0, INTEGER, 0)
    one.call("enter", 1)
    (left,) = one.unload()
    assert left.startswith("envsys-left: module tried is unloaded, but the sysmon_envsys 'test'")
