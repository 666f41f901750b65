/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Setting the time counter's clock (NetBSD sys/sys/timetc.h).
 */
#ifndef _KPI_SYS_TIMETC_H_
#define _KPI_SYS_TIMETC_H_

#include <sys/time.h>

void	tc_setclock(const struct timespec *);

#endif	/* !_KPI_SYS_TIMETC_H_ */
