/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads (NetBSD sys/sys/lwp.h). struct lwp stays opaque: its layout
 * differs from release to release.
 */
#ifndef _KPI_SYS_LWP_H_
#define _KPI_SYS_LWP_H_

#include <sys/types.h>
#include <machine/cpu.h>

void	kpreempt_disable(void);
void	kpreempt_enable(void);
bool	kpreempt_disabled(void);

#endif	/* !_KPI_SYS_LWP_H_ */
