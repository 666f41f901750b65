/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One function for each rule of the kernel that can be broken. Where the
 * kernel notices, the line says "found here" and the name of the rule.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/callout.h>
#include <sys/condvar.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/intr.h>

#include <dev/sysmon/sysmonvar.h>

MODULE(MODULE_CLASS_DRIVER, rules, "sysmon_power");

static kmutex_t	lock;
static kmutex_t	spin;
static kcondvar_t cv;
static callout_t late;
static lwp_t	*thread;
static volatile char *volatile object;
static char	text[16] __aligned(8);
static const char fixed[] = "fixed";

/* Functions to be called from outside must not be static. */
int	double_enter(void);
int	exit_unheld(void);
int	destroy_held(void);
int	enter_uninitialised(void);
int	init_twice(void);
int	wait_without_mutex(void);
int	wait_with_spin(void);
int	destroy_waited(void);
int	free_wrong_size(void);
int	free_twice(void);
int	free_inner(void);
int	alloc_nothing(void);
int	use_after_free(void);
int	read_behind(void);
int	write_before(void);
int	write_rodata(void);
int	null_read(void);
int	user_read(long);
int	jump_null(void);
int	free_with_mutex(void);
int	callout_unset(void);
int	callout_destroy_pending(void);
int	callout_after_destroy(void);
int	callout_sleeps(void);
int	callout_allocates(void);
int	thread_returns(void);
int	thread_joins_itself(void);
int	thread_exits_with_mutex(void);
int	event_with_mutex(void);
int	leak(void);
int	leave_mutex(void);
int	leave_thread(void);
int	leave_callout(void);
int	clobber(void);
int	overlap(void);
int	deep(int);
int	spins(void);
int	jumps(void);
int	calls_forever(void);
int	waits_forever(void);
int	timed_out(void);
int	woken(void);

int
double_enter(void)
{

	mutex_enter(&lock);		/* taken here */
	mutex_enter(&lock);		/* found here: mutex-double-enter */
	return 0;
}

int
exit_unheld(void)
{

	mutex_exit(&lock);		/* found here: mutex-exit-by-non-owner */
	return 0;
}

int
destroy_held(void)
{

	mutex_enter(&lock);
	mutex_destroy(&lock);		/* found here: mutex-destroy-held */
	return 0;
}

int
enter_uninitialised(void)
{
	kmutex_t *mtx;

	mtx = kmem_zalloc(sizeof(*mtx), KM_SLEEP);
	mutex_enter(mtx);		/* found here: mutex-uninitialised */
	return 0;
}

int
init_twice(void)
{

	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE); /* found here: mutex-already-initialised */
	return 0;
}

int
wait_without_mutex(void)
{

	cv_wait(&cv, &lock);		/* found here: condvar-without-mutex */
	return 0;
}

int
wait_with_spin(void)
{

	mutex_enter(&lock);
	mutex_enter(&spin);
	cv_wait(&cv, &lock);		/* found here: switch-with-spin-mutex */
	return 0;
}

static void
sleeper(void *arg)
{

	mutex_enter(&lock);
	cv_wait(&cv, &lock);
	mutex_exit(&lock);
	kthread_exit(0);
}

int
destroy_waited(void)
{

	(void)kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL,
	    sleeper, NULL, &thread, "sleeper");
	kpause("settle", false, 5, NULL);
	cv_destroy(&cv);		/* found here: condvar-destroy-waited-on */
	return 0;
}

int
free_wrong_size(void)
{

	object = kmem_alloc(24, KM_SLEEP);	/* made here */
	kmem_free(__UNCONST(object), 16);	/* found here: kmem-size */
	return 0;
}

int
free_twice(void)
{
	char *p;

	p = kmem_alloc(24, KM_SLEEP);
	kmem_free(p, 24);			/* freed once */
	kmem_free(p, 24);			/* found here: double-free */
	return 0;
}

int
free_inner(void)
{
	char *p;

	p = kmem_alloc(24, KM_SLEEP);
	kmem_free(p + 8, 16);			/* found here: bad-free */
	return 0;
}

int
alloc_nothing(void)
{

	return kmem_alloc(0, KM_SLEEP) == NULL;	/* found here: kmem-size */
}

int
use_after_free(void)
{

	object = kmem_alloc(24, KM_SLEEP);
	kmem_free(__UNCONST(object), 24);
	return object[3];			/* found here: use-after-free */
}

int
read_behind(void)
{

	object = kmem_alloc(21, KM_SLEEP);
	return object[24];			/* found here: out-of-bounds */
}

int
write_before(void)
{

	object = kmem_alloc(21, KM_SLEEP);
	object[-2] = 1;
	kmem_free(__UNCONST(object), 21);	/* found here: out-of-bounds */
	return 0;
}

int
write_rodata(void)
{
	volatile char *p;

	p = __UNCONST(fixed);
	p[0] = 'F';				/* found here: read-only-memory */
	return 0;
}

int
null_read(void)
{
	struct { char pad[40]; volatile int member; } *volatile p = NULL;

	return p->member;			/* found here: null-pointer */
}

int
user_read(long address)
{

	return *(volatile char *)address;	/* found here: user-pointer */
}

int
jump_null(void)
{
	int (*volatile function)(void) = NULL;

	return function() + 1;
}

int
free_with_mutex(void)
{
	kmutex_t *mtx;

	mtx = kmem_alloc(sizeof(*mtx), KM_SLEEP);
	mutex_init(mtx, MUTEX_DEFAULT, IPL_NONE);
	kmem_free(mtx, sizeof(*mtx));		/* found here: free-with-mutex */
	return 0;
}

int
callout_unset(void)
{

	callout_init(&late, CALLOUT_MPSAFE);
	callout_schedule(&late, 1);		/* found here: callout-without-function */
	return 0;
}

static void
nothing(void *arg)
{

}

int
callout_destroy_pending(void)
{

	callout_init(&late, CALLOUT_MPSAFE);
	callout_reset(&late, 10, nothing, NULL);
	callout_destroy(&late);			/* found here: callout-destroy-pending */
	return 0;
}

int
callout_after_destroy(void)
{

	callout_init(&late, CALLOUT_MPSAFE);
	callout_setfunc(&late, nothing, NULL);
	callout_destroy(&late);
	callout_schedule(&late, 1);		/* found here: callout-uninitialised */
	return 0;
}

static void
late_sleeps(void *arg)
{

	kpause("late", false, 1, NULL);		/* found here: sleep-in-softint */
	text[0] = 1;
}

static void
late_allocates(void *arg)
{

	object = kmem_alloc(8, KM_NOSLEEP);	/* found here: softint-context */
}

static int
run_late(void (*function)(void *))
{

	callout_init(&late, CALLOUT_MPSAFE);
	callout_reset(&late, 1, function, NULL);
	kpause("wait", false, 10, NULL);
	return 0;
}

int
callout_sleeps(void)
{

	return run_late(late_sleeps);
}

int
callout_allocates(void)
{

	return run_late(late_allocates);
}

static void
returns(void *arg)
{

	mutex_enter(&lock);
	mutex_exit(&lock);
}

static void
joins_itself(void *arg)
{

	kpause("settle", false, 2, NULL);
	(void)kthread_join(thread);		/* found here: kthread-join-self */
	kthread_exit(0);
}

static void
exits_with_mutex(void *arg)
{

	mutex_enter(&lock);
	kthread_exit(0);			/* found here: exit-with-mutex */
}

static int
run_thread(void (*function)(void *))
{

	(void)kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL,
	    function, NULL, &thread, "%s%d", "rules", 0);
	kpause("wait", false, 10, NULL);
	return 0;
}

int
thread_returns(void)
{

	return run_thread(returns);
}

int
thread_joins_itself(void)
{

	return run_thread(joins_itself);
}

int
thread_exits_with_mutex(void)
{

	return run_thread(exits_with_mutex);
}

static struct sysmon_pswitch button = {
	.smpsw_name = "rules0",
	.smpsw_type = PSWITCH_TYPE_SLEEP
};

int
event_with_mutex(void)
{

	(void)sysmon_pswitch_register(&button);
	mutex_enter(&lock);
	sysmon_pswitch_event(&button, PSWITCH_EVENT_RELEASED); /* found here: pswitch-with-mutex */
	mutex_exit(&lock);
	sysmon_pswitch_unregister(&button);
	return 0;
}

int
leak(void)
{

	object = kmem_alloc(48, KM_SLEEP);	/* found here: leak */
	return 0;
}

int
leave_mutex(void)
{
	static kmutex_t left;

	mutex_init(&left, MUTEX_DEFAULT, IPL_NONE); /* found here: mutex-not-destroyed */
	return 0;
}

int
leave_thread(void)
{

	return run_thread(sleeper);
}

int
leave_callout(void)
{

	callout_init(&late, CALLOUT_MPSAFE);
	callout_reset(&late, 1000, nothing, NULL);
	return 0;
}

/* Breaks the calling convention: it changes a preserved register. */
int
clobber(void)
{

#if defined(__x86_64__)
	__asm volatile("movq $7, %rbx");
#elif defined(__i386__)
	__asm volatile("movl $7, %ebx");
#else
	__asm volatile("mov x19, #7");
#endif
	return 0;
}

int
overlap(void)
{
	volatile size_t size = 12;

	(void)memcpy(text + 1, text, size);	/* found here: memcpy-overlap */
	return 0;
}

int
deep(int n)
{
	volatile char frame[512];

	frame[n] = (char)n;
	return n == 0 ? 0 : deep(n - 1) + frame[n];
}

/* The compiler makes a jump of the last call: no line of the module is on the stack. */
int
jumps(void)
{

	return mutex_tryenter((kmutex_t *)(void *)text);
}

int
spins(void)
{
	volatile int forever = 1;

	while (forever)
		continue;
	return 0;
}

int
calls_forever(void)
{

	for (;;) {
		mutex_enter(&lock);
		mutex_exit(&lock);
	}
}

int
waits_forever(void)
{

	mutex_enter(&lock);
	cv_wait(&cv, &lock);
	mutex_exit(&lock);
	return 0;
}

int
timed_out(void)
{
	int error;

	mutex_enter(&lock);
	error = cv_timedwait(&cv, &lock, 3);
	mutex_exit(&lock);
	return error;
}

int
woken(void)
{

	mutex_enter(&lock);
	cv_broadcast(&cv);
	mutex_exit(&lock);
	return 0;
}

static int
rules_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
		mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
		cv_init(&cv, "rules");
		return 0;
	case MODULE_CMD_FINI:
		cv_destroy(&cv);
		mutex_destroy(&spin);
		mutex_destroy(&lock);
		return 0;
	default:
		return ENOTTY;
	}
}
