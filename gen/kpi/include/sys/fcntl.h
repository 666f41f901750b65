/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flags of open files, as the kernel has them (NetBSD sys/sys/fcntl.h).
 */
#ifndef _KPI_SYS_FCNTL_H_
#define _KPI_SYS_FCNTL_H_

#define	FREAD		0x00000001
#define	FWRITE		0x00000002
#define	FNONBLOCK	0x00000004
#define	FASYNC		0x00000040
#define	O_NONBLOCK	0x00000004

#define	FCNTLFLAGS	0x010f00cc
#define	F_SETFL		4

#define	SEEK_SET	0
#define	SEEK_CUR	1
#define	SEEK_END	2

#endif	/* !_KPI_SYS_FCNTL_H_ */
