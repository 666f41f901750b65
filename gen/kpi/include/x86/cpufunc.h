/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPU instructions (NetBSD sys/arch/x86/include/cpufunc.h). x86_cpuid is not
 * a symbol of the kernel.
 */
#ifndef _KPI_X86_CPUFUNC_H_
#define _KPI_X86_CPUFUNC_H_

#include <sys/types.h>

/* Leaf and sub-leaf in; EAX, EBX, ECX and EDX out, in that order. */
static inline __unused void
x86_cpuid2(uint32_t leaf, uint32_t subleaf, uint32_t *regs)
{
	uint32_t b, d;

	__asm volatile("cpuid"
	    : "=a" (leaf), "=b" (b), "=c" (subleaf), "=d" (d)
	    : "a" (leaf), "c" (subleaf));
	/* As in NetBSD: no store to memory between the registers. */
	regs[0] = leaf;
	regs[1] = b;
	regs[2] = subleaf;
	regs[3] = d;
}

#define	x86_cpuid(leaf, regs)	x86_cpuid2((leaf), 0, (regs))

#endif	/* !_KPI_X86_CPUFUNC_H_ */
