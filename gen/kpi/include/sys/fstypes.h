/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mount flags (NetBSD sys/sys/fstypes.h).
 */
#ifndef _KPI_SYS_FSTYPES_H_
#define _KPI_SYS_FSTYPES_H_

#define	MNT_RDONLY	0x00000001
#define	MNT_LOCAL	0x00001000
#define	MNT_IGNORE	0x00100000

#define	MNT_WAIT	1
#define	MNT_NOWAIT	2

#endif	/* !_KPI_SYS_FSTYPES_H_ */
