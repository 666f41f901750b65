/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The way to the host on amd64 and i386.
 *
 * VMware watches two I/O ports.  The low one takes a command in registers,
 * the high one a whole buffer by string I/O.  The host may change any of the
 * registers and any memory.  Each trap is a function of its own, so that the
 * host is called from five places only: three with ports, and two with an
 * instruction that does what the low port does.  The instructions are for
 * guests whose memory is encrypted and whose ports do not answer.
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

static void	vmt_trap_low(struct vmt_frame *) VMT_TRAP_FUNCTION;
static void	vmt_trap_vmcall(struct vmt_frame *) VMT_TRAP_FUNCTION;
static void	vmt_trap_vmmcall(struct vmt_frame *) VMT_TRAP_FUNCTION;

/* The instruction to use instead of the ports, if any. */
static void	(*vmt_instruction)(struct vmt_frame *);

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
 * Seven registers are all there are.  Load them from the frame, whose
 * address waits on the stack meanwhile, and put them back.
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

static void
vmt_trap_low(struct vmt_frame *f)
{

	VMT_TRAP(f, "inl %%dx, %%eax");
}

static void
vmt_trap_vmcall(struct vmt_frame *f)
{

	VMT_TRAP(f, "vmcall");
}

static void
vmt_trap_vmmcall(struct vmt_frame *f)
{

	VMT_TRAP(f, "vmmcall");
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

/* One command; the caller has set ax, cx and the upper half of dx. */
void
vmt_machine_call(struct vmt_frame *f)
{

	if (vmt_instruction != NULL) {
		f->dx |= VMT_CALL_LOW;
		(*vmt_instruction)(f);
	} else {
		f->dx |= VMT_PORT_LOW;
		vmt_trap_low(f);
	}
}

bool
vmt_machine_match(const void *aux)
{
	const struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, VMT_FEATURE) == 0;
}

/* Does the processor say that VMware runs us? */
bool
vmt_machine_is_vmware(void)
{
	uint32_t regs[4];
	char vendor[sizeof(VMT_VENDOR)];

	if (cpuid_level < 1)
		return false;	/* an i486 may not know the instruction */
	x86_cpuid(VMT_CPUID_FEATURES, regs);
	if ((regs[2] & VMT_CPUID_HYPERVISOR) == 0)
		return false;
	x86_cpuid(VMT_CPUID_VENDOR, regs);
	memcpy(vendor, &regs[1], sizeof(vendor) - 1);
	vendor[sizeof(vendor) - 1] = '\0';
	return strcmp(vendor, VMT_VENDOR) == 0;
}

/*
 * From now on call the host by its ports, or by the instruction that the
 * processor offers.  Returns false if it offers none: it would fault then.
 */
bool
vmt_machine_select(bool instruction)
{
	uint32_t regs[4];

	vmt_instruction = NULL;
	if (!instruction)
		return true;
	if (!vmt_machine_is_vmware())
		return false;
	x86_cpuid(VMT_CPUID_VENDOR, regs);
	if (regs[0] < VMT_CPUID_CALLS)
		return false;
	x86_cpuid(VMT_CPUID_CALLS, regs);
	if ((regs[2] & VMT_CPUID_VMCALL) != 0)
		vmt_instruction = vmt_trap_vmcall;
	else if ((regs[2] & VMT_CPUID_VMMCALL) != 0)
		vmt_instruction = vmt_trap_vmmcall;
	return vmt_instruction != NULL;
}

/*
 * Can the host reach into our memory?  Not where the ports do not answer:
 * what it would find there is encrypted.
 */
bool
vmt_machine_has_ports(void)
{

	return vmt_instruction == NULL;
}
