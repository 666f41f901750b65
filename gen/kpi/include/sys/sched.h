/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler (NetBSD sys/sys/sched.h).
 */
#ifndef _KPI_SYS_SCHED_H_
#define _KPI_SYS_SCHED_H_

#include <sys/types.h>

void	preempt_point(void);

#endif	/* !_KPI_SYS_SCHED_H_ */
