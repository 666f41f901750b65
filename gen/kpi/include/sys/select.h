/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting for devices (NetBSD sys/sys/select.h).
 */
#ifndef _KPI_SYS_SELECT_H_
#define _KPI_SYS_SELECT_H_

#include <sys/types.h>
#include <sys/selinfo.h>

void	selinit(struct selinfo *);
void	seldestroy(struct selinfo *);
void	selrecord(struct lwp *, struct selinfo *);
void	selrecord_knote(struct selinfo *, struct knote *);
bool	selremove_knote(struct selinfo *, struct knote *);
void	selnotify(struct selinfo *, int, long);

#endif	/* !_KPI_SYS_SELECT_H_ */
