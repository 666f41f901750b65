/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entropy pool (NetBSD sys/sys/entropy.h).
 */
#ifndef _KPI_SYS_ENTROPY_H_
#define _KPI_SYS_ENTROPY_H_

#include <sys/cdefs.h>
#include <sys/param.h>

/*
 * 10 declares entropy_consolidate() without a result, so callers must not use one, and has
 * neither of the others: acpi_vmgenid.c 1.1 of August 2024 misses them.
 */
#if __NetBSD_Version__ >= 1099001200
int	entropy_consolidate(void);
int	entropy_gather(void);
void	entropy_reset(void);
#else
void	entropy_consolidate(void);
#endif

#endif	/* !_KPI_SYS_ENTROPY_H_ */
