/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests to disks (NetBSD sys/sys/dkio.h). struct partinfo is in
 * <sys/disklabel.h>.
 */
#ifndef _KPI_SYS_DKIO_H_
#define _KPI_SYS_DKIO_H_

#include <sys/types.h>
#include <sys/ioccom.h>

#define	DIOCGPARTINFO	_IOW('d', 104, struct partinfo)
#define	DIOCGMEDIASIZE	_IOR('d', 132, off_t)
#define	DIOCGSECTORSIZE	_IOR('d', 133, u_int)

#endif	/* !_KPI_SYS_DKIO_H_ */
