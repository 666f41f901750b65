/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPU instructions (NetBSD sys/arch/x86/include/cpufunc.h). x86_cpuid is no
 * symbol of the kernel.
 */
#ifndef _KPI_X86_CPUFUNC_H_
#define _KPI_X86_CPUFUNC_H_

#include <sys/types.h>

/* Leaf and sub-leaf in; EAX, EBX, ECX and EDX out, in that order. */
static inline __unused void
x86_cpuid2(uint32_t leaf, uint32_t subleaf, uint32_t *regs)
{

	__asm volatile("cpuid"
	    : "=a" (regs[0]), "=b" (regs[1]), "=c" (regs[2]), "=d" (regs[3])
	    : "a" (leaf), "c" (subleaf));
}

#define	x86_cpuid(leaf, regs)	x86_cpuid2((leaf), 0, (regs))

#endif	/* !_KPI_X86_CPUFUNC_H_ */
