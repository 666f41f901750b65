/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Size and use of file systems (NetBSD sys/sys/statvfs.h). More than 3 KB:
 * never on the kernel's stack.
 */
#ifndef _KPI_SYS_STATVFS_H_
#define _KPI_SYS_STATVFS_H_

#include <sys/types.h>

#define	_VFS_NAMELEN	32
#define	_VFS_MNAMELEN	1024

typedef struct {
	int32_t	__fsid_val[2];
} fsid_t;

struct statvfs {
	unsigned long	f_flag;
	unsigned long	f_bsize;
	unsigned long	f_frsize;
	unsigned long	f_iosize;
	fsblkcnt_t	f_blocks;
	fsblkcnt_t	f_bfree;
	fsblkcnt_t	f_bavail;
	fsblkcnt_t	f_bresvd;
	fsfilcnt_t	f_files;
	fsfilcnt_t	f_ffree;
	fsfilcnt_t	f_favail;
	fsfilcnt_t	f_fresvd;
	uint64_t	f_syncreads;
	uint64_t	f_syncwrites;
	uint64_t	f_asyncreads;
	uint64_t	f_asyncwrites;
	fsid_t		f_fsidx;
	unsigned long	f_fsid;
	unsigned long	f_namemax;
	uid_t		f_owner;
	uint64_t	f_spare[4];
	char		f_fstypename[_VFS_NAMELEN];
	char		f_mntonname[_VFS_MNAMELEN];
	char		f_mntfromname[_VFS_MNAMELEN];
	char		f_mntfromlabel[_VFS_MNAMELEN];
};

struct mount;

int	dostatvfs(struct mount *, struct statvfs *, struct lwp *, int, int);

#endif	/* !_KPI_SYS_STATVFS_H_ */
