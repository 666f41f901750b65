/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mounted file systems (NetBSD sys/sys/mount.h). struct mount stays opaque:
 * its layout differs from release to release.
 */
#ifndef _KPI_SYS_MOUNT_H_
#define _KPI_SYS_MOUNT_H_

#include <sys/fstypes.h>
#include <sys/statvfs.h>

struct mount_iterator;
typedef struct mount_iterator	mount_iterator_t;

/* The mount that _trynext returns is busy until the next call. */
void	mountlist_iterator_init(mount_iterator_t **);
struct mount *mountlist_iterator_next(mount_iterator_t *);
struct mount *mountlist_iterator_trynext(mount_iterator_t *);
void	mountlist_iterator_destroy(mount_iterator_t *);

int	vfs_busy(struct mount *);
void	vfs_ref(struct mount *);
void	vfs_rele(struct mount *);
int	vfs_trybusy(struct mount *);
void	vfs_unbusy(struct mount *);

int	VFS_STATVFS(struct mount *, struct statvfs *);
int	VFS_SYNC(struct mount *, int, struct kauth_cred *);

#endif	/* !_KPI_SYS_MOUNT_H_ */
