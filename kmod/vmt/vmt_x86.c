/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Traps to the host on amd64 and i386.
 *
 * VMware watches two I/O ports.  The low one takes a command in registers,
 * the high one a whole buffer by string I/O.  The host may change any of the
 * registers and any memory.  Each trap is a function of its own, so that the
 * host is called from three places only.
 *
 * VMCALL and VMMCALL do what the low port does.  They are for guests whose
 * memory is encrypted and whose ports do not answer (SEV-ES, TDX); NetBSD does
 * not run as such a guest.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/device.h>
#include <sys/systm.h>

#include <machine/cpu.h>
#include <machine/cpufunc.h>

#include <x86/cpuvar.h>

#include "vmtvar.h"

#if defined(__x86_64__)

/* The string forms take a seventh argument in the frame pointer. */
#define	VMT_TRAP(f, insn)						\
	__asm volatile(							\
	    "xchgq %%rbp, %[bp]\n\t"					\
	    "cld\n\t"							\
	    insn "\n\t"							\
	    "xchgq %%rbp, %[bp]"					\
	    : "+a" ((f)->ax), "+b" ((f)->bx), "+c" ((f)->cx),		\
	      "+d" ((f)->dx), "+S" ((f)->si), "+D" ((f)->di),		\
	      [bp] "+r" ((f)->bp)					\
	    :								\
	    : "memory", "cc")

#else

/*
 * There are only seven registers.  Load them from the frame, whose address
 * waits on the stack meanwhile, and put them back.
 */
#define	VMT_TRAP(f, insn)						\
	__asm volatile(							\
	    "pushl %%ebp\n\t"						\
	    "pushl %%eax\n\t"						\
	    "movl 4(%%eax), %%ebx\n\t"					\
	    "movl 8(%%eax), %%ecx\n\t"					\
	    "movl 12(%%eax), %%edx\n\t"					\
	    "movl 16(%%eax), %%esi\n\t"					\
	    "movl 20(%%eax), %%edi\n\t"					\
	    "movl 24(%%eax), %%ebp\n\t"					\
	    "movl (%%eax), %%eax\n\t"					\
	    "cld\n\t"							\
	    insn "\n\t"							\
	    "xchgl %%eax, (%%esp)\n\t"					\
	    "movl %%ebp, 24(%%eax)\n\t"					\
	    "movl %%edi, 20(%%eax)\n\t"					\
	    "movl %%esi, 16(%%eax)\n\t"					\
	    "movl %%edx, 12(%%eax)\n\t"					\
	    "movl %%ecx, 8(%%eax)\n\t"					\
	    "movl %%ebx, 4(%%eax)\n\t"					\
	    "popl (%%eax)\n\t"						\
	    "popl %%ebp"						\
	    : "+a" (f)							\
	    :								\
	    : "ebx", "ecx", "edx", "esi", "edi", "memory", "cc")

#endif

void
vmt_trap_low(struct vmt_frame *f)
{

	VMT_TRAP(f, "inl %%dx, %%eax");
}

void
vmt_trap_in(struct vmt_frame *f)
{

	VMT_TRAP(f, "rep insb");
}

void
vmt_trap_out(struct vmt_frame *f)
{

	VMT_TRAP(f, "rep outsb");
}

bool
vmt_machine_match(const void *aux)
{
	const struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, VMT_FEATURE) == 0;
}

/* Does CPUID name VMware as the hypervisor? */
bool
vmt_machine_is_vmware(void)
{
	uint32_t regs[4];
	char vendor[sizeof(VMT_VENDOR)];

	if (cpuid_level < 1)
		return false;	/* an i486 may not have the instruction */
	x86_cpuid(VMT_CPUID_FEATURES, regs);
	if ((regs[2] & VMT_CPUID_HYPERVISOR) == 0)
		return false;
	x86_cpuid(VMT_CPUID_VENDOR, regs);
	memcpy(vendor, &regs[1], sizeof(vendor) - 1);
	vendor[sizeof(vendor) - 1] = '\0';
	return strcmp(vendor, VMT_VENDOR) == 0;
}
