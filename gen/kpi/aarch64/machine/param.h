/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Machine parameters of aarch64 (NetBSD sys/arch/aarch64/include/param.h).
 */
#ifndef _KPI_AARCH64_MACHINE_PARAM_H_
#define _KPI_AARCH64_MACHINE_PARAM_H_

#define	MACHINE		"evbarm"
#define	PAGE_SIZE	4096

#endif	/* !_KPI_AARCH64_MACHINE_PARAM_H_ */
