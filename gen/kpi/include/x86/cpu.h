/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU a thread runs on (NetBSD sys/arch/x86/include/cpu.h). In a module
 * curcpu() and curlwp are functions.
 */
#ifndef _KPI_X86_CPU_H_
#define _KPI_X86_CPU_H_

#include <sys/types.h>

struct cpu_info	*x86_curcpu(void);
struct lwp	*x86_curlwp(void) __attribute__((__const__));

#define	curcpu()	x86_curcpu()
#define	curlwp		x86_curlwp()

extern int cpuid_level;	/* -1 where there is no CPUID */

extern void (*delay_func)(unsigned int);
#define	delay(us)	(*delay_func)(us)
#define	DELAY(us)	delay(us)

#endif	/* !_KPI_X86_CPU_H_ */
