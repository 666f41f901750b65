/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file that config(1) makes of vmt.ioconf for a module, for vmt.c.
 * The name of the parent device is NULL, as for every pseudo-root.
 */
#include <sys/param.h>
#include <sys/device.h>

static CFDRIVER_DECL(vmt, DV_DULL, NULL);

static struct cfdriver * const cfdriver_ioconf_vmt[] = { &vmt_cd, NULL };

static const struct cfparent pspec0 = { "cpufeaturebus", NULL, DVUNIT_ANY };

static struct cfdata cfdata_ioconf_vmt[] = {
	{ .cf_name = "vmt", .cf_atname = "vmt", .cf_unit = 0,
	    .cf_fstate = FSTATE_NOTFOUND, .cf_pspec = &pspec0 },
	{ .cf_name = NULL }
};

static struct cfattach * const vmt_cfattachinit[] = { &vmt_ca, NULL };

static const struct cfattachinit cfattach_ioconf_vmt[] = {
	{ "vmt", vmt_cfattachinit },
	{ NULL, NULL }
};
