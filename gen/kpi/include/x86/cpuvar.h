/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device at cpufeaturebus is told when it is attached (NetBSD
 * sys/arch/x86/include/cpuvar.h).
 */
#ifndef _KPI_X86_CPUVAR_H_
#define _KPI_X86_CPUVAR_H_

#include <sys/types.h>

struct cpufeature_attach_args {
	struct cpu_info	*ci;
	const char	*name;		/* "frequency", "vm", ... */
};

#endif	/* !_KPI_X86_CPUVAR_H_ */
