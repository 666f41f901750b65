/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and setting the clocks (NetBSD sys/sys/timevar.h).
 */
#ifndef _KPI_SYS_TIMEVAR_H_
#define _KPI_SYS_TIMEVAR_H_

#include <sys/atomic.h>
#include <sys/systm.h>
#include <sys/time.h>

void	nanotime(struct timespec *);
void	getnanotime(struct timespec *);
void	nanouptime(struct timespec *);
void	getnanouptime(struct timespec *);
void	microtime(struct timeval *);
void	microuptime(struct timeval *);
void	getmicrouptime(struct timeval *);
void	adjtime1(const struct timeval *, struct timeval *, struct proc *);
int	clock_settime1(struct proc *, clockid_t, const struct timespec *, bool);
int	ratecheck(struct timeval *, const struct timeval *);
int	ppsratecheck(struct timeval *, int *, int);

/*
 * Seconds since 1970 and since boot. NetBSD 10 has variables; between
 * 10.99.2 and 10.99.10 they became macros: loads of other variables where a
 * 64-bit load is atomic, calls of functions elsewhere. A module that was
 * built for one form does not link on the other.
 */
#if __NetBSD_Version__ < 1099000300
extern volatile time_t time_second;
extern volatile time_t time_uptime;
#else
#define	time_second	getrealtime()
#define	time_uptime	getuptime()
#ifdef _LP64
extern volatile time_t time__second;
extern volatile time_t time__uptime;

static __inline __unused time_t
getrealtime(void)
{

	return atomic_load_relaxed(&time__second);
}

static __inline __unused time_t
getuptime(void)
{

	return atomic_load_relaxed(&time__uptime);
}
#else
time_t	getrealtime(void);
time_t	getuptime(void);
#endif
#endif

#endif	/* !_KPI_SYS_TIMEVAR_H_ */
