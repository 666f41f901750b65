/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The attach arguments of a device at cpufeaturebus (NetBSD
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
