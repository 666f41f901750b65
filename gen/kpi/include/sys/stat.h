/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kinds of files, and the result of fstat(2) (NetBSD sys/sys/stat.h).
 */
#ifndef _KPI_SYS_STAT_H_
#define _KPI_SYS_STAT_H_

#include <sys/types.h>
#include <sys/time.h>

struct stat {
	dev_t		st_dev;
	mode_t		st_mode;
	ino_t		st_ino;
	nlink_t		st_nlink;
	uid_t		st_uid;
	gid_t		st_gid;
	dev_t		st_rdev;
	struct timespec	st_atim;
	struct timespec	st_mtim;
	struct timespec	st_ctim;
	struct timespec	st_birthtim;
	off_t		st_size;
	blkcnt_t	st_blocks;
	blksize_t	st_blksize;
	uint32_t	st_flags;
	uint32_t	st_gen;
	uint32_t	st_spare[2];
};

#define	S_IFREG	0100000
#define	S_IFCHR	0020000
#define	S_IFBLK	0060000

#endif	/* !_KPI_SYS_STAT_H_ */
