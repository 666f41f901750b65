/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system monitor's task queue (NetBSD sys/dev/sysmon/sysmon_taskq.h).
 */
#ifndef _KPI_DEV_SYSMON_SYSMON_TASKQ_H_
#define _KPI_DEV_SYSMON_SYSMON_TASKQ_H_

#include <sys/types.h>

void	sysmon_task_queue_init(void);
int	sysmon_task_queue_fini(void);
int	sysmon_task_queue_sched(u_int, void (*)(void *), void *);
void	sysmon_task_queue_barrier(u_int);	/* NetBSD 10 and later */

#endif	/* !_KPI_DEV_SYSMON_SYSMON_TASKQ_H_ */
