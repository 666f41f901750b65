"""Pseudo-devices that attach themselves, their watchdogs, and every misuse of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno, Halted
from vmtsim.kernel.sysmon import RB_POWERDOWN, SysmonPower
from vmtsim.kernel.watchdog import Watchdogs

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/device.h>
    #include <sys/errno.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/systm.h>

    #include <dev/sysmon/sysmonvar.h>

    struct soft {
            struct sysmon_wdog watchdog;
            device_t self;
    };
    int modes, tickles, refuses, stays, keeps, last_period, detached;
    static kmutex_t lock;
    static device_t device;

    static int
    set_mode(struct sysmon_wdog *w)
    {
            modes = modes * 10 + w->smw_mode + 1;
            last_period = (int)w->smw_period;
            if (w->smw_period == WDOG_PERIOD_DEFAULT)
                    w->smw_period = 60;
            return refuses ? EIO : 0;
    }

    static int
    tickle(struct sysmon_wdog *w)
    {
            tickles++;
            if (keeps == 1)
                    mutex_enter(&lock);
            if (keeps == 2)
                    kpause("dog", false, 1, NULL);
            return refuses ? EIO : 0;
    }

    static int
    dog_match(device_t parent, cfdata_t data, void *aux)
    {
            return 1;
    }

    static void
    dog_attach(device_t parent, device_t self, void *aux)
    {
            struct soft *sc = device_private(self);

            sc->self = self;
            sc->watchdog.smw_name = device_xname(self);
            sc->watchdog.smw_setmode = set_mode;
            sc->watchdog.smw_tickle = tickle;
            sc->watchdog.smw_period = 60;
            if (parent != NULL || aux != NULL)
                    panic("not a pseudo-device");
            sysmon_wdog_register(&sc->watchdog);
    }

    static int
    dog_detach(device_t self, int flags)
    {
            struct soft *sc = device_private(self);

            detached = flags + 1;
            if (stays)
                    return EBUSY;
            return sysmon_wdog_unregister(&sc->watchdog);
    }

    CFDRIVER_DECL(dog, DV_DULL, NULL);
    CFATTACH_DECL_NEW(dog, sizeof(struct soft), dog_match, dog_attach, dog_detach, NULL);
    static struct cfdata data = { .cf_name = "dog", .cf_atname = "dog", .cf_fstate = FSTATE_STAR };

    int
    driver(void)
    {
            return config_cfdriver_attach(&dog_cd);
    }

    int
    attachment(void)
    {
            int error;

            KERNEL_LOCK(1, NULL);
            error = config_cfattach_attach("dog", &dog_ca);
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    int
    attach(int locked)
    {
            if (locked)
                    KERNEL_LOCK(1, NULL);
            device = config_attach_pseudo(&data);
            if (locked)
                    KERNEL_UNLOCK_ONE(NULL);
            return device == NULL;
    }

    int
    detach(int flags)
    {
            int error;

            KERNEL_LOCK(1, NULL);
            error = config_detach(device, flags);
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    int
    detach_unlocked(void)
    {
            return config_detach(device, 0);
    }

    int
    one_unit(void)
    {
            data.cf_fstate = FSTATE_NOTFOUND;
            return 0;
    }

    int
    keep(int what)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            keeps = what;
            return 0;
    }

    int
    no_driver(void)
    {
            return config_cfdriver_detach(&dog_cd);
    }

    int
    no_attachment(void)
    {
            int error;

            KERNEL_LOCK(1, NULL);
            error = config_cfattach_detach("dog", &dog_ca);
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    static struct sysmon_wdog other;

    int
    unknown(void)
    {
            other.smw_name = "other";
            return sysmon_wdog_unregister(&other);
    }

    int
    same_name(void)
    {
            other.smw_name = "dog0";
            return sysmon_wdog_register(&other);
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


@pytest.fixture
def dog(load: Any) -> Code:
    loaded = load(SOURCE)
    assert loaded.call("driver") == loaded.call("attachment") == loaded.call("attach", 1) == 0
    return loaded


def control(code: Code, mode: str, period: int | None = None, name: str = "dog0") -> Any:
    watchdogs = code.kernel.subject(Watchdogs)
    return code.kernel.run_process("wdogctl", watchdogs.control(name, mode, period))


def test_pseudo_device_attaches_and_detaches(code: Code) -> None:
    assert code.call("driver") == 0
    assert code.call("driver") == Errno.EEXIST
    assert code.call("attachment") == 0
    assert code.call("attach", 1) == 0
    assert code.kernel.subject(AllDevices).find("dog0") is not None
    assert not any("dog0 at" in line.text for line in code.kernel.subject(Console).lines)
    assert code.call("no_driver") == code.call("no_attachment") == Errno.EBUSY
    assert code.call("detach", 1) == 0
    assert code.number("detached") == 2
    assert code.call("no_driver") == Errno.EBUSY
    assert code.call("no_attachment") == code.call("no_driver") == 0
    assert code.unload() == []


def test_armed_watchdog_is_disarmed_at_shutdown(dog: Code) -> None:
    assert control(dog, "user", 7) == 0
    with pytest.raises(Halted):
        dog.kernel.run_process("shutdown", dog.kernel.subject(SysmonPower).reboot(RB_POWERDOWN))
    assert dog.number("modes") == 31
    assert dog.number("last_period") == 7


def test_failed_watchdog_disarm_is_logged(dog: Code) -> None:
    assert control(dog, "user", 7) == 0
    dog.kernel.memory.put_u32(dog.address("refuses"), 1)
    with pytest.raises(Halted):
        dog.kernel.run_process("shutdown", dog.kernel.subject(SysmonPower).reboot(RB_POWERDOWN))
    last = dog.kernel.subject(Console).lines[-1].text
    assert last == "WARNING: FAILED TO SHUTDOWN WATCHDOG dog0!"


def test_watchdog_is_armed_tickled_and_disarmed(code: Code) -> None:
    assert code.call("driver") == code.call("attachment") == code.call("attach", 1) == 0
    assert code.call("same_name") == Errno.EEXIST
    assert control(code, "tickle") == Errno.ESRCH
    assert control(code, "user", name="cat0") == Errno.ESRCH
    assert control(code, "disarm") == Errno.EINVAL
    assert control(code, "user", 7) == 0
    assert code.number("last_period") == 7
    assert control(code, "external") == Errno.EBUSY
    assert control(code, "tickle") == 0
    assert code.number("tickles") == 1
    assert control(code, "disarm") == 0
    assert code.number("modes") == 31
    assert control(code, "external") == 0
    assert code.number("last_period") == -1
    assert control(code, "disarm") == 0
    assert code.call("detach", 0) == 0


def test_kernel_tickles_twice_per_period(dog: Code) -> None:
    assert control(dog, "kernel", 10) == 0
    dog.kernel.run_for(26 * 10**9)
    assert dog.number("tickles") == 5
    dog.kernel.memory.put_u32(dog.address("refuses"), 1)
    dog.kernel.run_for(5 * 10**9)
    lines = [line.text for line in dog.kernel.subject(Console).lines]
    assert "WARNING: KERNEL TICKLE OF WATCHDOG dog0 FAILED!" in lines
    assert control(dog, "disarm") == Errno.EIO


def test_armed_watchdog_is_unregistered_when_disarmed(dog: Code) -> None:
    assert control(dog, "user", 10) == 0
    detaching = dog.start("detach", 0)
    dog.kernel.run_for(10**9)
    assert detaching.state == "asleep"
    assert control(dog, "disarm") == 0
    dog.finish(detaching)
    assert detaching.result == 0


def test_leftover_or_unknown_watchdog_is_reported(dog: Code) -> None:
    assert dog.panic("unknown").startswith("wdog-unknown:")


def test_registered_watchdog_at_unload_is_reported(dog: Code) -> None:
    left = dog.unload()
    assert any(each.startswith("wdog-left: module tried is unloaded, but the watchdog 'dog0'")
               for each in left)  # fmt: skip


def test_pseudo_device_without_attachment_is_refused(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("attach", 1) == 1
    code.call("driver")
    assert code.call("attach", 1) == 1


def test_pseudo_device_needs_kernel_lock(load: Any) -> None:
    code = load(SOURCE)
    code.call("driver")
    code.call("attachment")
    code.call("attach", 0)
    code.call("detach_unlocked")
    assert [each.partition(":")[0] for each in code.violations()] == ["kernel-lock"] * 2


def test_unit_is_unique_and_state_survives_detach(load: Any) -> None:
    code = load(SOURCE)
    code.call("driver")
    code.call("attachment")
    code.call("one_unit")
    assert code.call("attach", 1) == 0
    device = code.kernel.subject(AllDevices).find("dog0")
    assert code.call("attach", 1) == 1
    assert code.kernel.subject(AllDevices).find("dog0") is device
    code.kernel.memory.put_pointer(code.address("device"), device.address)
    assert code.call("detach", 2) == 0
    assert not any("detached" in line.text for line in code.kernel.subject(Console).lines)
    assert code.panic("attach", 1).startswith("pseudo-state:")


def test_forced_detach_is_not_refused(dog: Code) -> None:
    dog.kernel.memory.put_u32(dog.address("stays"), 1)
    assert dog.call("detach", 0) == Errno.EBUSY
    assert dog.panic("detach", 1).startswith("detach-forced:")


@pytest.mark.parametrize(("what", "rule"), [(1, "callback-with-mutex"), (2, "sleep-in-softint")])
def test_kernel_tickle_is_a_callout(dog: Code, what: int, rule: str) -> None:
    assert control(dog, "kernel", 10) == 0
    dog.call("keep", what)
    with pytest.raises(Exception, match=r"returned with|soft interrupt") as seen:
        dog.kernel.run_for(6 * 10**9)
    assert seen.value.rule == rule


def test_unattached_driver_is_not_detached(load: Any) -> None:
    assert load(SOURCE).panic("no_driver").startswith("cfdriver-not-attached:")
