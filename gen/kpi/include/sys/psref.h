/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passive references (NetBSD sys/sys/psref.h).
 */
#ifndef _KPI_SYS_PSREF_H_
#define _KPI_SYS_PSREF_H_

#include <sys/types.h>

struct psref_class;

struct psref_target {
	struct psref_class *prt_class;
	bool		prt_draining;
};

#endif	/* !_KPI_SYS_PSREF_H_ */
