/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator of older code (NetBSD sys/sys/malloc.h). Kinds of memory are
 * names alone.
 */
#ifndef _KPI_SYS_MALLOC_H_
#define _KPI_SYS_MALLOC_H_

#include <sys/types.h>

#define	M_WAITOK	0x0000
#define	M_NOWAIT	0x0001
#define	M_ZERO		0x0002

#define	malloc(size, type, flags)	kern_malloc((size), (flags))
#define	free(addr, type)		kern_free(addr)
#define	realloc(addr, size, type, flags)				\
	kern_realloc((addr), (size), (flags))

void	*kern_malloc(unsigned long, int);
void	*kern_realloc(void *, unsigned long, int);
void	kern_free(void *);

#endif	/* !_KPI_SYS_MALLOC_H_ */
