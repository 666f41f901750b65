/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks (NetBSD sys/sys/disk.h): only the check of a request.
 */
#ifndef _KPI_SYS_DISK_H_
#define _KPI_SYS_DISK_H_

#include <sys/types.h>
#include <sys/dkio.h>

struct buf;

int	bounds_check_with_mediasize(struct buf *, int, uint64_t);

#endif	/* !_KPI_SYS_DISK_H_ */
