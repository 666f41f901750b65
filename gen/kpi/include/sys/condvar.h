/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Condition variables (NetBSD sys/sys/condvar.h): two words since NetBSD
 * 10, opaque.
 */
#ifndef _KPI_SYS_CONDVAR_H_
#define _KPI_SYS_CONDVAR_H_

#include <sys/types.h>

struct kmutex;

typedef struct kcondvar {
	void	*cv_opaque[2];
} kcondvar_t;

void	cv_init(kcondvar_t *, const char *);
void	cv_destroy(kcondvar_t *);
void	cv_wait(kcondvar_t *, struct kmutex *);
int	cv_wait_sig(kcondvar_t *, struct kmutex *);
int	cv_timedwait(kcondvar_t *, struct kmutex *, int);
int	cv_timedwait_sig(kcondvar_t *, struct kmutex *, int);
void	cv_signal(kcondvar_t *);
void	cv_broadcast(kcondvar_t *);
bool	cv_has_waiters(kcondvar_t *);

#endif	/* !_KPI_SYS_CONDVAR_H_ */
