/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Never returns from its initialisation, and never calls the kernel.
 */
#include <sys/param.h>
#include <sys/module.h>

MODULE(MODULE_CLASS_MISC, looper, NULL);

static int
looper_modcmd(modcmd_t cmd, void *aux)
{
	volatile int turns = 0;

	switch (cmd) {
	case MODULE_CMD_INIT:
		while (turns >= 0)
			turns ^= 1;	/* forever */
		return 0;
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}
