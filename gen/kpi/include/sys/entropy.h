/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entropy pool (NetBSD sys/sys/entropy.h).
 */
#ifndef _KPI_SYS_ENTROPY_H_
#define _KPI_SYS_ENTROPY_H_

#include <sys/cdefs.h>
#include <sys/param.h>

/* 10 declares it without a result; nobody may look at it there. */
#if __NetBSD_Version__ >= 1099001200
int	entropy_consolidate(void);
#else
void	entropy_consolidate(void);
#endif

#endif	/* !_KPI_SYS_ENTROPY_H_ */
