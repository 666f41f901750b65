/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Modes of a watchdog (NetBSD sys/sys/wdog.h).
 */
#ifndef _KPI_SYS_WDOG_H_
#define _KPI_SYS_WDOG_H_

#define	WDOG_MODE_DISARMED	0
#define	WDOG_MODE_KTICKLE	1
#define	WDOG_MODE_UTICKLE	2
#define	WDOG_MODE_ETICKLE	3
#define	WDOG_MODE_MASK		0x03
#define	WDOG_PERIOD_DEFAULT	((u_int)-1)

#endif	/* !_KPI_SYS_WDOG_H_ */
