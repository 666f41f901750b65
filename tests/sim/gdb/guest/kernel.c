/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's functions as the driver knows them: memory, locks, threads and
 * time.  A function that it imports and that is missing here prints a message
 * and returns 0.
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/errno.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/mutex.h>
#include <sys/time.h>

#include <uvm/uvm_extern.h>

#include "guest.h"

const char machine[] = "amd64";
const char machine_arch[] = "x86_64";
const char osrelease[] = "11.0";
const char ostype[] = "NetBSD";
char hostname[256] = "guest.example";
int hz = 100;

/* Memory: a list of free pieces would be more than this guest needs. */

static uint64_t heap[1 << 18] __aligned(PAGE_SIZE);	/* 2 MB */
static size_t heap_used;
static struct { void *p; size_t size; } heap_free[64];
static volatile int heap_lock;

static void
heap_enter(void)
{

	while (__atomic_exchange_n(&heap_lock, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
}

static void
heap_exit(void)
{

	__atomic_store_n(&heap_lock, 0, __ATOMIC_RELEASE);
}

void *
kmem_alloc(size_t size, km_flag_t flags)
{
	const size_t rounded = howmany(size, 16) * 2;
	const size_t aligned = size == PAGE_SIZE ? PAGE_SIZE / 8 : 1;
	void *p = NULL;

	heap_enter();
	for (u_int i = 0; i < __arraycount(heap_free) && p == NULL; i++) {
		if (heap_free[i].p != NULL && heap_free[i].size == size) {
			p = heap_free[i].p;
			heap_free[i].p = NULL;
		}
	}
	if (p == NULL) {
		heap_used = howmany(heap_used, aligned) * aligned;
		if (heap_used + rounded > __arraycount(heap))
			panic("out of memory");
		p = &heap[heap_used];
		heap_used += rounded;
	}
	heap_exit();
	return p;
}

void *
kmem_zalloc(size_t size, km_flag_t flags)
{

	return memset(kmem_alloc(size, flags), 0, size);
}

void
kmem_free(void *p, size_t size)
{

	memset(p, 0xde, size);
	heap_enter();
	for (u_int i = 0; i < __arraycount(heap_free); i++) {
		if (heap_free[i].p == NULL) {
			heap_free[i].size = size;
			heap_free[i].p = p;
			break;
		}
	}
	heap_exit();
}

/* Locks and threads. */

void
mutex_init(kmutex_t *m, kmutex_type_t type, int level)
{

	m->mtx_pad[0] = 0;
}

void
mutex_destroy(kmutex_t *m)
{

	if (m->mtx_pad[0] != 0)
		panic("mutex_destroy: it is held");
}

void
mutex_enter(kmutex_t *m)
{
	uintptr_t none;

	if (m->mtx_pad[0] == (uintptr_t)curlwp)
		panic("mutex_enter: locking against myself");
	for (;;) {
		none = 0;
		if (__atomic_compare_exchange_n(&m->mtx_pad[0], &none,
		    (uintptr_t)curlwp, false, __ATOMIC_ACQUIRE,
		    __ATOMIC_RELAXED))
			return;
		give_way();
	}
}

void
mutex_exit(kmutex_t *m)
{

	if (m->mtx_pad[0] != (uintptr_t)curlwp)
		panic("mutex_exit: it is not ours");
	__atomic_store_n(&m->mtx_pad[0], 0, __ATOMIC_RELEASE);
}

int
mutex_owned(const kmutex_t *m)
{

	return m->mtx_pad[0] == (uintptr_t)curlwp;
}

void
cv_init(kcondvar_t *cv, const char *name)
{

	cv->cv_opaque[0] = NULL;
}

void
cv_destroy(kcondvar_t *cv)
{
}

void
cv_signal(kcondvar_t *cv)
{

	__atomic_fetch_add((uintptr_t *)&cv->cv_opaque[0], 1,
	    __ATOMIC_RELEASE);
}

void
cv_broadcast(kcondvar_t *cv)
{

	cv_signal(cv);
}

int
cv_timedwait(kcondvar_t *cv, kmutex_t *m, int ticks)
{
	uintptr_t *const count = (uintptr_t *)&cv->cv_opaque[0];
	const uintptr_t before = *count;
	const uint64_t until = uptime_ns() + (uint64_t)ticks * 1000000000 / hz;
	bool over = false;

	mutex_exit(m);
	while (__atomic_load_n(count, __ATOMIC_ACQUIRE) == before && !over) {
		give_way();
		over = uptime_ns() >= until;
	}
	mutex_enter(m);
	return over ? EWOULDBLOCK : 0;
}

int
cv_timedwait_sig(kcondvar_t *cv, kmutex_t *m, int ticks)
{

	return cv_timedwait(cv, m, ticks);
}

struct lwp *
x86_curlwp(void)
{
	const u_int cpu = this_cpu();

	return worker.l_state == THREAD_ALIVE && worker.l_cpu == cpu &&
	    worker.l_back != NULL ? &worker : &idle[cpu];
}

struct cpu_info *
x86_curcpu(void)
{

	return (struct cpu_info *)&idle[this_cpu()];
}

int
kthread_create(pri_t priority, int flags, struct cpu_info *ci,
    void (*function)(void *), void *argument, lwp_t **lp, const char *name, ...)
{

	if (worker.l_state == THREAD_ALIVE)
		return EAGAIN;
	worker.l_stack = worker.l_back = NULL;
	worker.l_function = function;
	worker.l_argument = argument;
	/* The last vCPU, so that two of them call the host. */
	worker.l_cpu = cpus - 1;
	*lp = &worker;
	__atomic_store_n(&worker.l_state, THREAD_ALIVE, __ATOMIC_RELEASE);
	return 0;
}

void
kthread_exit(int status)
{
	uint64_t *nowhere, *to = worker.l_back;

	worker.l_back = NULL;
	__atomic_store_n(&worker.l_state, THREAD_GONE, __ATOMIC_RELEASE);
	switch_stack(&nowhere, to);
	panic("a dead thread continues");
}

int
kthread_join(lwp_t *l)
{

	while (l->l_state == THREAD_ALIVE)
		give_way();
	l->l_state = THREAD_NONE;
	return 0;
}

void
_kernel_lock(int count)
{
}

void
_kernel_unlock(int all, int *count)
{
}

/* Time: the clock is wrong when the guest comes up. */

static int64_t boot_time = 1500000000LL * 1000000000LL;	/* 2017 */

static struct timespec
to_timespec(int64_t ns)
{

	return (struct timespec){ ns / 1000000000, ns % 1000000000 };
}

void
nanouptime(struct timespec *ts)
{

	*ts = to_timespec(uptime_ns());
}

void
nanotime(struct timespec *ts)
{

	*ts = to_timespec(boot_time + uptime_ns());
}

int
clock_settime1(struct proc *p, clockid_t clock, const struct timespec *ts,
    bool check)
{

	boot_time = ts->tv_sec * 1000000000 + ts->tv_nsec - uptime_ns();
	printf("clock: set to %ld\n", (long)ts->tv_sec);
	return 0;
}

void
adjtime1(const struct timeval *delta, struct timeval *old, struct proc *p)
{
}

int
ratecheck(struct timeval *last, const struct timeval *pause)
{

	return 1;
}

void
preempt_point(void)
{
}

int
ppsratecheck(struct timeval *last, int *count, int most)
{

	return 1;
}
