"""Rules for threads and deferred work, each violated in a line of C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic

from .guestcode import Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <sys/param.h>
#include <sys/callout.h>
#include <sys/intr.h>
#include <sys/condvar.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/pserialize.h>
#include <sys/systm.h>
#include <sys/workqueue.h>
#include <sys/xcall.h>

#include <dev/sysmon/sysmon_taskq.h>

static struct workqueue *queue;
static struct work work, more;
static kmutex_t lock;
static kcondvar_t condition;
static callout_t timer;
static lwp_t *thread;
static char nothing[64];

/* The creator of the queue waits for its first work. */
static int
queue_with(void (*function)(struct work *, void *), int flags)
{

	(void)workqueue_create(&queue, "triedwq", function, NULL, PRI_NONE,
		IPL_NONE, flags);
	workqueue_enqueue(queue, &work, NULL);
	workqueue_wait(queue, &work);
	return 0;
}

static void
locks(struct work *wk, void *arg)
{				/* takes the kernel lock */

	KERNEL_LOCK(1, NULL);
}

int
work_keeps_the_kernel_lock(void)
{

	return queue_with(locks, WQ_MPSAFE);
}

static void
unlocks(struct work *wk, void *arg)
{				/* gives the kernel lock away */

	KERNEL_UNLOCK_ONE(NULL);
}

int
work_gives_the_kernel_lock_away(void)
{

	return queue_with(unlocks, 0);
}

static void
reads(void *arg)
{				/* stays in a section */

	(void)pserialize_read_enter();	/* entered */
	nothing[0]++;
}

int
task_stays_in_a_section(void)
{

	(void)sysmon_task_queue_sched(0, reads, NULL);
	kpause("task", false, 5, NULL);
	return 0;
}

int
handler_stays_in_a_section(void)
{
	void *soft = softint_establish(SOFTINT_SERIAL | SOFTINT_MPSAFE, reads, NULL);

	kpreempt_disable();
	softint_schedule(soft);
	kpreempt_enable();
	kpause("soft", false, 5, NULL);
	return 0;
}

/* MP-safe, so the kernel lock is not held for it. */
static void
lingers(void *arg)
{				/* lingers with the kernel lock */

	KERNEL_LOCK(1, NULL);
}

int
callout_keeps_the_kernel_lock(void)
{

	callout_init(&timer, CALLOUT_MPSAFE);
	callout_reset(&timer, 1, lingers, NULL);
	kpause("fire", false, 5, NULL);
	return 0;
}

static void
takes_spin(void *arg)
{				/* takes the spin mutex along */

	mutex_enter(&lock);
}

int
handler_keeps_a_spin_mutex(void)
{
	void *soft = softint_establish(SOFTINT_SERIAL | SOFTINT_MPSAFE, takes_spin,
		NULL);

	mutex_init(&lock, MUTEX_DEFAULT, IPL_VM);
	kpreempt_disable();
	softint_schedule(soft);
	kpreempt_enable();
	kpause("soft", false, 5, NULL);
	return 0;
}

static void
waits_for_another(void *arg)
{

	mutex_enter(&lock);
	cv_wait(&condition, &lock);	/* waits in a soft interrupt */
	mutex_exit(&lock);
}

int
callout_waits(void)
{

	mutex_init(&lock, MUTEX_DEFAULT, IPL_SOFTCLOCK);
	cv_init(&condition, "never");
	callout_init(&timer, CALLOUT_MPSAFE);
	callout_reset(&timer, 1, waits_for_another, NULL);
	kpause("fire", false, 5, NULL);
	return 0;
}

int
callout_stays_in_a_section(void)
{

	callout_init(&timer, CALLOUT_MPSAFE);
	callout_reset(&timer, 1, reads, NULL);
	kpause("fire", false, 5, NULL);
	return 0;
}

static void
waits(void *arg)
{

	mutex_enter(&lock);
	mutex_exit(&lock);
}

/* callout_stop() does not wait for a function that runs; callout_halt() would. */
int
callout_destroyed_while_it_runs(void)
{

	mutex_init(&lock, MUTEX_DEFAULT, IPL_SOFTCLOCK);
	callout_init(&timer, CALLOUT_MPSAFE);
	callout_setfunc(&timer, waits, NULL);
	mutex_enter(&lock);
	callout_schedule(&timer, 1);
	kpause("fire", false, 5, NULL);
	(void)callout_stop(&timer);
	callout_destroy(&timer);	/* destroyed while it runs */
	return 0;
}

static void
comes_back(struct work *wk, void *arg)
{

	kpause("work", false, 10, NULL);
	workqueue_enqueue(queue, &more, NULL);	/* enqueued on a dying queue */
	nothing[0]++;
}

int
work_for_a_dying_queue(void)
{

	(void)workqueue_create(&queue, "triedwq", comes_back, NULL, PRI_NONE,
		IPL_NONE, WQ_MPSAFE);
	workqueue_enqueue(queue, &work, NULL);
	kpause("start", false, 2, NULL);
	workqueue_destroy(queue);
	return 0;
}

static void
crossed(void *first, void *second)
{				/* the cross call */

	kpause("cross", false, hz, NULL);
	nothing[0]++;
}

int
cross_call_without_wait(void)
{

	(void)xc_broadcast(0, crossed, NULL, NULL);	/* called across */
	kpause("cross", false, 2, NULL);
	return 0;
}

static void
takes(void *first, void *second)
{

	mutex_enter(&lock);		/* takes the mutex along */
	nothing[0]++;
}

int
cross_call_keeps_a_mutex(void)
{

	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	xc_wait(xc_broadcast(0, takes, NULL, NULL));
	return 0;
}

static void
ends(void *arg)
{

	kpause("end", false, 20, NULL);
	kthread_exit(0);
}

int
joinable_without_a_place(void)
{

	return 1 + kthread_create(PRI_NONE,	/* nowhere to put it */
		KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL, ends, NULL, NULL, "ends");
}

int
join_of_a_free_thread(void)
{

	(void)kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, ends, NULL, &thread,
		"ends");
	return 1 + kthread_join(thread);	/* joins a free thread */
}

int
join_of_no_thread(void)
{

	return 1 + kthread_join((lwp_t *)nothing);	/* joins no thread */
}

static void
joins(void *arg)
{

	(void)kthread_join(thread);
	kthread_exit(0);
}

int
join_by_two(void)
{
	lwp_t *first;

	(void)kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL,
		ends, NULL, &thread, "ends");
	(void)kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, joins, NULL, &first,
		"first");
	kpause("first", false, 5, NULL);
	return 1 + kthread_join(thread);	/* joins as the second */
}
"""


@dataclass(frozen=True)
class Broken:
    """The expected message: the function, the mark of the line, the object."""

    rule: str
    function: str
    mark: str
    words: tuple[str, ...] = ()


PANICS = {
    "work_keeps_the_kernel_lock": Broken(
        "callback-kernel-lock",
        "locks",
        "takes the kernel lock",
        ("workqueue 'triedwq'", "returned with the kernel lock held 1 times instead of 0"),
    ),
    "work_gives_the_kernel_lock_away": Broken(
        "callback-kernel-lock",
        "unlocks",
        "gives the kernel lock away",
        ("workqueue 'triedwq'", "returned with the kernel lock held 0 times instead of 1"),
    ),
    "task_stays_in_a_section": Broken(
        "callback-in-pserialize", "reads", "entered", ("sysmon task",)
    ),
    "handler_stays_in_a_section": Broken(
        "callback-in-pserialize", "reads", "stays in a section", ("soft interrupt handler",)
    ),
    "callout_keeps_the_kernel_lock": Broken(
        "callback-kernel-lock",
        "lingers",
        "lingers with the kernel lock",
        ("callout lingers", "returned with the kernel lock held 1 times instead of 0"),
    ),
    "handler_keeps_a_spin_mutex": Broken(
        "callback-with-spin-mutex",
        "takes_spin",
        "takes the spin mutex along",
        ("soft interrupt handler", "the mutex at lock in data of module tried"),
    ),
    "callout_waits": Broken(
        "condvar-in-softint",
        "waits_for_another",
        "waits in a soft interrupt",
        ("cv_wait called in soft interrupt context",),
    ),
    "callout_stays_in_a_section": Broken(
        "callback-in-pserialize", "reads", "entered", ("callout reads",)
    ),
    "callout_destroyed_while_it_runs": Broken(
        "callout-destroy-running",
        "callout_destroyed_while_it_runs",
        "destroyed while it runs",
        ("the callout at timer in data of module tried (waits (tried.c:", "is running"),
    ),
    "work_for_a_dying_queue": Broken(
        "workqueue-dying",
        "comes_back",
        "enqueued on a dying queue",
        ("workqueue 'triedwq' is being destroyed",),
    ),
    "cross_call_keeps_a_mutex": Broken(
        "callback-with-mutex",
        "takes",
        "takes the mutex along",
        ("cross call takes", "the mutex at lock in data of module tried"),
    ),
    "joinable_without_a_place": Broken(
        "kthread-join", "joinable_without_a_place", "nowhere to put it", ("KTHREAD_MUSTJOIN",)
    ),
    "join_of_a_free_thread": Broken(
        "kthread-join",
        "join_of_a_free_thread",
        "joins a free thread",
        ("thread ends", "was made without KTHREAD_MUSTJOIN"),
    ),
    "join_of_no_thread": Broken(
        "kthread-join",
        "join_of_no_thread",
        "joins no thread",
        ("nothing in data of module tried", "is not a thread"),
    ),
    "join_by_two": Broken(
        "kthread-join",
        "join_by_two",
        "joins as the second",
        ("thread ends", "is being joined already"),
    ),
}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_module(SOURCE, tmp_path_factory.mktemp("deferred"))


@pytest.mark.parametrize(("function", "broken"), PANICS.items(), ids=PANICS)
def test_rule_violation_panics_at_its_line(module: Path, function: str, broken: Broken) -> None:
    text = Code(module, "amd64").panic(function)
    assert text.startswith(f"{broken.rule}: ")
    assert f"{broken.function} (tried.c:{line_of(SOURCE, f'/* {broken.mark} */')})" in text
    for words in broken.words:
        assert words in text


def test_running_cross_call_at_unload_panics(module: Path) -> None:
    code = Code(module, "amd64")
    code.call("cross_call_without_wait")
    with pytest.raises(KernelPanic) as caught:
        code.unload()
    text = caught.value.message
    assert caught.value.rule == "xcall-left"
    assert f"crossed (tried.c:{line_of(SOURCE, '/* the cross call */')})" in text
    line = line_of(SOURCE, "/* called across */")
    assert f"cross_call_without_wait (tried.c:{line}) has not returned" in text
