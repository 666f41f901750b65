"""Rules of smaller services, each violated in a line of C, and a CPU that is held for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.sysctl import Sysctl

from .guestcode import MACHINES, Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <sys/param.h>
#include <sys/callout.h>
#include <sys/cpu.h>
#include <sys/device.h>
#include <sys/intr.h>
#include <sys/kernel.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/pserialize.h>
#include <sys/sysctl.h>
#include <sys/systm.h>
#include <sys/workqueue.h>

#include <dev/sysmon/sysmon_taskq.h>
#include <dev/sysmon/sysmonvar.h>

#if defined(__x86_64__) || defined(__i386__)
#include <x86/cpu.h>
#else
#include <machine/cpu.h>
#endif

void sysctl_unlock(void);

static kmutex_t lock, spin;
static callout_t timer;
static struct workqueue *queue;
static struct work work;
static struct sysmon_pswitch button = {
	.smpsw_name = "tried0", .smpsw_type = PSWITCH_TYPE_SLEEP
};
static struct sysctllog *nodes;
static char nothing[64];

static void
slow(void *arg)
{

	for (int i = 0; i < 20; i++)
		DELAY(1000000);			/* stuck in a callout */
}

int
callout_stuck(void)
{

	callout_init(&timer, CALLOUT_MPSAFE);
	callout_setfunc(&timer, slow, NULL);
	callout_schedule(&timer, 1);
	kpause("stuck", false, 40 * hz, NULL);
	return 0;
}

int
spin_stuck(int seconds)
{

	mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
	mutex_enter(&spin);			/* spin taken */
	for (int i = 0; i < seconds; i++)
		DELAY(1000000);			/* stuck with spin */
	mutex_exit(&spin);
	mutex_destroy(&spin);
	return 0;
}

int
thread_busy(void)
{

	for (int i = 0; i < 20; i++)
		DELAY(1000000);
	return 0;
}

int
callout_destroyed_twice(void)
{

	callout_init(&timer, CALLOUT_MPSAFE);
	callout_setfunc(&timer, slow, NULL);
	callout_destroy(&timer);
	callout_destroy(&timer);		/* callout-uninitialised */
	return 0;
}

static void
worker(struct work *wk, void *arg)
{
}

int
queue_without_function(void)
{

	return 1 + workqueue_create(&queue, "tried", NULL, NULL, /* workqueue-without-function */
		PRI_NONE, IPL_NONE, WQ_MPSAFE);
}

int
queue_on_a_cpu(void)
{

	(void)workqueue_create(&queue, "tried", worker, NULL, PRI_NONE,
		IPL_NONE, WQ_MPSAFE);
	workqueue_enqueue(queue, &work, curcpu());	/* workqueue-cpu */
	return 0;
}

int
queue_unknown(void)
{

	workqueue_destroy((struct workqueue *)nothing);	/* workqueue-unknown */
	return 0;
}

int
softint_of_level_9(void)
{

	return softint_establish(9, slow, NULL) == NULL;	/* softint-establish */
}

int
softint_without_function(void)
{

	return softint_establish(SOFTINT_NET, NULL, NULL) == NULL; /* softint-without-function */
}

int
spin_twice(void)
{

	mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
	mutex_enter(&spin);
	mutex_enter(&spin);			/* mutex-spin-double-enter */
	return 0;
}

int
unlock_outside(void)
{

	sysctl_unlock();			/* sysctl-not-locked */
	return 0;
}

int
preemption_once_too_often(void)
{

	kpreempt_disable();
	kpreempt_enable();
	kpreempt_enable();			/* preemption-not-disabled */
	return 0;
}

int
no_device(void)
{

	return 1 + device_unit((device_t)nothing);	/* no-device */
}

int
button_event(void)
{

	(void)sysmon_pswitch_register(&button);
	sysmon_pswitch_event(&button, 7);	/* pswitch-event */
	return 0;
}

int
pserialize_unknown(void)
{

	pserialize_perform((pserialize_t)nothing);	/* pserialize-unknown */
	return 0;
}

int
queue_of_the_kernel(void)
{

	return 1 + sysmon_task_queue_fini();	/* taskq-of-the-kernel */
}

int
far_away(void)
{

	return *(volatile int *)0x12345678;	/* page-fault */
}

int
switch_unknown(void)
{

	sysmon_pswitch_event(&button, PSWITCH_EVENT_PRESSED);	/* pswitch-unregistered */
	return 0;
}

int
button_left(void)
{

	return 1 + sysmon_pswitch_register(&button);	/* pswitch-left */
}

static int
handler(SYSCTLFN_ARGS)
{

	if (newp != NULL)
		sysctl_teardown(&nodes);	/* sysctl-lock */
	if (namelen != 0)
		sysctl_teardown(&nodes);	/* sysctl-lock-read */
	mutex_enter(&lock);			/* syscall-with-mutex */
	*oldlenp = 0;
	return 0;
}

int
node(void)
{

	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	return sysctl_createv(&nodes, 0, NULL, NULL, CTLFLAG_READWRITE,
		CTLTYPE_INT, "tried", NULL, handler, 0, NULL, 4, CTL_MACHDEP,
		CTL_CREATE, CTL_EOL);
}
"""

PANICS = {
    "queue_without_function": "workqueue-without-function",
    "queue_on_a_cpu": "workqueue-cpu",
    "queue_unknown": "workqueue-unknown",
    "softint_of_level_9": "softint-establish",
    "softint_without_function": "softint-without-function",
    "spin_twice": "mutex-spin-double-enter",
    "unlock_outside": "sysctl-not-locked",
    "preemption_once_too_often": "preemption-not-disabled",
    "no_device": "no-device",
    "pserialize_unknown": "pserialize-unknown",
    "far_away": "page-fault",
    "callout_destroyed_twice": "callout-uninitialised",
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("broken")
    return {machine: compile_module(SOURCE, where / machine, machine) for machine in MACHINES}


@pytest.mark.parametrize(("function", "rule"), PANICS.items(), ids=PANICS)
def test_rule_violation_panics_at_its_line(
    modules: dict[str, Path], function: str, rule: str
) -> None:
    text = Code(modules["amd64"], "amd64").panic(function)
    assert text.startswith(f"{rule}: ")
    assert f"{function} (tried.c:{line_of(SOURCE, f'/* {rule} */')})" in text


@pytest.mark.parametrize("machine", MACHINES)
def test_callout_holding_cpu_for_15_s_stops_heartbeat(
    modules: dict[str, Path], machine: str
) -> None:
    text = Code(modules[machine], machine).panic("callout_stuck")
    assert text.startswith("heartbeat: the soft interrupt thread")
    assert f"slow (tried.c:{line_of(SOURCE, 'stuck in a callout')})" in text
    assert "15.0 s" in text or "16.0 s" in text


@pytest.mark.parametrize("machine", MACHINES)
def test_spin_mutex_held_for_15_s_stops_heartbeat(modules: dict[str, Path], machine: str) -> None:
    code = Code(modules[machine], machine)
    assert code.call("spin_stuck", 14) == 0
    text = code.panic("spin_stuck", 20)
    assert text.startswith("heartbeat: the spin mutex at spin in data of module tried")
    assert f"taken by spin_stuck (tried.c:{line_of(SOURCE, '/* spin taken */')})" in text
    assert f"spin_stuck (tried.c:{line_of(SOURCE, 'stuck with spin')})" in text


def test_thread_busy_for_20_s_allows_interrupts(modules: dict[str, Path]) -> None:
    assert Code(modules["amd64"], "amd64").call("thread_busy") == 0


def test_event_for_unregistered_switch_is_reported(modules: dict[str, Path]) -> None:
    code = Code(modules["amd64"], "amd64")
    code.call("switch_unknown")
    (found,) = code.violations()
    assert found.startswith("pswitch-unregistered: ")
    assert f"tried.c:{line_of(SOURCE, '/* pswitch-unregistered */')}" in found


def test_unknown_switch_event_has_no_name_and_no_panic(
    modules: dict[str, Path],
) -> None:
    code = Code(modules["amd64"], "amd64")
    code.call("button_event")
    found = code.violations()[0]
    assert found.startswith("pswitch-event: ")
    assert f"button_event (tried.c:{line_of(SOURCE, '/* pswitch-event */')})" in found


def test_registered_switch_at_unload_is_reported(modules: dict[str, Path]) -> None:
    code = Code(modules["amd64"], "amd64")
    code.call("button_left")
    (found,) = code.unload()
    assert found.startswith("pswitch-left: ")
    assert f"tried.c:{line_of(SOURCE, '/* pswitch-left */')}" in found


def test_module_cannot_destroy_kernel_task_queue(modules: dict[str, Path]) -> None:
    code = Code(modules["amd64"], "amd64")
    code.call("queue_of_the_kernel")
    (found,) = code.violations()
    assert found.startswith("taskq-of-the-kernel: ")
    assert f"tried.c:{line_of(SOURCE, '/* taskq-of-the-kernel */')}" in found


def test_sysctl_handler_removing_its_own_tree_panics(modules: dict[str, Path]) -> None:
    code = Code(modules["amd64"], "amd64")
    assert code.call("node") == 0
    call = code.kernel.subject(Sysctl).call("machdep.tried", new=b"\0\0\0\0")
    line = line_of(SOURCE, "/* sysctl-lock */")
    with pytest.raises(KernelPanic, match=rf"handler \(tried\.c:{line}\)") as caught:
        code.kernel.run_process("sysctl", call)
    assert caught.value.rule == "sysctl-lock"


def test_reading_sysctl_handler_deadlocks_when_removing_its_tree(
    modules: dict[str, Path],
) -> None:
    """The lock does not record its readers: only kernels with LOCKDEBUG detect recursion."""
    code = Code(modules["amd64"], "amd64")
    assert code.call("node") == 0
    call = code.kernel.subject(Sysctl).call("machdep.tried", extra=(1,))
    line = line_of(SOURCE, "/* sysctl-lock-read */")
    with pytest.raises(KernelPanic, match=rf"handler \(tried\.c:{line}\)") as caught:
        code.kernel.run_process("sysctl", call)
    assert caught.value.rule == "sysctl-lock-read"


def test_sysctl_handler_returning_with_mutex_panics(modules: dict[str, Path]) -> None:
    code = Code(modules["amd64"], "amd64")
    assert code.call("node") == 0
    with pytest.raises(KernelPanic, match=r"handler \(tried\.c:\d+\)") as caught:
        code.kernel.run_process("sysctl", code.kernel.subject(Sysctl).call("machdep.tried"))
    assert caught.value.rule == "syscall-with-mutex"
