"""Deferred work: workqueue(9), sysmon's task queue, softint(9), xcall(9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/intr.h>
    #include <sys/kmem.h>
    #include <sys/lwp.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/workqueue.h>
    #include <sys/xcall.h>
    #include <dev/sysmon/sysmon_taskq.h>

    /* So that the call before it is no jump, and has its line. */
    #define STAY()  __asm volatile("")

    struct workqueue *wq;
    struct work works[3];
    char ran[64];
    int nran, leak_lock, destroy_self, sleep_ticks, soft_kmem;
    kmutex_t mtx;
    void *soft;

    static void
    note(char c)
    {

            ran[nran++] = c;
            ran[nran] = 0;
    }

    static void
    worker(struct work *wk, void *arg)
    {

            if (sleep_ticks)
                    kpause("work", false, sleep_ticks, NULL);
            note(*(const char *)arg + (wk - works));
            if (leak_lock)
                    mutex_enter(&mtx);               /* never released */
            if (destroy_self)
                    workqueue_destroy(wq);           /* destroys itself */
            STAY();
    }

    int
    create(int ipl, int flags)
    {

            mutex_init(&mtx, MUTEX_DEFAULT, IPL_NONE);
            return workqueue_create(&wq, "triedwq", worker, ran + sizeof(ran) - 1,
                PRI_NONE, ipl, flags);               /* created */
    }

    int
    prepare(void)
    {

            ran[sizeof(ran) - 1] = 'a';
            return create(IPL_NONE, WQ_MPSAFE);
    }

    int
    enqueue(int which)
    {

            workqueue_enqueue(wq, &works[which], NULL);      /* enqueued */
            return 0;
    }

    int
    enqueue_all(void)
    {

            for (int i = 0; i < 3; i++)
                    workqueue_enqueue(wq, &works[i], NULL);
            workqueue_wait(wq, &works[2]);
            return nran;
    }

    int
    enqueue_twice(void)
    {

            sleep_ticks = 10;
            workqueue_enqueue(wq, &works[0], NULL);
            kpause("first", false, 2, NULL);
            workqueue_enqueue(wq, &works[1], NULL);          /* still there */
            workqueue_enqueue(wq, &works[1], NULL);
            return 0;
    }

    int
    destroy_pending(void)
    {

            sleep_ticks = 10;
            workqueue_enqueue(wq, &works[0], NULL);
            kpause("first", false, 2, NULL);
            workqueue_enqueue(wq, &works[1], NULL);          /* pending */
            workqueue_destroy(wq);
            return 0;
    }

    int
    free_pending(void)
    {
            struct work *wk = kmem_alloc(sizeof(*wk), KM_SLEEP);

            workqueue_enqueue(wq, wk, NULL);                 /* lost */
            kmem_free(wk, sizeof(*wk));                      /* freed */
            return 0;
    }

    int
    finish(void)
    {

            workqueue_destroy(wq);
            mutex_destroy(&mtx);
            return nran;
    }

    /* sysmon's task queue */

    static void
    task(void *arg)
    {

            note((char)(uintptr_t)arg);
            if (leak_lock)
                    mutex_enter(&mtx);
    }

    static void
    slow_task(void *arg)
    {

            kpause("task", false, 20, NULL);
            note('S');
    }

    static void
    barrier_task(void *arg)
    {

            sysmon_task_queue_barrier(0);                    /* waits for itself */
            STAY();
    }

    int
    tasks(void)
    {

            if (sysmon_task_queue_sched(0, NULL, NULL) != EINVAL)
                    return -1;
            sysmon_task_queue_sched(0, slow_task, NULL);
            kpause("first", false, 2, NULL);
            sysmon_task_queue_sched(0, task, (void *)'l');
            sysmon_task_queue_sched(1, task, (void *)'h');
            sysmon_task_queue_sched(0, task, (void *)'m');
            sysmon_task_queue_barrier(0);
            return nran;
    }

    int
    leave_task(void)
    {

            sysmon_task_queue_sched(0, slow_task, NULL);     /* left behind */
            STAY();
            return 0;
    }

    int
    wait_in_task(void)
    {

            sysmon_task_queue_sched(0, barrier_task, NULL);
            kpause("zzz", false, 10, NULL);
            return 0;
    }

    int
    task_keeps_mutex(void)
    {

            mutex_init(&mtx, MUTEX_DEFAULT, IPL_NONE);
            leak_lock = 1;
            sysmon_task_queue_sched(0, task, NULL);
            kpause("zzz", false, 10, NULL);
            return 0;
    }

    int
    fini(void)
    {

            sysmon_task_queue_init();
            return sysmon_task_queue_fini();
    }

    /* soft interrupts */

    static void
    handler(void *arg)
    {

            note(*(const char *)arg);
            if (soft_kmem)
                    kmem_free(kmem_alloc(8, KM_NOSLEEP), 8);         /* in softint */
            if (sleep_ticks)
                    kpause("soft", false, 1, NULL);                  /* sleeps in softint */
            if (wq != NULL)
                    workqueue_enqueue(wq, &works[0], NULL);          /* from softint */
            STAY();
    }

    int
    establish(int flags)
    {

            ran[sizeof(ran) - 1] = 's';
            soft = softint_establish(flags, handler, ran + sizeof(ran) - 1);  /* established */
            return soft != NULL;
    }

    int
    raise_it(void)
    {

            kpreempt_disable();
            softint_schedule(soft);
            softint_schedule(soft);
            kpreempt_enable();
            kpause("zzz", false, 2, NULL);
            return nran;
    }

    int
    raise_preemptible(void)
    {

            softint_schedule(soft);                  /* preemptible */
            return 0;
    }

    int
    disestablish(void)
    {

            softint_disestablish(soft);              /* disestablished */
            return 0;
    }

    /* cross calls */

    static void
    crossed(void *a, void *b)
    {

            note((char)(uintptr_t)a);
            note((char)(uintptr_t)b);
    }

    int
    cross(int flags)
    {

            xc_wait(xc_broadcast(flags, crossed, (void *)'x', (void *)'y'));
            xc_wait(xc_unicast(flags, crossed, (void *)'z', (void *)'!', curcpu()));
            xc_barrier(0);
            return nran;
    }
"""


@pytest.mark.parametrize("machine", MACHINES)
def test_work_runs_in_order_and_is_waited_for(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    assert code.call("prepare") == 0
    assert code.call("enqueue_all") == 3
    assert code.text("ran") == "abc"
    # Work that has run may be enqueued again.
    assert code.call("enqueue_all") == 6
    assert code.call("finish") == 6
    assert code.unload() == []


def test_enqueueing_pending_work_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("prepare")
    text = code.panic("enqueue_twice")
    assert text.startswith("work-enqueued-twice: workqueue_enqueue by enqueue_twice")
    assert "workqueue 'triedwq'" in text
    assert f"tried.c:{line_of(SOURCE, '/* still there */')}" in text


def test_destroying_queue_with_work_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("prepare")
    text = code.panic("destroy_pending")
    assert text.startswith("workqueue-destroy-pending: ")
    assert f"destroy_pending (tried.c:{line_of(SOURCE, '/* pending */')})" in text


def test_freeing_pending_work_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("prepare")
    text = code.panic("free_pending")
    assert text.startswith("work-freed-pending: kmem_free by free_pending")
    assert f"tried.c:{line_of(SOURCE, '/* lost */')}" in text
    assert f"tried.c:{line_of(SOURCE, '/* freed */')}" in text


def test_worker_destroying_its_own_queue_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("prepare")
    code.kernel.memory.put_u32(code.address("destroy_self"), 1)
    text = code.panic("enqueue_all")
    assert text.startswith("workqueue-destroy-self: workqueue_destroy by worker")
    assert f"tried.c:{line_of(SOURCE, '/* destroys itself */')}" in text


def test_worker_keeping_mutex_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("prepare")
    code.kernel.memory.put_u32(code.address("leak_lock"), 1)
    text = code.panic("enqueue_all")
    assert text.startswith("callback-with-mutex: the function of workqueue 'triedwq', worker")
    assert f"taken by worker (tried.c:{line_of(SOURCE, '/* never released */')})" in text


def test_non_mpsafe_queue_runs_with_kernel_lock(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("create", 0, 0) == 0
    locked: list[bool] = []

    def look(lwp: object, entry: object) -> None:
        if getattr(entry, "name", "") == "kpause" and getattr(lwp, "name", "") == "triedwq":
            locked.append(code.kernel.scheduler.biglock.owner is lwp)

    code.kernel.memory.put_u32(code.address("sleep_ticks"), 1)
    code.kernel.scheduler.on_call = look
    assert code.call("enqueue_all") == 3
    assert locked == [True, True, True]
    assert code.kernel.scheduler.biglock.owner is None


def test_workqueue_left_at_unload_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("prepare")
    with pytest.raises(KernelPanic, match="the workqueue 'triedwq' made by ") as caught:
        code.unload()
    assert caught.value.rule == "workqueue-left"
    assert f"(tried.c:{line_of(SOURCE, 'return workqueue_create(')})" in caught.value.message


def test_tasks_run_by_priority_and_barrier_waits(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("tasks") == 4
    assert code.text("ran") == "Shlm"
    assert code.unload() == []


def test_task_left_at_unload_panics_with_line(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("leave_task") == 0
    with pytest.raises(KernelPanic, match="its sysmon task slow_task") as caught:
        code.unload()
    assert caught.value.rule == "taskq-left"
    line = line_of(SOURCE, "/* left behind */")
    assert f"leave_task (tried.c:{line})" in caught.value.message


def test_task_waiting_for_its_queue_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("wait_in_task")
    assert text.startswith("taskq-barrier-self: sysmon_task_queue_barrier by barrier_task")
    assert f"tried.c:{line_of(SOURCE, '/* waits for itself */')}" in text


def test_task_keeping_mutex_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("task_keeps_mutex")
    assert text.startswith("callback-with-mutex: sysmon task task")


def test_kernel_task_queue_cannot_be_destroyed(load: Callable[..., Code]) -> None:
    assert load(SOURCE).call("fini") == 16  # EBUSY


def test_soft_interrupt_runs_at_once_on_scheduling_processor(
    load: Callable[..., Code],
) -> None:
    for seed in range(6):
        code = load(SOURCE, seed=seed)
        assert code.call("establish", 0x101) == 1
        assert code.call("raise_it") == 2
        assert code.call("disestablish") == 0
        assert code.unload() == []


def test_non_mpsafe_soft_interrupt_holds_kernel_lock(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    code.call("establish", 1)
    assert code.call("raise_it") in {1, 2}
    assert code.kernel.scheduler.biglock.owner is None


def test_scheduling_soft_interrupt_with_preemption_enabled_panics(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    code.call("establish", 0x101)
    text = code.panic("raise_preemptible")
    assert text.startswith("softint-schedule-preemptible: softint_schedule by raise_preemptible")
    assert f"tried.c:{line_of(SOURCE, '/* preemptible */')}" in text


@pytest.mark.parametrize(
    ("switch", "rule", "line"),
    [
        ("soft_kmem", "softint-context: kmem_alloc", "/* in softint */"),
        ("sleep_ticks", "sleep-in-softint: kpause", "/* sleeps in softint */"),
    ],
)
def test_sleeping_in_soft_interrupt_panics(
    load: Callable[..., Code], switch: str, rule: str, line: str
) -> None:
    code = load(SOURCE)
    code.call("establish", 0x101)
    code.kernel.memory.put_u32(code.address(switch), 1)
    text = code.panic("raise_it")
    assert text.startswith(rule)
    assert f"handler (tried.c:{line_of(SOURCE, line)})" in text


def test_workqueue_of_ipl_none_panics_in_soft_interrupt(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    code.call("establish", 0x101)
    code.call("create", 0, 1)
    code.call("raise_it")
    text = code.violations()[0]
    assert text.startswith("workqueue-in-softint: workqueue_enqueue by handler")
    assert f"tried.c:{line_of(SOURCE, '/* from softint */')}" in text


def test_workqueue_of_ipl_softint_works_in_soft_interrupt(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("establish", 0x101)
    code.call("create", 2, 1)
    assert code.call("raise_it") >= 2
    assert set(code.text("ran")) == {"s"}  # of the handler and of the queue


def test_scheduling_disestablished_soft_interrupt_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("establish", 0x101)
    code.call("disestablish")
    text = code.panic("raise_it")
    assert text.startswith("softint-unknown: softint_schedule by raise_it")
    assert f"disestablish (tried.c:{line_of(SOURCE, '/* disestablished */')})" in text


def test_soft_interrupt_left_at_unload_is_reported(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("establish", 0x101)
    (text,) = code.unload()
    assert text.startswith(
        "softint-left: module tried is unloaded, but the soft interrupt handler (tried.c:"
    )
    assert f"establish (tried.c:{line_of(SOURCE, '/* established */')})" in text


@pytest.mark.parametrize("flags", [0, 1])
def test_cross_calls_run_and_are_waited_for(load: Callable[..., Code], flags: int) -> None:
    code = load(SOURCE)
    assert code.call("cross", flags) == 4
    assert code.text("ran") == "xyz!"
    assert code.unload() == []
