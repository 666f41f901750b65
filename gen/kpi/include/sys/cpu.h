/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU a thread runs on (NetBSD sys/sys/cpu.h).
 */
#ifndef _KPI_SYS_CPU_H_
#define _KPI_SYS_CPU_H_

#include <machine/cpu.h>

#endif	/* !_KPI_SYS_CPU_H_ */
