/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt priority levels (NetBSD sys/arch/x86/include/intrdefs.h).
 */
#ifndef _KPI_I386_MACHINE_INTR_H_
#define _KPI_I386_MACHINE_INTR_H_

#include <x86/intrdefs.h>

#endif	/* !_KPI_I386_MACHINE_INTR_H_ */
