/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kinds of files (NetBSD sys/sys/stat.h).
 */
#ifndef _KPI_SYS_STAT_H_
#define _KPI_SYS_STAT_H_

#define	S_IFCHR	0020000
#define	S_IFBLK	0060000

#endif	/* !_KPI_SYS_STAT_H_ */
