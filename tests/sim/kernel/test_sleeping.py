"""Condition variables, mutexes, the kernel lock, callouts: allowed operations and misuse."""

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
    #include <sys/kmem.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/systm.h>

    int     mutex_tryenter(kmutex_t *);
    bool    cv_has_waiters(kcondvar_t *);
    bool    callout_expired(callout_t *);
    bool    callout_active(callout_t *);
    bool    callout_invoking(callout_t *);
    void    callout_ack(callout_t *);
    void    *kmem_intr_alloc(size_t, km_flag_t);
    void    *kmem_intr_zalloc(size_t, km_flag_t);
    void    kmem_intr_free(void *, size_t);
    char    *kmem_strdupsize(const char *, size_t *, km_flag_t);
    void    kmem_strfree(char *);

    struct both {
            kcondvar_t cv;
            callout_t timer;
    };
    int     splraise(int);
    void    spllower(int);
    bool    kpreempt_disabled(void);
    void    kpreempt_disable(void);
    void    kpreempt_enable(void);

    kmutex_t lock, other, soft, spin;
    kcondvar_t cv;
    callout_t timer;
    struct both *both;
    int fired, seen;

    static void
    ticked(void *arg)
    {
            fired++;
            seen = callout_invoking(&timer);
    }

    int
    make(void)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&other, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&soft, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
            cv_init(&cv, "tried");
            callout_init(&timer, CALLOUT_MPSAFE);
            return 0;
    }

    int
    wait_with(kmutex_t *with)
    {
            int error;

            mutex_enter(with);
            error = cv_timedwait(&cv, with, 50);
            mutex_exit(with);
            return error;
    }

    int
    wait(void)
    {
            return wait_with(&lock);
    }

    int
    wait_other(void)
    {
            return wait_with(&other);
    }

    int
    hold(void)
    {
            mutex_enter(&lock);
            kpause("hold", false, 20, NULL);
            mutex_exit(&lock);
            return 0;
    }

    int
    hold_giving_up(void)
    {
            int error;

            mutex_enter(&lock);
            error = kpause("hold", false, 20, &lock);
            error += mutex_owned(&lock) ? 0 : 1000;
            mutex_exit(&lock);
            return error;
    }

    int
    try(void)
    {
            if (!mutex_tryenter(&lock))
                    return 0;
            mutex_exit(&lock);
            return 1;
    }

    int
    enter(void)
    {
            mutex_enter(&lock);
            mutex_exit(&lock);
            return 0;
    }

    int
    waiters(void)
    {
            return cv_has_waiters(&cv);
    }

    int
    wake_without(void)
    {
            cv_signal(&cv);
            return 0;
    }

    int
    init_again(void)
    {
            cv_init(&cv, "tried");
            return 0;
    }

    int
    init_without_message(void)
    {
            kcondvar_t more;

            cv_init(&more, NULL);
            return 0;
    }

    int
    destroy_waited_on(void)
    {
            mutex_destroy(&lock);
            return 0;
    }

    int
    sleep_with_spin(void)
    {
            mutex_enter(&spin);
            mutex_enter(&lock);
            return 0;
    }

    int
    pause_without_timeout(void)
    {
            kpause("pause", false, 0, NULL);
            return 0;
    }

    int
    wait_in_memory(void)
    {
            both = kmem_zalloc(sizeof(*both), KM_SLEEP);
            cv_init(&both->cv, "memory");
            mutex_enter(&other);
            cv_wait(&both->cv, &other);
            return 0;
    }

    int
    free_it(void)
    {
            kmem_free(both, sizeof(*both));
            return 0;
    }

    int
    free_unused(void)
    {
            both = kmem_zalloc(sizeof(*both), KM_SLEEP);
            cv_init(&both->cv, "memory");
            kmem_free(both, sizeof(*both));
            return 0;
    }

    int
    free_with_callout(void)
    {
            both = kmem_zalloc(sizeof(*both), KM_SLEEP);
            callout_init(&both->timer, CALLOUT_MPSAFE);
            callout_reset(&both->timer, 5, ticked, NULL);
            kmem_free(both, sizeof(*both));
            return 0;
    }

    /* Bits: pending, expired, active. */
    static int
    state(void)
    {
            return callout_pending(&timer) | callout_expired(&timer) << 1
                | callout_active(&timer) << 2;
    }

    int
    run_callout(void)
    {
            int states;

            states = state();
            callout_reset(&timer, 5, ticked, NULL);
            states = states * 10 + state();
            kpause("tick", false, 20, NULL);
            states = states * 10 + state();
            callout_ack(&timer);
            states = states * 10 + state();
            return states;
    }

    static void
    slow(void *arg)
    {
            mutex_enter(&soft);
            fired += 10;
            mutex_exit(&soft);
    }

    /* The callout waits for the mutex that halting it gives up. */
    int
    halt_running(void)
    {
            mutex_enter(&soft);
            callout_reset(&timer, 1, slow, NULL);
            kpause("slow", false, 10, NULL);
            if (!callout_invoking(&timer) || fired != 0)
                    return -1;
            callout_halt(&timer, &soft);
            if (!mutex_owned(&soft))
                    return -2;
            mutex_exit(&soft);
            return fired;
    }

    int
    levels(void)
    {
            int first = splraise(4), second = splraise(2), third;

            spllower(first);
            third = splraise(1);
            spllower(third);
            return first * 100 + second * 10 + third;
    }

    int
    preemption(void)
    {
            int before = kpreempt_disabled(), inside;

            kpreempt_disable();
            inside = kpreempt_disabled();
            kpreempt_enable();
            return before * 100 + inside * 10 + kpreempt_disabled();
    }

    int
    enable_what_is_enabled(void)
    {
            kpreempt_enable();
            return 0;
    }

    int
    reset_and_init(void)
    {
            callout_reset(&timer, 5, ticked, NULL);
            callout_init(&timer, CALLOUT_MPSAFE);
            return 0;
    }

    int
    set_nothing(void)
    {
            callout_setfunc(&timer, NULL, NULL);
            return 0;
    }

    int
    schedule_nothing(void)
    {
            callout_schedule(&timer, 5);
            return 0;
    }

    int
    unlock_what_is_not_held(void)
    {
            KERNEL_UNLOCK_ONE(NULL);
            return 0;
    }

    int
    locked_twice(void)
    {
            KERNEL_LOCK(1, NULL);
            KERNEL_LOCK(1, NULL);
            kpause("big", false, 5, NULL);
            KERNEL_UNLOCK_ONE(NULL);
            KERNEL_UNLOCK_ONE(NULL);
            return 0;
    }

    int
    memory(void)
    {
            char *text, *one = kmem_intr_alloc(8, KM_NOSLEEP);
            char *two = kmem_intr_zalloc(8, KM_SLEEP);
            size_t size;
            int wrong = two[7];

            kmem_intr_free(one, 8);
            kmem_intr_free(two, 8);
            text = kmem_strdupsize("seven", &size, KM_SLEEP);
            wrong += text[5] != 0 || text[0] != 's' || size != 6;
            kmem_strfree(text);
            kmem_strfree(NULL);
            return wrong;
    }

    int
    neither_sleep_nor_not(void)
    {
            return kmem_alloc(8, 0) == NULL;
    }

    int
    many(void)
    {
            char *p;
            int i;

            for (i = 0; i < 4200; i++) {
                    p = kmem_alloc(16, KM_SLEEP);
                    p[0] = p[15] = 1;
                    kmem_free(p, 16);
            }
            return i;
    }
"""
_EWOULDBLOCK = 35


@pytest.fixture
def code(load: Callable[..., Code]) -> Code:
    """The module, with locks, a condition variable and a callout."""
    code = load(SOURCE)
    code.call("make")
    return code


def _asleep(code: Code, name: str, *arguments: int) -> object:
    lwp = code.start(name, *arguments)
    code.kernel.run(lambda: bool(lwp.state == "asleep"))
    return lwp


def test_mutex_tryenter_fails_if_held(code: Code) -> None:
    assert code.call("try") == 1
    _asleep(code, "hold")
    assert code.call("try") == 0
    assert code.call("enter") == 0
    assert code.call("try") == 1


def test_kpause_releases_and_retakes_mutex(code: Code) -> None:
    lwp = code.start("hold_giving_up")
    code.kernel.run(lambda: bool(lwp.state == "asleep"))
    assert code.call("try") == 1
    code.finish(lwp)
    assert lwp.result == _EWOULDBLOCK


def test_waiters_can_be_queried(code: Code) -> None:
    assert code.call("waiters") == 0
    _asleep(code, "wait")
    assert code.call("waiters") == 1


def test_signal_without_mutex_is_reported(code: Code) -> None:
    _asleep(code, "wait")
    code.call("wake_without")
    (violation,) = code.violations()
    assert violation.startswith("condvar-wake-without-mutex: ")


@pytest.mark.parametrize(
    ("asleep", "function", "rule"),
    [
        ("wait", "init_again", "condvar-init-with-sleepers"),
        ("", "init_without_message", "null-pointer"),
        ("wait_in_memory", "free_it", "free-with-condvar"),
        ("", "sleep_with_spin", "sleep-with-spin-mutex"),
        ("", "pause_without_timeout", "kpause-forever"),
        ("", "free_with_callout", "free-with-callout"),
        ("", "reset_and_init", "callout-already-initialised"),
        ("", "set_nothing", "callout-without-function"),
        ("", "schedule_nothing", "callout-without-function"),
        ("", "enable_what_is_enabled", "preemption-not-disabled"),
        ("", "unlock_what_is_not_held", "kernel-lock-not-held"),
        ("", "neither_sleep_nor_not", "kmem-flags"),
    ],
)
def test_rule_violation_panics(code: Code, asleep: str, function: str, rule: str) -> None:
    if asleep:
        _asleep(code, asleep)
    assert code.panic(function).startswith(f"{rule}: ")


def test_freed_condvar_is_reported(code: Code) -> None:
    code.call("free_unused")
    (violation,) = code.violations()
    assert violation.startswith("condvar-not-destroyed: ")


def test_callout_is_pending_then_expired(code: Code) -> None:
    pending, expired, active = 1, 2, 4
    states = code.call("run_callout")
    assert [int(digit) for digit in f"{states:04}"] == [
        0,
        pending | active,
        expired | active,
        expired | active,
    ]
    assert (code.number("fired"), code.number("seen")) == (1, 1)
    assert "callout-not-destroyed" in " ".join(code.unload())


def test_callout_halt_releases_mutex_until_done(code: Code) -> None:
    assert code.call("halt_running") == 10
    assert code.violations() == []


def test_spl_raises_and_splx_restores(code: Code) -> None:
    assert code.call("levels") == 0 * 100 + 4 * 10 + 0


def test_preemption_is_disabled_between_calls(code: Code) -> None:
    assert code.call("preemption") == 10


def test_kernel_lock_is_released_in_sleep_and_retaken(code: Code) -> None:
    first, second = code.start("locked_twice"), code.start("locked_twice")
    code.finish(first, second)
    assert code.violations() == []


def test_interrupt_memory_and_strings(code: Code) -> None:
    assert code.call("memory") == 0
    assert code.violations() == []


def test_freed_memory_is_eventually_reused(code: Code) -> None:
    assert code.call("many") == 4200
