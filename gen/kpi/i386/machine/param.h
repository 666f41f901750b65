/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Machine parameters of i386 (NetBSD sys/arch/i386/include/param.h).
 */
#ifndef _KPI_I386_MACHINE_PARAM_H_
#define _KPI_I386_MACHINE_PARAM_H_

#define	MACHINE		"i386"
#define	PAGE_SIZE	4096

#endif	/* !_KPI_I386_MACHINE_PARAM_H_ */
