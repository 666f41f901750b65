"""callout(9) and timeouts as in kern_timeout.c of 10.99.12, and the ticks that it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/callout.h>
    #include <sys/condvar.h>
    #include <sys/intr.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/systm.h>
    #include <machine/cpu.h>

    bool    callout_expired(callout_t *);
    bool    callout_active(callout_t *);
    bool    callout_invoking(callout_t *);
    void    callout_ack(callout_t *);
    int     getticks(void);

    kmutex_t lock, soft;
    kcondvar_t cv;
    callout_t timer, other, big;
    int fired, halted = -1;
    char order[8];
    int norder;

    static void
    ticked(void *arg)
    {
            fired++;
    }

    static void
    noted(void *arg)
    {
            order[norder++] = *(const char *)arg;
    }

    int
    make(void)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&soft, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            cv_init(&cv, "tried");
            callout_init(&timer, CALLOUT_MPSAFE);
            callout_init(&other, CALLOUT_MPSAFE);
            callout_init(&big, 0);
            callout_setfunc(&timer, ticked, NULL);
            return 0;
    }

    /* A period of INT_MAX seconds, in ticks. */
    static int
    overflown(void)
    {
            volatile int period = 0x7fffffff;

            return (int)((unsigned int)period * 100u);
    }

    int
    schedule_negative(void)
    {
            callout_schedule(&timer, overflown());
            return 0;
    }

    int
    reset_negative(void)
    {
            callout_reset(&timer, -1, ticked, NULL);
            return 0;
    }

    int
    wait_negative(void)
    {
            mutex_enter(&lock);
            return cv_timedwait(&cv, &lock, -1);
    }

    int
    wait_sig_negative(void)
    {
            mutex_enter(&lock);
            return cv_timedwait_sig(&cv, &lock, -1);
    }

    int
    pause_negative(void)
    {
            return kpause("minus", false, -1, NULL);
    }

    int
    init_with_one(void)
    {
            callout_init(&timer, 1);
            return 0;
    }

    int
    halt_without_interlock(void)
    {
            callout_halt(&timer, &soft);
            return 0;
    }

    int
    pause_without_mutex(void)
    {
            kpause("without", false, 1, &soft);
            return 0;
    }

    int
    flags(void)
    {
            return callout_pending(&timer) | callout_expired(&timer) << 1
                | callout_active(&timer) << 2 | callout_invoking(&timer) << 3;
    }

    int
    fire(void)
    {
            callout_schedule(&timer, 1);
            kpause("fire", false, 4, NULL);
            return flags();
    }

    int
    ack(void)
    {
            callout_ack(&timer);
            return flags();
    }

    int
    stop(void)
    {
            return callout_stop(&timer);
    }

    int
    halt(void)
    {
            return callout_halt(&timer, NULL);
    }

    /* A callout halts itself, and another one that is idle. */
    static void
    halts(void *arg)
    {
            halted = callout_halt(&timer, NULL) * 10 + callout_halt(&other, NULL);
    }

    int
    halt_itself(void)
    {
            callout_reset(&timer, 1, halts, NULL);
            kpause("halts", false, 4, NULL);
            return halted;
    }

    static void
    slow(void *arg)
    {
            mutex_enter(&soft);
            fired += 10;
            mutex_exit(&soft);
    }

    int
    halt_running(void)
    {
            int waited;

            mutex_enter(&soft);
            callout_reset(&timer, 1, slow, NULL);
            kpause("slow", false, 10, NULL);
            waited = callout_halt(&timer, &soft);
            mutex_exit(&soft);
            return waited * 100 + fired;
    }

    /* Under KERNEL_LOCK until a callout that needs it has fired: 1 if it ran meanwhile. */
    int
    stop_under_kernel_lock(void)
    {
            int then, before, stopped;

            KERNEL_LOCK(1, NULL);
            callout_reset(&big, 1, ticked, NULL);
            then = getticks();
            while (getticks() < then + 3)
                    DELAY(100);
            before = fired;
            stopped = callout_stop(&big);
            KERNEL_UNLOCK_ONE(NULL);
            kpause("late", false, 4, NULL);
            return stopped * 100 + fired * 10 + before;
    }

    int
    two(void)
    {
            norder = 0;
            callout_reset(&timer, 2, noted, __UNCONST("a"));
            callout_reset(&other, 2, noted, __UNCONST("b"));
            kpause("two", false, 8, NULL);
            return order[0];
    }
"""
_PENDING, _EXPIRED, _ACTIVE, _INVOKING = 1, 2, 4, 8


@pytest.fixture
def code(load: Callable[..., Code]) -> Code:
    """The module, with its callouts."""
    code = load(SOURCE)
    code.call("make")
    return code


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("schedule_negative", "callout-ticks: callout_schedule by schedule_negative"),
        ("reset_negative", "callout-ticks: callout_reset by reset_negative"),
        ("wait_negative", "callout-ticks: cv_timedwait by wait_negative"),
        ("wait_sig_negative", "callout-ticks: cv_timedwait_sig by wait_sig_negative"),
        ("pause_negative", "callout-ticks: kpause by pause_negative"),
        ("init_with_one", "callout-flags: callout_init by init_with_one"),
        ("halt_without_interlock", "callout-interlock: callout_halt by halt_without_interlock"),
        ("pause_without_mutex", "mutex-exit-by-non-owner: kpause by pause_without_mutex"),
    ],
)
def test_diagnostic_kernel_panics_on_misuse(code: Code, function: str, message: str) -> None:
    assert code.panic(function).startswith(message)


def test_ack_clears_invoking_and_keeps_fired(code: Code) -> None:
    assert code.call("fire") == _EXPIRED | _ACTIVE | _INVOKING
    assert code.call("ack") == _EXPIRED | _ACTIVE
    assert code.call("fire") == _EXPIRED | _ACTIVE | _INVOKING


def test_stopping_and_halting_clear_fired(code: Code) -> None:
    code.call("fire")
    assert (code.call("stop"), code.call("flags"), code.call("stop")) == (1, _INVOKING, 0)
    code.call("fire")
    assert (code.call("halt"), code.call("flags")) == (0, _INVOKING)


def test_callout_halt_returns_whether_it_waited(code: Code) -> None:
    assert code.call("halt_running") == 100 + 10
    assert code.violations() == []


def test_callout_may_halt_itself_and_idle_callout(code: Code) -> None:
    assert code.call("halt_itself") == 0
    assert code.violations() == []


def test_fired_callout_runs_despite_stop_with_kernel_lock(
    load: Callable[..., Code],
) -> None:
    """On the holder's own processor it runs at once, on another one when the lock is free."""
    seen = set()
    for seed in range(12):
        code = load(SOURCE, seed=seed)
        code.call("make")
        seen.add(code.call("stop_under_kernel_lock"))
    assert seen == {100 + 10 + 1, 100 + 10}


def test_callouts_of_one_tick_are_unordered(load: Callable[..., Code]) -> None:
    seen = set()
    for seed in range(12):
        code = load(SOURCE, seed=seed)
        code.call("make")
        seen.add(chr(code.call("two")))
    assert seen == {"a", "b"}
