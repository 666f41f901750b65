/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers of ioctl commands: direction, size, group, number (NetBSD
 * sys/sys/ioccom.h).
 */
#ifndef _KPI_SYS_IOCCOM_H_
#define _KPI_SYS_IOCCOM_H_

#define	IOCPARM_MASK	0x1fff
#define	IOCPARM_SHIFT	16
#define	IOCGROUP_SHIFT	8
#define	IOCPARM_LEN(x)	(((x) >> IOCPARM_SHIFT) & IOCPARM_MASK)

#define	IOC_VOID	0x20000000ul
#define	IOC_OUT		0x40000000ul
#define	IOC_IN		0x80000000ul
#define	IOC_INOUT	(IOC_IN | IOC_OUT)

#define	_IOC(dir, group, num, len)					\
	((dir) | (((len) & IOCPARM_MASK) << IOCPARM_SHIFT) |		\
	    ((group) << IOCGROUP_SHIFT) | (num))
#define	_IO(g, n)	_IOC(IOC_VOID, (g), (n), 0)
#define	_IOR(g, n, t)	_IOC(IOC_OUT, (g), (n), sizeof(t))
#define	_IOW(g, n, t)	_IOC(IOC_IN, (g), (n), sizeof(t))
#define	_IOWR(g, n, t)	_IOC(IOC_INOUT, (g), (n), sizeof(t))

#endif	/* !_KPI_SYS_IOCCOM_H_ */
