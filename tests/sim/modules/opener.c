/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opens an RPCI channel when it is loaded and forgets to close it: amd64 and
 * i386 alone.
 */
#include <sys/param.h>
#include <sys/module.h>

MODULE(MODULE_CLASS_MISC, opener, NULL);

static int
opener_modcmd(modcmd_t cmd, void *aux)
{
	uint32_t ax = 0x564d5868, bx = 0xc9435052, cx = 0x1e, dx = 0x5658;

	switch (cmd) {
	case MODULE_CMD_INIT:
		__asm volatile("inl %%dx, %%eax" : "+a"(ax), "+b"(bx),
		    "+c"(cx), "+d"(dx) : : "esi", "edi", "memory");
		return (cx >> 16) == 1 ? 0 : EIO;
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}
