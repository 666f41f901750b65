/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes and sleeping (NetBSD sys/sys/proc.h). struct proc stays opaque.
 */
#ifndef _KPI_SYS_PROC_H_
#define _KPI_SYS_PROC_H_

#include <sys/types.h>
#include <sys/lwp.h>
#include <sys/mutex.h>

int	kpause(const char *, bool, int, kmutex_t *);

#endif	/* !_KPI_SYS_PROC_H_ */
