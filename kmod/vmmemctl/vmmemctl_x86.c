/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Traps to the host on amd64 and i386: one I/O port of VMware.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/device.h>
#include <sys/systm.h>

#include <machine/cpu.h>
#include <machine/cpufunc.h>

#include <x86/cpuvar.h>

#include "vmmemctlvar.h"

void
vmmemctl_trap(struct vmmemctl_frame *f)
{

	__asm volatile("inl %%dx, %%eax"
	    : "+a" (f->ax), "+b" (f->bx), "+c" (f->cx), "+d" (f->dx),
	      "+S" (f->si)
	    :
	    : "edi", "memory", "cc");
}

bool
vmmemctl_machine_match(const void *aux)
{
	const struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, VMMEMCTL_FEATURE) == 0;
}

/* Does CPUID name VMware as the hypervisor? */
bool
vmmemctl_machine_is_vmware(void)
{
	uint32_t regs[4];
	char vendor[sizeof(VMMEMCTL_VENDOR)];

	if (cpuid_level < 1)
		return false;
	x86_cpuid(VMMEMCTL_CPUID_FEATURES, regs);
	if ((regs[2] & VMMEMCTL_CPUID_HYPERVISOR) == 0)
		return false;
	x86_cpuid(VMMEMCTL_CPUID_VENDOR, regs);
	memcpy(vendor, &regs[1], sizeof(vendor) - 1);
	vendor[sizeof(vendor) - 1] = '\0';
	return strcmp(vendor, VMMEMCTL_VENDOR) == 0;
}
