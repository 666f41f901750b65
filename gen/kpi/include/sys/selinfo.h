/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The threads that wait in poll(2) (NetBSD sys/sys/selinfo.h).
 */
#ifndef _KPI_SYS_SELINFO_H_
#define _KPI_SYS_SELINFO_H_

#include <sys/types.h>

struct knote;
struct lwp;

struct selinfo {
	uint64_t	sel_collision;
	struct knote	*sel_klist;
	void		*sel_cluster;
	struct lwp	*sel_lwp;
	uintptr_t	sel_fdinfo;
	struct selinfo	*sel_chain;
	uintptr_t	sel_reserved[2];
};

#endif	/* !_KPI_SYS_SELINFO_H_ */
