/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NULL (NetBSD sys/sys/null.h).
 */
#ifndef _KPI_SYS_NULL_H_
#define _KPI_SYS_NULL_H_

#define	NULL	((void *)0)

#endif	/* !_KPI_SYS_NULL_H_ */
