/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flags that d_read and d_write of a character device get
 * (NetBSD sys/sys/vnode.h).
 */
#ifndef _KPI_SYS_VNODE_H_
#define _KPI_SYS_VNODE_H_

#define	IO_UNIT		0x00010
#define	IO_APPEND	0x00020
#define	IO_NDELAY	0x00100

#endif	/* !_KPI_SYS_VNODE_H_ */
