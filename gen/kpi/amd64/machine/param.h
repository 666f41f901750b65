/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Machine parameters of amd64 (NetBSD sys/arch/amd64/include/param.h).
 */
#ifndef _KPI_AMD64_MACHINE_PARAM_H_
#define _KPI_AMD64_MACHINE_PARAM_H_

#define	MACHINE		"amd64"
#define	PAGE_SIZE	4096

#endif	/* !_KPI_AMD64_MACHINE_PARAM_H_ */
