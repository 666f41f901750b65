/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two threads count.  With BUG defined they count without the lock, so that
 * one that is preempted between its load and its store loses a count.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kthread.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>

#ifndef BUG
#define	BUG	0
#endif

#define	THREADS	2
#define	COUNTS	3

MODULE(MODULE_CLASS_MISC, tally, NULL);

static kmutex_t tally_lock;
static lwp_t *tally_lwp[THREADS];
static volatile int tally_count, tally_seen;

static void
tally_thread(void *arg)
{
	int i, n;

	for (i = 0; i < COUNTS; i++) {
		if (!BUG)
			mutex_enter(&tally_lock);
		n = tally_count;
		tally_seen = n;
		tally_count = n + 1;
		if (!BUG)
			mutex_exit(&tally_lock);
		(void)kpause("tally", false, 1, NULL);
	}
	kthread_exit(0);
}

static int
tally_modcmd(modcmd_t command, void *arg)
{
	int i;

	switch (command) {
	case MODULE_CMD_INIT:
		mutex_init(&tally_lock, MUTEX_DEFAULT, IPL_NONE);
		for (i = 0; i < THREADS; i++) {
			if (kthread_create(PRI_NONE, KTHREAD_MPSAFE |
			    KTHREAD_MUSTJOIN, NULL, tally_thread, NULL,
			    &tally_lwp[i], "tally%d", i) != 0)
				panic("tally: no thread");
		}
		return 0;
	case MODULE_CMD_FINI:
		for (i = 0; i < THREADS; i++)
			(void)kthread_join(tally_lwp[i]);
		mutex_destroy(&tally_lock);
		if (tally_count != THREADS * COUNTS)
			panic("tally: %d of %d counted", tally_count,
			    THREADS * COUNTS);
		return 0;
	default:
		return ENOTTY;
	}
}
