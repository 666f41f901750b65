/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A module for tests of the loader: what it defines, imports and requires is
 * chosen by the compiler's -D.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/module.h>

#ifndef REQUIRES
#define	REQUIRES	NULL
#endif
MODULE(MODULE_CLASS_DRIVER, vmt, REQUIRES);

#ifdef GLOBAL_NAMES
/* As config(1) would make them: the stock driver has the same names. */
int	vmt_ca;
int	vmt_cd;
#endif

#ifdef MISSING
int	no_such_function(int);
int	nor_this_one(void);
#endif

#ifdef UNMODELLED
int	acpi_match_hid(void *, const char * const *);
#endif

static int
vmt_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
#ifdef MISSING
		return no_such_function(1) + nor_this_one();
#endif
#ifdef UNMODELLED
		return acpi_match_hid(NULL, NULL);
#endif
#ifdef FAILS
		return EIO;
#endif
		printf("%s: here\n", "twin");
		return 0;
	case MODULE_CMD_FINI:
#ifdef STAYS
		return EBUSY;
#else
		return 0;
#endif
	default:
		return ENOTTY;
	}
}
