/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * device_t (NetBSD sys/sys/device_if.h).
 */
#ifndef _KPI_SYS_DEVICE_IF_H_
#define _KPI_SYS_DEVICE_IF_H_

struct device;
typedef struct device	*device_t;

#endif	/* !_KPI_SYS_DEVICE_IF_H_ */
