/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The driver as a module.  A module must not define a global symbol that the
 * kernel has, so everything is one unit in which all is static.
 */

#define	VMMEMCTL_LOCAL		static __noinline	/* for backtraces */
#define	VMMEMCTL_LOCAL_TABLE	static
#define	VMMEMCTL_LOCAL_DATA	static

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/device.h>
#include <sys/errno.h>
#include <sys/module.h>
#include <sys/systm.h>

#include <prop/proplib.h>

#include "vmmemctlvar.h"

#include "vmmemctl_tables.c"
#include "vmmemctl_x86.c"
#include "vmmemctl.c"

static bool	vmmemctl_unit_is_taken(void);
static int	vmmemctl_match(device_t, cfdata_t, void *);

/* Set by modload -b force=true: do not check CPUID. */
static bool vmmemctl_force;

static CFATTACH_DECL_NEW(VMMEMCTL_ATTACHMENT, sizeof(struct vmmemctl_softc),
    vmmemctl_match, vmmemctl_attach, vmmemctl_detach, NULL);
static CFDRIVER_DECL(VMMEMCTL_DRIVER, DV_DULL, NULL);

static const struct cfparent vmmemctl_parent = {
	.cfp_iattr = VMMEMCTL_BUS,
	.cfp_parent = VMMEMCTL_PARENT,
	.cfp_unit = VMMEMCTL_UNIT
};

static struct cfdata vmmemctl_cfdata[] = {
	{
		.cf_name = ___STRING(VMMEMCTL_DRIVER),
		.cf_atname = ___STRING(VMMEMCTL_ATTACHMENT),
		.cf_unit = VMMEMCTL_UNIT,
		.cf_fstate = FSTATE_NOTFOUND,
		.cf_pspec = &vmmemctl_parent
	},
	{ .cf_name = NULL }
};

static struct cfattach * const vmmemctl_attachments[] = {
	&___CONCAT(VMMEMCTL_ATTACHMENT, _ca), NULL
};

static const struct cfattachinit vmmemctl_cfattachinit[] = {
	{
		.cfai_name = ___STRING(VMMEMCTL_DRIVER),
		.cfai_list = vmmemctl_attachments
	},
	{ .cfai_name = NULL }
};

static struct cfdriver * const vmmemctl_drivers[] = {
	&___CONCAT(VMMEMCTL_DRIVER, _cd), NULL
};

VMMEMCTL_MODULE;

static int
VMMEMCTL_MODCMD(modcmd_t cmd, void *arg)
{
	int error;

	switch (cmd) {
	case MODULE_CMD_INIT:
		if (arg != NULL)
			(void)prop_dictionary_get_bool(arg,
			    VMMEMCTL_PROPERTY_FORCE, &vmmemctl_force);
		KERNEL_LOCK(1, NULL);
		error = config_init_component(vmmemctl_drivers,
		    vmmemctl_cfattachinit, vmmemctl_cfdata);
		KERNEL_UNLOCK_ONE(NULL);
		return error;
	case MODULE_CMD_FINI:
		return config_fini_component(vmmemctl_drivers,
		    vmmemctl_cfattachinit, vmmemctl_cfdata);
	default:
		return ENOTTY;
	}
}

/*
 * Is the unit in use?  drvctl(8) leaves a detached device in cd_devs until
 * autoconf(9) next collects such devices, which config_cfattach_detach() does
 * unless something iterates over all devices.  config_init_component() of
 * another module does, and config_attach() would panic there.
 */
static bool
vmmemctl_unit_is_taken(void)
{
	static struct cfattach collect_ca = {
		.ca_name = ___STRING(VMMEMCTL_ATTACHMENT) "_flush",
		.ca_devsize = 1,
		.ca_flags = DVF_PRIV_ALLOC
	};
	const struct cfdriver *cd = &___CONCAT(VMMEMCTL_DRIVER, _cd);
	device_t *devices;

	if (config_cfattach_attach(cd->cd_name, &collect_ca) == 0)
		(void)config_cfattach_detach(cd->cd_name, &collect_ca);
	if (cd->cd_ndevs <= VMMEMCTL_UNIT)
		return false;
	/* The array is freed with the last device, at any time. */
	devices = atomic_load_relaxed(&cd->cd_devs);
	return devices != NULL && devices[VMMEMCTL_UNIT] != NULL;
}

static int
vmmemctl_match(device_t parent, cfdata_t cf, void *aux)
{

	if (!vmmemctl_machine_match(aux))
		return 0;
	if (!vmmemctl_machine_is_vmware() && !vmmemctl_force)
		return 0;
	if (vmmemctl_unit_is_taken() || !vmmemctl_probe())
		return 0;
	return VMMEMCTL_PRIORITY;
}
