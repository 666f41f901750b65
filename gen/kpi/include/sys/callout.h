/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callouts (NetBSD sys/sys/callout.h): ten words, opaque.
 */
#ifndef _KPI_SYS_CALLOUT_H_
#define _KPI_SYS_CALLOUT_H_

#include <sys/types.h>

typedef struct callout {
	void	*_c_store[10];
} callout_t;

#define	CALLOUT_MPSAFE	0x0100

void	callout_init(callout_t *, u_int);
void	callout_destroy(callout_t *);
void	callout_setfunc(callout_t *, void (*)(void *), void *);
void	callout_reset(callout_t *, int, void (*)(void *), void *);
void	callout_schedule(callout_t *, int);
bool	callout_stop(callout_t *);
bool	callout_halt(callout_t *, void *);
bool	callout_pending(callout_t *);

#endif	/* !_KPI_SYS_CALLOUT_H_ */
