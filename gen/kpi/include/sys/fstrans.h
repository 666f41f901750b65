/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Suspending file systems (NetBSD sys/sys/fstrans.h). One at a time:
 * vfs_suspend keeps a lock that vfs_resume of the same thread releases.
 */
#ifndef _KPI_SYS_FSTRANS_H_
#define _KPI_SYS_FSTRANS_H_

#include <sys/mount.h>

enum fstrans_state {
	FSTRANS_NORMAL,
	FSTRANS_SUSPENDED,
	FSTRANS_SUSPENDING
};

int	fstrans_setstate(struct mount *, enum fstrans_state);
enum fstrans_state fstrans_getstate(struct mount *);
int	vfs_suspend(struct mount *, int);
void	vfs_resume(struct mount *);

#endif	/* !_KPI_SYS_FSTRANS_H_ */
