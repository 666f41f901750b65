/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU a thread runs on (NetBSD sys/arch/x86/include/cpu.h).
 */
#ifndef _KPI_I386_MACHINE_CPU_H_
#define _KPI_I386_MACHINE_CPU_H_

#include <x86/cpu.h>

#endif	/* !_KPI_I386_MACHINE_CPU_H_ */
