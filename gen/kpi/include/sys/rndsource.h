/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entropy from a driver (NetBSD sys/sys/rndsource.h): 23 words, or 36 of 32
 * bits, opaque.
 */
#ifndef _KPI_SYS_RNDSOURCE_H_
#define _KPI_SYS_RNDSOURCE_H_

#include <sys/types.h>

struct krndsource {
	long	_r_store[sizeof(long) == 8 ? 23 : 36];
};
typedef struct krndsource krndsource_t;

void	rnd_add_data(struct krndsource *, const void *, uint32_t, uint32_t);

#endif	/* !_KPI_SYS_RNDSOURCE_H_ */
