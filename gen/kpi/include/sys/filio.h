/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ioctls that fcntl(2) sends to a file (NetBSD sys/sys/filio.h).
 */
#ifndef _KPI_SYS_FILIO_H_
#define _KPI_SYS_FILIO_H_

#include <sys/ioccom.h>

#define	FIOASYNC	_IOW('f', 125, int)
#define	FIONBIO		_IOW('f', 126, int)

#endif	/* !_KPI_SYS_FILIO_H_ */
