/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of which each processor has a copy (NetBSD sys/sys/percpu.h).
 */
#ifndef _KPI_SYS_PERCPU_H_
#define _KPI_SYS_PERCPU_H_

#include <sys/types.h>

struct cpu_info;
struct percpu;
typedef struct percpu percpu_t;
typedef void (*percpu_callback_t)(void *, void *, struct cpu_info *);

percpu_t *percpu_alloc(size_t);
percpu_t *percpu_create(size_t, percpu_callback_t, percpu_callback_t, void *);
void	percpu_free(percpu_t *, size_t);
void	*percpu_getref(percpu_t *);
void	percpu_putref(percpu_t *);
void	percpu_foreach(percpu_t *, percpu_callback_t, void *);
void	percpu_traverse_enter(void);
void	percpu_traverse_exit(void);
void	*percpu_getptr_remote(percpu_t *, struct cpu_info *);

#endif	/* !_KPI_SYS_PERCPU_H_ */
