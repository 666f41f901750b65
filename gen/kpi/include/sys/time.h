/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Seconds and fractions (NetBSD sys/sys/time.h, timespec.h).
 */
#ifndef _KPI_SYS_TIME_H_
#define _KPI_SYS_TIME_H_

#include <sys/types.h>

struct timeval {
	time_t		tv_sec;
	suseconds_t	tv_usec;
};

struct timespec {
	time_t	tv_sec;
	long	tv_nsec;
};

#define	CLOCK_REALTIME	0
#define	CLOCK_MONOTONIC	3

#define	timespecclear(ts)	((ts)->tv_sec = 0, (ts)->tv_nsec = 0)
#define	timespecisset(ts)	((ts)->tv_sec != 0 || (ts)->tv_nsec != 0)
#define	timespeccmp(a, b, cmp)						\
	((a)->tv_sec == (b)->tv_sec ? (a)->tv_nsec cmp (b)->tv_nsec	\
	    : (a)->tv_sec cmp (b)->tv_sec)
#define	timespecadd(a, b, sum) do {					\
	(sum)->tv_sec = (a)->tv_sec + (b)->tv_sec;			\
	(sum)->tv_nsec = (a)->tv_nsec + (b)->tv_nsec;			\
	if ((sum)->tv_nsec >= 1000000000L) {				\
		(sum)->tv_sec++;					\
		(sum)->tv_nsec -= 1000000000L;				\
	}								\
} while (0)
#define	timespecsub(a, b, diff) do {					\
	(diff)->tv_sec = (a)->tv_sec - (b)->tv_sec;			\
	(diff)->tv_nsec = (a)->tv_nsec - (b)->tv_nsec;			\
	if ((diff)->tv_nsec < 0) {					\
		(diff)->tv_sec--;					\
		(diff)->tv_nsec += 1000000000L;				\
	}								\
} while (0)

#ifdef _KERNEL
#include <sys/timevar.h>
#endif

#include <sys/timevar.h>

#endif	/* !_KPI_SYS_TIME_H_ */
