/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Variables of the kernel (NetBSD sys/sys/kernel.h).
 */
#ifndef _KPI_SYS_KERNEL_H_
#define _KPI_SYS_KERNEL_H_

#include <sys/param.h>

extern char	hostname[MAXHOSTNAMELEN];
extern int	hostnamelen;
extern char	domainname[MAXHOSTNAMELEN];
extern int	cold;			/* the device tree is not scanned yet */
extern int	shutting_down;

int	getticks(void);			/* NetBSD 10 and later */

#endif	/* !_KPI_SYS_KERNEL_H_ */
