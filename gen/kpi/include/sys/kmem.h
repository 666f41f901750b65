/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel memory (NetBSD sys/sys/kmem.h).
 */
#ifndef _KPI_SYS_KMEM_H_
#define _KPI_SYS_KMEM_H_

#include <sys/types.h>

typedef unsigned int	km_flag_t;

#define	KM_SLEEP	0x00000001
#define	KM_NOSLEEP	0x00000002

void	*kmem_alloc(size_t, km_flag_t);
void	*kmem_zalloc(size_t, km_flag_t);
void	kmem_free(void *, size_t);

#endif	/* !_KPI_SYS_KMEM_H_ */
