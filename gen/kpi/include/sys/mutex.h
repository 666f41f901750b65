/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mutexes (NetBSD sys/sys/mutex.h): one word, opaque.
 */
#ifndef _KPI_SYS_MUTEX_H_
#define _KPI_SYS_MUTEX_H_

#include <sys/types.h>
#include <sys/intr.h>

typedef enum kmutex_type_t {
	MUTEX_SPIN = 0,
	MUTEX_ADAPTIVE = 1,
	MUTEX_DEFAULT = 2
} kmutex_type_t;

typedef struct kmutex {
	uintptr_t	mtx_pad[1];
} kmutex_t;

void	mutex_init(kmutex_t *, kmutex_type_t, int);
void	mutex_destroy(kmutex_t *);
void	mutex_enter(kmutex_t *);
void	mutex_exit(kmutex_t *);
int	mutex_tryenter(kmutex_t *);
int	mutex_owned(const kmutex_t *);

#endif	/* !_KPI_SYS_MUTEX_H_ */
