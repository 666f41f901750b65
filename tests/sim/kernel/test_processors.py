"""Concurrency: soft interrupts, the kernel lock of a processor, and unbalanced state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/callout.h>
    #include <sys/intr.h>
    #include <sys/kmem.h>
    #include <sys/kthread.h>
    #include <sys/lwp.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/pserialize.h>
    #include <sys/psref.h>
    #include <sys/rwlock.h>
    #include <sys/systm.h>
    #include <sys/workqueue.h>
    #include <sys/xcall.h>
    #include <machine/cpu.h>

    bool    _kernel_locked_p(void);
    void    _kernel_unlock(int, int *);
    int     getticks(void);
    void    kpreempt_disable(void);
    void    kpreempt_enable(void);
    int     splraise(int);
    void    spllower(int);

    kmutex_t soft_lock;
    krwlock_t rw;
    callout_t timer;
    pserialize_t psz;
    struct psref_class *class;
    struct psref_target target;
    struct psref ref;
    struct workqueue *wq;
    struct work work;
    lwp_t *made;
    void *clock_soft, *net_soft, *big_soft;
    int halfway, ran, shared, leak, early, name_offset;
    char order[8];
    int norder;

    static void
    some_calls(void)
    {
            for (int i = 0; i < 20; i++)
                    (void)getticks();
    }

    static void
    in_softint(void *arg)
    {
            halfway = 1;
            some_calls();
            halfway = 0;
            ran++;
    }

    static void
    net_handler(void *arg)
    {
            order[norder++] = 'n';
    }

    static void
    clock_handler(void *arg)
    {
            order[norder++] = 'c';
            kpreempt_disable();
            softint_schedule(net_soft);
            kpreempt_enable();
            some_calls();
            order[norder++] = 'C';
    }

    static void
    counts(void *arg)
    {
            ran++;
    }

    int
    make(void)
    {
            mutex_init(&soft_lock, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            rw_init(&rw);
            callout_init(&timer, CALLOUT_MPSAFE);
            psz = pserialize_create();
            class = psref_class_create("tried", 0);
            psref_target_init(&target, class);
            clock_soft = softint_establish(SOFTINT_CLOCK | SOFTINT_MPSAFE,
                clock_handler, NULL);
            net_soft = softint_establish(SOFTINT_NET | SOFTINT_MPSAFE,
                net_handler, NULL);
            big_soft = softint_establish(SOFTINT_NET, counts, NULL);
            return 0;
    }

    /* A thread beside a callout: did it see the callout half done? */
    int
    beside_a_callout(void)
    {
            int seen = 0;

            /* Just after a tick: nearly all of the way to the next one is one long wait. */
            kpause("tick", false, 1, NULL);
            callout_reset(&timer, 1, in_softint, NULL);
            DELAY(1000000 / hz - 300);
            while (ran == 0) {
                    seen |= halfway;
                    (void)getticks();
            }
            return seen;
    }

    int
    writes(void)
    {
            shared++;
            some_calls();
            return 0;
    }

    /* 1 where a value changed between two looks of one read section. */
    int
    reads_twice(void)
    {
            int s = pserialize_read_enter(), first = shared;

            some_calls();
            first = first != shared;
            pserialize_read_exit(s);
            return first;
    }

    int
    reads(void)
    {
            int s = pserialize_read_enter();

            halfway = 1;
            some_calls();
            halfway = 0;
            pserialize_read_exit(s);
            return 0;
    }

    /* Look for the other thread's section; it may have ended before the first look. */
    static int
    begun(void)
    {
            for (int i = 0; i < 500 && !halfway; i++)
                    (void)getticks();
            return halfway;
    }

    /* 1 where the section that a reader was in has not ended. */
    int
    performs(void)
    {
            if (!begun())
                    return 0;
            pserialize_perform(psz);
            return halfway;
    }

    int
    disables(void)
    {
            kpreempt_disable();
            halfway = 1;
            some_calls();
            halfway = 0;
            kpreempt_enable();
            return 0;
    }

    int
    barrier(void)
    {
            if (!begun())
                    return 0;
            xc_barrier(0);
            return halfway;
    }

    static void
    looks(void *arg)
    {
            early = made == NULL;
            kthread_exit(0);
    }

    int
    creates(void)
    {
            kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL, looks,
                NULL, &made, "looks");
            kthread_join(made);
            return early;
    }

    int
    locked_write(void)
    {
            KERNEL_LOCK(1, NULL);
            shared++;
            KERNEL_UNLOCK_ONE(NULL);
            return 0;
    }

    /* 1 where the kernel lock was given up in the allocation. */
    int
    locked_alloc(void)
    {
            int first, changed = 0;
            void *p;

            KERNEL_LOCK(1, NULL);
            first = shared;
            p = kmem_alloc(16, KM_SLEEP);
            changed = first != shared;
            kmem_free(p, 16);
            KERNEL_UNLOCK_ONE(NULL);
            return changed;
    }

    int
    interrupted(void)
    {
            kpreempt_disable();
            softint_schedule(clock_soft);
            kpreempt_enable();
            order[norder] = 0;
            return norder;
    }

    /* At splsoftserial no soft interrupt comes: they run when the level is lowered. */
    int
    at_a_level(void)
    {
            int before, s = splraise(5);

            softint_schedule(clock_soft);
            some_calls();
            before = norder;
            spllower(s);
            return before * 10 + norder;
    }

    static void
    waits_for_net(void *arg)
    {
            mutex_enter(&soft_lock);
            mutex_exit(&soft_lock);
            ran = 1;
    }

    /* The holder of a mutex that a callout waits for waits for a network handler. */
    int
    waits_below(void)
    {
            mutex_enter(&soft_lock);
            callout_reset(&timer, 1, waits_for_net, NULL);
            kpause("blocked", false, 5, NULL);
            kpreempt_disable();
            softint_schedule(net_soft);
            kpreempt_enable();
            while (norder == 0)
                    kpause("net", false, 1, NULL);
            mutex_exit(&soft_lock);
            kpause("end", false, 5, NULL);
            return ran;
    }

    int
    holds_lock(void)
    {
            KERNEL_LOCK(1, NULL);
            some_calls();
            some_calls();
            some_calls();
            KERNEL_UNLOCK_ONE(NULL);
            return 0;
    }

    int
    schedules_big_twice(void)
    {
            int before = ran;

            kpreempt_disable();
            softint_schedule(big_soft);
            some_calls();
            softint_schedule(big_soft);
            kpreempt_enable();
            kpause("big", false, 5, NULL);
            return ran - before;
    }

    int
    holds_and_sees(void)
    {
            int mine;

            KERNEL_LOCK(1, NULL);
            mine = _kernel_locked_p();
            some_calls();
            some_calls();
            KERNEL_UNLOCK_ONE(NULL);
            return mine;
    }

    int
    is_locked(void)
    {
            return _kernel_locked_p();
    }

    int
    unlock_last_of_none(void)
    {
            int count = 7;

            _kernel_unlock(-1, &count);
            return count;
    }

    int
    unlock_last_of_two(void)
    {
            KERNEL_LOCK(2, NULL);
            _kernel_unlock(-1, NULL);
            return 0;
    }

    int
    unlock_two(void)
    {
            KERNEL_LOCK(2, NULL);
            _kernel_unlock(2, NULL);
            return 0;
    }

    static void
    ends(void *arg)
    {
            if (leak == 1)
                    KERNEL_LOCK(1, NULL);
            if (leak == 2)
                    rw_enter(&rw, RW_READER);
            kthread_exit(0);
    }

    int
    thread(int what, int flags)
    {
            leak = what;
            kthread_create(PRI_NONE, flags, NULL, ends, NULL, NULL, "ends");
            kpause("ends", false, 3, NULL);
            return 0;
    }

    static void
    works(struct work *wk, void *arg)
    {
            if (leak == 1)
                    kpreempt_disable();
            if (leak == 3)
                    (void)splraise(5);
    }

    int
    deferred(int what)
    {
            leak = what;
            workqueue_create(&wq, "leaks", works, NULL, PRI_NONE, IPL_NONE,
                WQ_MPSAFE | WQ_PERCPU);
            workqueue_enqueue(wq, &work, NULL);
            kpause("work", false, 3, NULL);
            return 0;
    }

    static void
    keeps_psref(void *arg)
    {
            psref_acquire(&ref, &target, class);
    }

    int
    psref_in_softint(void)
    {
            void *soft = softint_establish(SOFTINT_CLOCK | SOFTINT_MPSAFE, keeps_psref, NULL);

            kpreempt_disable();
            softint_schedule(soft);
            kpreempt_enable();
            return 0;
    }

    int
    psref_in_syscall(void)
    {
            kpreempt_disable();
            psref_acquire(&ref, &target, class);
            kpreempt_enable();
            return 0;
    }

    int
    leaves_preemption_disabled(void)
    {
            kpreempt_disable();
            return 0;
    }

    static void
    named(void *arg)
    {
            const char *name;

            memcpy(&name, (char *)(void *)curlwp + name_offset, sizeof(name));
            strlcpy(order, name, sizeof(order));
            kthread_exit(0);
    }

    int
    names(int offset)
    {
            name_offset = offset;
            kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, named, NULL, NULL, "thr%d", 5);
            kpause("named", false, 2, NULL);
            return 0;
    }

    int
    number(int process, int offset)
    {
            char *found;
            int pid;

            memcpy(&found, (char *)(void *)curlwp + process, sizeof(found));
            memcpy(&pid, found + offset, sizeof(pid));
            return pid;
    }

    int
    establish_pending(void)
    {
            softint_establish(SOFTINT_CLOCK | 0x1000, counts, NULL);
            return 0;
    }
"""
_SEEDS = range(16)


def _loaded(load: Callable[..., Code], seed: int = 1) -> Code:
    code = load(SOURCE, seed=seed)
    code.call("make")
    return code


def _pairs(load: Callable[..., Code], first: str, second: str) -> set[tuple[int, int]]:
    """Run two functions in two threads, with many seeds; returns their results."""
    found = set()
    for seed in _SEEDS:
        code = _loaded(load, seed)
        lwps = code.start(first), code.start(second)
        code.finish(*lwps)
        found.add((lwps[0].result & 0xFFFFFFFF, lwps[1].result & 0xFFFFFFFF))
        assert code.violations() == []
    return found


def test_thread_on_other_processor_sees_half_done_callout(load: Callable[..., Code]) -> None:
    assert {_loaded(load, seed).call("beside_a_callout") for seed in _SEEDS} == {0, 1}


def test_data_read_in_read_section_can_change(load: Callable[..., Code]) -> None:
    assert {first for first, _second in _pairs(load, "reads_twice", "writes")} == {0, 1}


def test_writer_waits_for_readers(load: Callable[..., Code]) -> None:
    assert _pairs(load, "reads", "performs") == {(0, 0)}


def test_barrier_waits_for_disabled_preemption(load: Callable[..., Code]) -> None:
    assert _pairs(load, "disables", "barrier") == {(0, 0)}


def test_thread_may_run_before_creator_has_its_pointer(load: Callable[..., Code]) -> None:
    assert {_loaded(load, seed).call("creates") for seed in _SEEDS} == {0, 1}


def test_sleeping_allocation_may_release_kernel_lock(load: Callable[..., Code]) -> None:
    assert {first for first, _second in _pairs(load, "locked_alloc", "locked_write")} == {0, 1}


def test_higher_soft_interrupt_preempts_lower(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    assert code.call("interrupted") == 3
    assert code.text("order") == "cnC"


def test_raised_ipl_blocks_soft_interrupts(load: Callable[..., Code]) -> None:
    for seed in range(4):
        assert _loaded(load, seed).call("at_a_level") == 0 * 10 + 3


def test_network_handler_runs_while_callout_waits(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    assert code.call("waits_below") == 1
    assert code.violations() == []


def test_handler_waiting_for_kernel_lock_can_be_rescheduled(
    load: Callable[..., Code],
) -> None:
    assert {second for _first, second in _pairs(load, "holds_lock", "schedules_big_twice")} == {2}


def test_kernel_lock_is_requested_explicitly(load: Callable[..., Code]) -> None:
    assert (1, 1) in _pairs(load, "holds_and_sees", "is_locked")


def test_unlocking_last_of_unheld_kernel_lock_is_allowed(load: Callable[..., Code]) -> None:
    assert _loaded(load).call("unlock_last_of_none") == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("unlock_last_of_two",), "kernel-lock-not-held: KERNEL_UNLOCK by unlock_last_of_two"),
        (("unlock_two",), "kernel-lock-not-held: KERNEL_UNLOCK by unlock_two"),
        (("thread", 1, 2), "exit-with-kernel-lock: kthread_exit by ends"),
        (("thread", 1, 0), "exit-with-kernel-lock: kthread_exit by ends"),
        (("thread", 2, 2), "exit-with-rwlock: kthread_exit by ends"),
        (("deferred", 1), "preemption-left: the function of workqueue 'leaks', works"),
        (("psref_in_softint",), "psref-kept: soft interrupt handler keeps_psref"),
        (("psref_in_syscall",), "psref-kept: thread psref_in_syscall ended"),
        (("leaves_preemption_disabled",), "preemption-left: thread leaves_preemption_disabled"),
        (("establish_pending",), "softint-flags: softint_establish by establish_pending"),
    ],
)
def test_unbalanced_state_panics(
    load: Callable[..., Code], call: tuple[str, int], message: str
) -> None:
    assert _loaded(load).panic(*call).startswith(message)


def test_unlowered_ipl_is_reported(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    code.call("deferred", 3)
    (violation,) = code.violations()
    assert violation.startswith("spl-left: the function of workqueue 'leaks', works")


def test_non_mpsafe_thread_exits_with_kernel_lock(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    code.call("thread", 0, 0)
    assert code.kernel.scheduler.biglock.owner is None


def test_threads_have_names_and_processes_have_pids(load: Callable[..., Code]) -> None:
    code = _loaded(load)
    offsets = code.kernel.subject(Objects).offsets
    code.call("names", offsets.l_name)
    assert code.text("order") == "thr5"
    assert code.call("number", offsets.l_proc, offsets.p_pid) > 0
