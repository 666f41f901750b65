"""Mutexes, rwlocks, condition variables and signals: allowed use, and undetected misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.lwp import Lwp

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/condvar.h>
    #include <sys/intr.h>
    #include <sys/kthread.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/rwlock.h>
    #include <sys/workqueue.h>
    #include <sys/xcall.h>

    void    kpreempt_disable(void);
    void    kpreempt_enable(void);
    void    mutex_spin_enter(kmutex_t *);

    kmutex_t lock, other, spin;
    kcondvar_t cv;
    krwlock_t rw;
    struct workqueue *wq;
    struct work works[2];
    char order[16];
    int norder, go, ran;
    void *soft;

    static void
    takes_lock(void *arg)
    {
            mutex_enter(&lock);
            mutex_exit(&lock);
    }

    int
    make(void)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&other, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
            cv_init(&cv, "tried");
            rw_init(&rw);
            soft = softint_establish(SOFTINT_CLOCK | SOFTINT_MPSAFE, takes_lock, NULL);
            return 0;
    }

    int
    sleeps(void)
    {
            mutex_enter(&lock);
            cv_wait(&cv, &lock);
            mutex_exit(&lock);
            return 0;
    }

    int
    sleeps_with_other(void)
    {
            mutex_enter(&other);
            cv_timedwait(&cv, &other, 5);
            mutex_exit(&other);
            return 0;
    }

    int
    signals_after_exit(void)
    {
            mutex_enter(&lock);
            mutex_exit(&lock);
            cv_signal(&cv);
            return 0;
    }

    int
    signals_later(void)
    {
            mutex_enter(&lock);
            mutex_exit(&lock);
            kpause("later", false, 2, NULL);
            cv_signal(&cv);
            return 0;
    }

    int
    init_again(void)
    {
            cv_init(&cv, "again");
            return 0;
    }

    int
    lock_in_softint(void)
    {
            kpreempt_disable();
            softint_schedule(soft);
            kpreempt_enable();
            return 0;
    }

    int
    spin_enter_adaptive(void)
    {
            mutex_spin_enter(&lock);
            return 0;
    }

    int
    owned_null(void)
    {
            return mutex_owned(NULL) + rw_read_held(NULL) + rw_write_held(NULL)
                + rw_lock_held(NULL);
    }

    int
    holds_spin(void)
    {
            mutex_enter(&spin);
            go = 1;
            for (int i = 0; i < 50; i++)
                    (void)mutex_owned(&spin);
            mutex_exit(&spin);
            return 0;
    }

    int
    asks_spin(void)
    {
            int seen = 0;

            for (int i = 0; i < 50; i++)
                    seen |= mutex_owned(&spin);
            return seen;
    }

    int
    reads_twice(void)
    {
            rw_enter(&rw, RW_READER);
            rw_enter(&rw, RW_READER);
            rw_exit(&rw);
            rw_exit(&rw);
            return 0;
    }

    int
    writes(int who)
    {
            rw_enter(&rw, RW_WRITER);
            order[norder++] = who;
            kpause("write", false, 2, NULL);
            rw_exit(&rw);
            return 0;
    }

    static void
    waits_for_signal(void *arg)
    {
            mutex_enter(&lock);
            cv_wait(&cv, &lock);
            order[norder++] = *(const char *)arg;
            mutex_exit(&lock);
            kthread_exit(0);
    }

    /* The second comes later and has the higher priority. */
    int
    two_waiters(void)
    {
            kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, waits_for_signal,
                __UNCONST("l"), NULL, "low");
            kpause("low", false, 2, NULL);
            kthread_create(130, KTHREAD_MPSAFE, NULL, waits_for_signal,
                __UNCONST("h"), NULL, "high");
            kpause("high", false, 2, NULL);
            mutex_enter(&lock);
            cv_signal(&cv);
            mutex_exit(&lock);
            kpause("end", false, 2, NULL);
            return order[0];
    }

    int
    waits_sig(void)
    {
            int error;

            mutex_enter(&lock);
            go = 1;
            error = cv_wait_sig(&cv, &lock);
            mutex_exit(&lock);
            return error;
    }

    static void
    work(struct work *wk, void *arg)
    {
            kpause("work", false, 3, NULL);
            if (wk == &works[1]) {
                    mutex_enter(&lock);
                    mutex_exit(&lock);
            }
            ran++;
    }

    /* What workqueue_wait() waits for is the whole batch: the second takes our lock. */
    int
    waits_for_batch(void)
    {
            workqueue_create(&wq, "batch", work, NULL, PRI_NONE, IPL_NONE, WQ_MPSAFE);
            workqueue_enqueue(wq, &works[0], NULL);
            workqueue_enqueue(wq, &works[1], NULL);
            mutex_enter(&lock);
            workqueue_wait(wq, &works[0]);
            mutex_exit(&lock);
            return ran;
    }

    int
    waits_for_batch_unlocked(void)
    {
            workqueue_create(&wq, "batch", work, NULL, PRI_NONE, IPL_NONE, WQ_MPSAFE);
            workqueue_enqueue(wq, &works[0], NULL);
            workqueue_enqueue(wq, &works[1], NULL);
            workqueue_wait(wq, &works[0]);
            return ran;
    }

    int
    long_name(void)
    {
            return workqueue_create(&wq, "sixteen letters!", work, NULL, PRI_NONE, IPL_NONE, 0);
    }

    int
    no_name(void)
    {
            return workqueue_create(&wq, NULL, work, NULL, PRI_NONE, IPL_NONE, 0);
    }

    static void
    crossed(void *one, void *two)
    {
            mutex_enter(&lock);
            mutex_exit(&lock);
            ran++;
    }

    /* The second broadcast waits for the first, whose function waits for our lock. */
    int
    two_broadcasts(int locked)
    {
            uint64_t first, second;

            if (locked)
                    mutex_enter(&lock);
            first = xc_broadcast(0, crossed, NULL, NULL);
            second = xc_broadcast(0, crossed, NULL, NULL);
            if (locked)
                    mutex_exit(&lock);
            xc_wait(first);
            xc_wait(second);
            return ran;
    }

    int
    unicast_nowhere(void)
    {
            xc_wait(xc_unicast(0, crossed, NULL, NULL, NULL));
            return 0;
    }
"""
_EINTR, _ERESTART = 4, -3


def _loaded(load: Callable[..., Code], seed: int = 1) -> Code:
    code = load(SOURCE, seed=seed)
    code.call("make")
    return code


def _asleep(code: Code, name: str, *arguments: int) -> Lwp:
    lwp = code.start(name, *arguments)
    code.kernel.run(lambda: bool(lwp.state == "asleep"))
    return lwp


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("spin_enter_adaptive", "mutex-spin-on-adaptive: mutex_spin_enter by spin_enter_adaptive"),
        ("long_name", "workqueue-name: workqueue_create by long_name"),
        ("no_name", "null-pointer: workqueue_create by no_name"),
        ("unicast_nowhere", "xcall-cpu: xc_unicast by unicast_nowhere"),
    ],
)
def test_kernel_corruption_panics(load: Callable[..., Code], function: str, message: str) -> None:
    assert _loaded(load).panic(function).startswith(message)


def test_signal_right_after_mutex_release_is_allowed(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    lwp = _asleep(code, "sleeps")
    code.call("signals_after_exit")
    code.finish(lwp)
    assert code.violations() == []


def test_late_signal_can_be_lost(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    lwp = _asleep(code, "sleeps")
    code.call("signals_later")
    code.finish(lwp)
    (violation,) = code.violations()
    assert violation.startswith("condvar-wake-without-mutex: cv_signal")


def test_reinitialising_idle_condvar_does_not_panic(
    load: Callable[..., Code],
) -> None:
    code = _loaded(load)
    code.call("init_again")
    (violation,) = code.violations()
    assert violation.startswith("condvar-already-initialised: cv_init by init_again")


def test_two_mutexes_for_one_condvar_do_not_panic(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    _asleep(code, "sleeps")
    code.call("sleeps_with_other")
    (violation,) = code.violations()
    assert violation.startswith("condvar-two-mutexes: cv_timedwait by sleeps_with_other")


def test_mutex_of_ipl_none_in_soft_interrupt_does_not_panic(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    code.call("lock_in_softint")
    (violation,) = code.violations()
    assert violation.startswith("mutex-in-softint: mutex_enter by takes_lock")


def test_mutex_owned_of_null_is_false(load: Callable[..., Code]) -> None:
    assert _loaded(load).call("owned_null") == 0


def test_mutex_owned_is_true_for_spin_mutex_of_any_owner(load: Callable[..., Code]) -> None:
    seen = set()
    for seed in range(12):
        code = _loaded(load, seed)
        lwps = code.start("holds_spin"), code.start("asks_spin")
        code.finish(*lwps)
        rules = {message.partition(":")[0] for message in code.violations()}
        assert rules == ({"mutex-owned-by-another"} if lwps[1].result else set())
        seen.add(lwps[1].result)
    assert seen == {0, 1}


def test_recursive_read_lock_is_reported(load: Callable[..., Code]) -> None:
    message = _loaded(load).panic("reads_twice")
    assert message.startswith("rwlock-recursive-read: rw_enter by reads_twice")


def test_writers_acquire_in_any_order(load: Callable[..., Code]) -> None:
    seen = set()
    for seed in range(12):
        code = _loaded(load, seed)
        lwps = [_asleep(code, "writes", ord(who)) for who in "abc"]
        code.finish(*lwps)
        seen.add(code.text("order"))
    assert {"abc", "acb"} <= seen


def test_signal_wakes_highest_priority_waiter(load: Callable[..., Code]) -> None:
    assert chr(_loaded(load).call("two_waiters")) == "h"


def test_signal_may_restart_system_call(load: Callable[..., Code]) -> None:
    seen = set()
    for seed in range(12):
        code = _loaded(load, seed)
        lwp = _asleep(code, "waits_sig")
        code.kernel.scheduler.interrupt(lwp)
        code.finish(lwp)
        seen.add(lwp.result & 0xFFFFFFFF)
    assert seen == {_EINTR, _ERESTART & 0xFFFFFFFF}


def test_signal_pending_before_sleep_ends_it(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    lwp = code.start("waits_sig")
    code.kernel.scheduler.interrupt(lwp)
    code.finish(lwp)
    assert lwp.result & 0xFFFFFFFF in {_EINTR, _ERESTART & 0xFFFFFFFF}


def test_workqueue_wait_waits_for_its_batch(load: Callable[..., Code]) -> None:
    assert _loaded(load).call("waits_for_batch_unlocked") == 2
    code = _loaded(load)
    lwp = code.start("waits_for_batch")
    assert not code.kernel.run(lambda: bool(lwp.state == "gone"), 10**9)
    assert (lwp.state, code.number("ran")) == ("asleep", 1)


def test_low_priority_cross_calls_are_serialised(load: Callable[..., Code]) -> None:
    assert _loaded(load).call("two_broadcasts", 0) == 2
    code = _loaded(load)
    lwp = code.start("two_broadcasts", 1)
    assert not code.kernel.run(lambda: bool(lwp.state == "gone"), 10**9)
    assert (lwp.state, code.number("ran")) == ("asleep", 0)
