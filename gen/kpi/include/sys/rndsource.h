/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entropy from a driver (NetBSD sys/sys/rndsource.h).
 */
#ifndef _KPI_SYS_RNDSOURCE_H_
#define _KPI_SYS_RNDSOURCE_H_

#include <sys/types.h>

struct krndsource;

void	rnd_add_data(struct krndsource *, const void *, uint32_t, uint32_t);

#endif	/* !_KPI_SYS_RNDSOURCE_H_ */
