/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync(2) for callers inside the kernel (NetBSD sys/sys/vfs_syscalls.h).
 */
#ifndef _KPI_SYS_VFS_SYSCALLS_H_
#define _KPI_SYS_VFS_SYSCALLS_H_

#include <sys/types.h>

void	do_sys_sync(struct lwp *);

#endif	/* !_KPI_SYS_VFS_SYSCALLS_H_ */
