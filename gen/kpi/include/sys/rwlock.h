/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks for readers or one writer (NetBSD sys/sys/rwlock.h): one word,
 * opaque.
 */
#ifndef _KPI_SYS_RWLOCK_H_
#define _KPI_SYS_RWLOCK_H_

#include <sys/types.h>

typedef enum krw_t {
	RW_READER = 0,
	RW_WRITER = 1
} krw_t;

typedef struct krwlock {
	volatile uintptr_t	rw_owner;
} krwlock_t;

void	rw_init(krwlock_t *);
void	rw_destroy(krwlock_t *);
void	rw_enter(krwlock_t *, const krw_t);
int	rw_tryenter(krwlock_t *, const krw_t);
void	rw_exit(krwlock_t *);
int	rw_tryupgrade(krwlock_t *);
void	rw_downgrade(krwlock_t *);
int	rw_read_held(krwlock_t *);
int	rw_write_held(krwlock_t *);
int	rw_lock_held(krwlock_t *);
krw_t	rw_lock_op(krwlock_t *);

#endif	/* !_KPI_SYS_RWLOCK_H_ */
