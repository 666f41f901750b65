/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parameters for all kernel code (NetBSD sys/sys/param.h).
 * __NetBSD_Version__ comes from the compiler's command line.
 */
#ifndef _KPI_SYS_PARAM_H_
#define _KPI_SYS_PARAM_H_

#ifndef __NetBSD_Version__
#error "set the release with -D__NetBSD_Version__=..."
#endif

#include <sys/types.h>
#include <sys/errno.h>
#include <sys/inttypes.h>
#include <machine/limits.h>
#include <machine/param.h>
#include <sys/time.h>

#define	MAXHOSTNAMELEN	256
#define	MAXPATHLEN	1024

#define	DEV_BSIZE	512
#define	MAXPHYS		(64 * 1024)

#define	MIN(a, b)	((a) < (b) ? (a) : (b))
#define	MAX(a, b)	((a) > (b) ? (a) : (b))
/* m is a power of two. */
#define	roundup2(x, m)	((((x) - 1) | ((m) - 1)) + 1)
#define	howmany(x, y)	(((x) + ((y) - 1)) / (y))
#define	roundup(x, y)	((((x) + ((y) - 1)) / (y)) * (y))

#define	PRI_NONE	(-1)

extern int hz;

/*
 * Milliseconds to ticks, rounded down: fewer than one tick gives 0, which
 * cv_timedwait(9) takes for no limit.
 */
#ifdef _LP64
#define	mstohz(ms)	((unsigned int)((ms + 0ul) * hz / 1000ul))
#define	hztoms(t)	((unsigned int)(((t) + 0ul) * 1000ul / hz))
#else
/* 32-bit arithmetic alone; above the bound the product could overflow. */
#define	__KPI_SCALE_SAFE	0x20000u

static __inline __unused unsigned int
mstohz(unsigned int ms)
{

	if (__predict_false(ms >= __KPI_SCALE_SAFE))
		return ms / 1000u * hz;
	return ms * hz / 1000u;
}

static __inline __unused unsigned int
hztoms(unsigned int ticks)
{

	if (__predict_false(ticks >= __KPI_SCALE_SAFE))
		return ticks / hz * 1000u;
	return ticks * 1000u / hz;
}
#endif

#endif	/* !_KPI_SYS_PARAM_H_ */
