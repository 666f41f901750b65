/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ioctl commands (NetBSD sys/sys/ioctl.h).
 */
#ifndef _KPI_SYS_IOCTL_H_
#define _KPI_SYS_IOCTL_H_

#include <sys/ioccom.h>

#endif	/* !_KPI_SYS_IOCTL_H_ */
