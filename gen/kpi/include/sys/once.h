/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Functions that run once (NetBSD sys/sys/once.h).
 */
#ifndef _KPI_SYS_ONCE_H_
#define _KPI_SYS_ONCE_H_

#include <sys/types.h>

typedef struct {
	int		o_error;
	uint16_t	o_refcnt;
	uint16_t	o_status;
} once_t;

#define	ONCE_VIRGIN	0
#define	ONCE_RUNNING	1
#define	ONCE_DONE	2

#define	ONCE_DECL(o)	once_t (o) = { .o_status = ONCE_VIRGIN }

int	_init_once(once_t *, int (*)(void));
void	_fini_once(once_t *, void (*)(void));

/* If it has run, with error 0, there is no call. */
#define	RUN_ONCE(o, fn)							\
	(__predict_true((o)->o_status == ONCE_DONE) ?			\
	    ((o)->o_error) : _init_once((o), (fn)))
#define	INIT_ONCE(o, fn)	_init_once((o), (fn))
#define	FINI_ONCE(o, fn)	_fini_once((o), (fn))

#endif	/* !_KPI_SYS_ONCE_H_ */
