/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events of poll(2) (NetBSD sys/sys/poll.h).
 */
#ifndef _KPI_SYS_POLL_H_
#define _KPI_SYS_POLL_H_

#define	POLLIN		0x0001
#define	POLLPRI		0x0002
#define	POLLOUT		0x0004
#define	POLLRDNORM	0x0040
#define	POLLWRNORM	POLLOUT
#define	POLLERR		0x0008
#define	POLLHUP		0x0010
#define	POLLNVAL	0x0020

#endif	/* !_KPI_SYS_POLL_H_ */
