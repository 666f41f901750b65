/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU a thread runs on, and cpufeaturebus, which gives no name here
 * (NetBSD sys/arch/aarch64/include/cpu.h).
 */
#ifndef _KPI_AARCH64_MACHINE_CPU_H_
#define _KPI_AARCH64_MACHINE_CPU_H_

#include <sys/types.h>

static inline __unused struct lwp *
aarch64_curlwp(void)
{
	struct lwp *l;

	__asm("mrs	%0, tpidr_el1" : "=r" (l));
	return l;
}

#define	curlwp		(aarch64_curlwp())
/* l_cpu is the first member of struct lwp: see sys/lwp.h. */
#define	curcpu()	(*(struct cpu_info * volatile *)aarch64_curlwp())

void	delay(unsigned int);
#define	DELAY(us)	delay(us)

/* NetBSD has it from 10.99.12.  It is always declared: one source fits all. */
struct cpufeature_attach_args {
	struct cpu_info	*ci;
};

#endif	/* !_KPI_AARCH64_MACHINE_CPU_H_ */
