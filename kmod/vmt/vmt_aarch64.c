/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Traps to the host on aarch64.
 *
 * There are no ports: a read of MDCCSR_EL0 with a magic value in x7 replaces
 * them.  The host may change any of the registers and any memory.  Each
 * trap is a function of its own, so that the host is called from three places
 * only.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/systm.h>

#include "vmtvar.h"

/*
 * Registers are not loaded from memory, nor stored there, one by one: with
 * KASAN each access to memory is a call, which may change those that are set.
 */
#define	VMT_TRAP(f, operation)						\
do {									\
	unsigned long ax = (f)->ax, bx = (f)->bx, cx = (f)->cx;		\
	unsigned long dx = (f)->dx, si = (f)->si, di = (f)->di;		\
	unsigned long bp = (f)->bp;					\
	register unsigned long x0 __asm("x0") = ax;			\
	register unsigned long x1 __asm("x1") = bx;			\
	register unsigned long x2 __asm("x2") = cx;			\
	register unsigned long x3 __asm("x3") = dx;			\
	register unsigned long x4 __asm("x4") = si;			\
	register unsigned long x5 __asm("x5") = di;			\
	register unsigned long x6 __asm("x6") = bp;			\
	register unsigned long x7 __asm("x7") =				\
	    VMT_ARM_MAGIC << 32 | (operation);				\
									\
	__asm volatile("mrs xzr, mdccsr_el0"				\
	    : "+r" (x0), "+r" (x1), "+r" (x2), "+r" (x3), "+r" (x4),	\
	      "+r" (x5), "+r" (x6), "+r" (x7)				\
	    :								\
	    : "memory", "cc");						\
	ax = x0, bx = x1, cx = x2, dx = x3, si = x4, di = x5, bp = x6;	\
	(f)->ax = ax;							\
	(f)->bx = bx;							\
	(f)->cx = cx;							\
	(f)->dx = dx;							\
	(f)->si = si;							\
	(f)->di = di;							\
	(f)->bp = bp;							\
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

/* The processor does not name the hypervisor; the backdoor has to. */
bool
vmt_machine_is_vmware(void)
{

	return true;
}
