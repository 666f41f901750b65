/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opens an RPCI channel when it is loaded and forgets to close it.
 */
#include <sys/param.h>
#include <sys/module.h>

MODULE(MODULE_CLASS_MISC, opener, NULL);

/* Ask for command 0x1e, OPEN; returns what comes back in CX. */
static uint32_t
opener_open(void)
{
#if defined(__aarch64__)
	register unsigned long x0 __asm("x0") = 0x564d5868;
	register unsigned long x1 __asm("x1") = 0xc9435052;
	register unsigned long x2 __asm("x2") = 0x1e;
	register unsigned long x3 __asm("x3") = 0x5658;
	register unsigned long x7 __asm("x7") = 0x86UL << 32 | 0x0e;

	__asm volatile("mrs xzr, mdccsr_el0"
	    : "+r" (x0), "+r" (x1), "+r" (x2), "+r" (x3), "+r" (x7)
	    : : "x4", "x5", "x6", "memory");
	return (uint32_t)x2;
#else
	uint32_t ax = 0x564d5868, bx = 0xc9435052, cx = 0x1e, dx = 0x5658;

	__asm volatile("inl %%dx, %%eax"
	    : "+a" (ax), "+b" (bx), "+c" (cx), "+d" (dx)
	    : : "esi", "edi", "memory");
	return cx;
#endif
}

static int
opener_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return (opener_open() >> 16) == 1 ? 0 : EIO;
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}
