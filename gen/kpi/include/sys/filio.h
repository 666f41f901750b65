/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fcntl(2) asks a file by ioctl (NetBSD sys/sys/filio.h).
 */
#ifndef _KPI_SYS_FILIO_H_
#define _KPI_SYS_FILIO_H_

#include <sys/ioccom.h>

#define	FIOASYNC	_IOW('f', 125, int)
#define	FIONBIO		_IOW('f', 126, int)

#endif	/* !_KPI_SYS_FILIO_H_ */
