/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt levels (NetBSD sys/sys/intr.h).
 */
#ifndef _KPI_SYS_INTR_H_
#define _KPI_SYS_INTR_H_

#include <sys/types.h>
#include <machine/intr.h>

#endif	/* !_KPI_SYS_INTR_H_ */
