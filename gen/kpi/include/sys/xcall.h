/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Functions run on every processor (NetBSD sys/sys/xcall.h).
 */
#ifndef _KPI_SYS_XCALL_H_
#define _KPI_SYS_XCALL_H_

#include <sys/types.h>

typedef void	(*xcfunc_t)(void *, void *);

#define	XC_HIGHPRI	0x01

uint64_t xc_broadcast(u_int, xcfunc_t, void *, void *);
uint64_t xc_unicast(u_int, xcfunc_t, void *, void *, struct cpu_info *);
void	xc_wait(uint64_t);
void	xc_barrier(u_int);		/* NetBSD 10 and later */

#endif	/* !_KPI_SYS_XCALL_H_ */
