/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The part for the driver of what config(1) writes for a kernel with
 * `vmt0 at cpu0'.
 */
#include <sys/param.h>
#include <sys/device.h>

extern struct cfattach vmt_ca;
extern struct cfdata cfdata[];
extern struct cfdriver * const cfdriver_list_initial[];
extern const struct cfattachinit cfattachinit[];

CFDRIVER_DECL(vmt, DV_DULL, NULL);

struct cfdriver * const cfdriver_list_initial[] = { &vmt_cd, NULL };

static const struct cfparent pspec0 = { "cpufeaturebus", "cpu", 0 };

struct cfdata cfdata[] = {
	{ .cf_name = "vmt", .cf_atname = "vmt", .cf_unit = 0,
	    .cf_fstate = FSTATE_NOTFOUND, .cf_pspec = &pspec0 },
	{ .cf_name = NULL }
};

static struct cfattach * const vmt_cfattachinit[] = { &vmt_ca, NULL };

const struct cfattachinit cfattachinit[] = {
	{ "vmt", vmt_cfattachinit },
	{ NULL, NULL }
};
