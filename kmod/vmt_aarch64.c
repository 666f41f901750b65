/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The way to the host on aarch64.
 *
 * There are no ports: a read of MDCCSR_EL0 with a magic value in x7 does what
 * they do.  The host may change any of the registers and any memory.  Each
 * trap is a function of its own, so that the host is called from three places
 * only.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/systm.h>

#include "vmtvar.h"

#define	VMT_TRAP(f, operation)						\
do {									\
	register unsigned long x0 __asm("x0") = (f)->ax;		\
	register unsigned long x1 __asm("x1") = (f)->bx;		\
	register unsigned long x2 __asm("x2") = (f)->cx;		\
	register unsigned long x3 __asm("x3") = (f)->dx;		\
	register unsigned long x4 __asm("x4") = (f)->si;		\
	register unsigned long x5 __asm("x5") = (f)->di;		\
	register unsigned long x6 __asm("x6") = (f)->bp;		\
	register unsigned long x7 __asm("x7") =				\
	    VMT_ARM_MAGIC << 32 | (operation);				\
									\
	__asm volatile("mrs xzr, mdccsr_el0"				\
	    : "+r" (x0), "+r" (x1), "+r" (x2), "+r" (x3), "+r" (x4),	\
	      "+r" (x5), "+r" (x6), "+r" (x7)				\
	    :								\
	    : "memory", "cc");						\
	(f)->ax = x0;							\
	(f)->bx = x1;							\
	(f)->cx = x2;							\
	(f)->dx = x3;							\
	(f)->si = x4;							\
	(f)->di = x5;							\
	(f)->bp = x6;							\
} while (0)

void
vmt_trap_low(struct vmt_frame *f)
{

	VMT_TRAP(f, VMT_ARM_LOW);
}

void
vmt_trap_in(struct vmt_frame *f)
{

	VMT_TRAP(f, VMT_ARM_HIGH_IN);
}

void
vmt_trap_out(struct vmt_frame *f)
{

	VMT_TRAP(f, VMT_ARM_HIGH_OUT);
}

/* The bus has one kind of device here. */
bool
vmt_machine_match(const void *aux)
{

	return true;
}

/* The processor does not say who runs us; the backdoor has to. */
bool
vmt_machine_is_vmware(void)
{

	return true;
}
