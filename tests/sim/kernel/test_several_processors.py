"""A machine with several processors: per-processor state, and concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import MACHINES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/callout.h>
    #include <sys/intr.h>
    #include <sys/kthread.h>
    #include <sys/lwp.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/systm.h>
    #include <sys/workqueue.h>
    #include <sys/xcall.h>
    #include <machine/cpu.h>

    int     getticks(void);
    void    kpreempt_disable(void);
    void    kpreempt_enable(void);
    struct cpu_info *cpu_lookup(u_int);
    void    mutex_spin_enter(kmutex_t *);
    void    mutex_spin_exit(kmutex_t *);
    extern int ncpu;

    kmutex_t spin, soft;
    callout_t timer;
    void *clock_soft;
    struct workqueue *wq;
    struct work work;
    int ran, within, twice, done, steps;
    struct cpu_info *here[8];

    static void
    some_calls(void)
    {
            for (int i = 0; i < 20; i++)
                    (void)getticks();
    }

    static unsigned int
    number(struct cpu_info *ci)
    {
            return *(unsigned int *)ci;     /* ci_data.cpu_index */
    }

    int
    processors(void)
    {
            return ncpu;
    }

    int
    looked_up(int n)
    {
            struct cpu_info *ci = cpu_lookup(n);

            return ci == NULL ? -1 : (int)number(ci);
    }

    /* 1 where a thread finds itself on another processor than before. */
    int
    moves(int disabled)
    {
            struct cpu_info *first;
            int moved = 0;

            if (disabled)
                    kpreempt_disable();
            first = curcpu();
            for (int i = 0; i < 100; i++) {
                    (void)getticks();
                    moved |= curcpu() != first;
            }
            if (disabled)
                    kpreempt_enable();
            return moved;
    }

    int
    busy(void)
    {
            for (int i = 0; i < 400; i++)
                    (void)getticks();
            return 0;
    }

    static void
    on_each(void *arg1, void *arg2)
    {
            here[number(curcpu())] = curcpu();
    }

    /* Bits of the processors on which a cross call ran. */
    int
    crosses(int flags)
    {
            int bits = 0;

            xc_wait(xc_broadcast(flags, on_each, NULL, NULL));
            for (int i = 0; i < 8; i++)
                    bits |= (here[i] != NULL) << i;
            return bits;
    }

    int
    crosses_to(int n)
    {
            xc_wait(xc_unicast(0, on_each, NULL, NULL, cpu_lookup(n)));
            return here[n] == cpu_lookup(n);
    }

    static void
    works(struct work *wk, void *arg)
    {
            ran = (int)number(curcpu());
    }

    int
    works_on(int n)
    {
            workqueue_create(&wq, "each", works, NULL, PRI_NONE, IPL_NONE,
                WQ_MPSAFE | WQ_PERCPU);
            workqueue_enqueue(wq, &work, cpu_lookup(n));
            workqueue_wait(wq, &work);
            workqueue_destroy(wq);
            return ran;
    }

    static void
    thread(void *arg)
    {
            ran = (int)number(curcpu());
            some_calls();
            if (ran != (int)number(curcpu()))
                    ran = -1;
            kthread_exit(0);
    }

    int
    thread_on(int n)
    {
            lwp_t *l;

            kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, cpu_lookup(n), thread,
                NULL, &l, "bound");
            kthread_join(l);
            return ran;
    }

    static void
    ticks(void *arg)
    {
            if (within++)
                    twice = 1;
            mutex_enter(&soft);
            mutex_exit(&soft);
            within--;
    }

    /* A callout that a thread arms again while its function waits for a mutex. */
    int
    callout_beside_itself(void)
    {
            mutex_init(&soft, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            callout_init(&timer, CALLOUT_MPSAFE);
            callout_setfunc(&timer, ticks, NULL);
            mutex_enter(&soft);
            for (int i = 0; i < 4; i++) {
                    callout_schedule(&timer, 1);
                    kpause("tick", false, 2, NULL);
            }
            mutex_exit(&soft);
            while (within)
                    kpause("end", false, 1, NULL);
            callout_halt(&timer, NULL);
            callout_destroy(&timer);
            return twice;
    }

    static void
    nests(void *arg)
    {
            done = steps;
    }

    /* A handler without MPSAFE nests on the kernel lock of its own processor. */
    int
    inside_the_big_lock(void)
    {
            clock_soft = softint_establish(SOFTINT_CLOCK, nests, NULL);
            KERNEL_LOCK(1, NULL);
            kpreempt_disable();
            softint_schedule(clock_soft);
            kpreempt_enable();
            some_calls();
            steps = 1;
            KERNEL_UNLOCK_ONE(NULL);
            kpause("soft", false, 2, NULL);
            softint_disestablish(clock_soft);
            return done;
    }

    int
    make_spin(void)
    {
            mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
            return 0;
    }

    int
    spins(void)
    {
            int before;

            mutex_spin_enter(&spin);
            before = within++;
            some_calls();
            within--;
            mutex_spin_exit(&spin);
            return before;
    }
"""


def two(load: Callable[..., Code], machine: str = "amd64", seed: int = 1, cpus: int = 2) -> Code:
    return load(SOURCE, machine, seed=seed, cpus=cpus)


@pytest.mark.parametrize("machine", MACHINES)
def test_guest_sees_its_processors(load: Callable[..., Code], machine: str) -> None:
    code = two(load, machine, cpus=3)
    assert code.call("processors") == 3
    assert [code.call("looked_up", n) for n in range(4)] == [0, 1, 2, -1]
    assert load(SOURCE, machine).call("processors") == 1


@pytest.mark.parametrize("machine", MACHINES)
def test_cpu_bound_objects_run_on_their_cpu(load: Callable[..., Code], machine: str) -> None:
    code = two(load, machine, cpus=3)
    assert [code.call("works_on", n) for n in (2, 0, 1)] == [2, 0, 1]
    assert [code.call("thread_on", n) for n in (2, 0, 1)] == [2, 0, 1]
    assert code.call("crosses_to", 2) == 1
    assert code.call("crosses", 0) == 0b111
    code = two(load, machine, cpus=2)
    assert code.call("crosses", 1) == 0b11


def moved(load: Callable[..., Code], disabled: int) -> set[int]:
    seen = set()
    for seed in range(1, 25):
        code = two(load, seed=seed)
        others = [code.start("busy") for _ in range(2)]
        lwp = code.start("moves", disabled)
        code.finish(lwp, *others)
        seen.add(lwp.result)
    return seen


def test_thread_migrates_unless_preemption_is_disabled(
    load: Callable[..., Code],
) -> None:
    assert moved(load, 0) == {0, 1}
    assert moved(load, 1) == {0}


def test_callout_rearmed_while_running_can_run_twice_at_once(
    load: Callable[..., Code],
) -> None:
    found = [two(load, seed=seed).call("callout_beside_itself") for seed in range(1, 13)]
    assert any(found)
    assert not load(SOURCE, seed=1).call("callout_beside_itself")


def test_soft_interrupt_shares_kernel_lock_of_its_processor(
    load: Callable[..., Code],
) -> None:
    """It runs before ``steps`` is set, in the section of the thread that it interrupts."""
    assert [two(load, seed=seed).call("inside_the_big_lock") for seed in range(1, 6)] == [0] * 5


def test_spin_mutex_excludes_other_processor(load: Callable[..., Code]) -> None:
    for seed in range(1, 13):
        code = two(load, seed=seed)
        code.call("make_spin")
        lwps = [code.start("spins") for _ in range(3)]
        code.finish(*lwps)
        assert [lwp.result for lwp in lwps] == [0, 0, 0]


def test_same_seed_gives_same_run(load: Callable[..., Code]) -> None:
    ends = set()
    for _ in range(2):
        code = two(load, seed=5, cpus=4)
        lwps = [code.start("moves", 0) for _ in range(5)]
        code.finish(*lwps)
        scheduler = code.kernel.scheduler
        ends.add((code.kernel.clock.now, scheduler.switches, *(each.result for each in lwps)))
    assert len(ends) == 1
