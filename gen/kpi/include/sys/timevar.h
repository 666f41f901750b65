/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and setting the clocks (NetBSD sys/sys/timevar.h). time_second
 * and time_uptime are left out: their form differs from release to release.
 */
#ifndef _KPI_SYS_TIMEVAR_H_
#define _KPI_SYS_TIMEVAR_H_

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

#endif	/* !_KPI_SYS_TIMEVAR_H_ */
