/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Device matching, and module(9): a driver in NetBSD's tree has this file
 * instead of kmod/vmmemctl/vmmemctl_module.c.  The tables are config(1)'s.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/device.h>
#include <sys/errno.h>
#include <sys/module.h>

#include <prop/proplib.h>

#include "vmmemctlvar.h"

static int	vmmemctl_match(device_t, cfdata_t, void *);

/* Set by modload -b force=true: do not check CPUID. */
static bool vmmemctl_force;

CFATTACH_DECL_NEW(vmmemctl, sizeof(struct vmmemctl_softc),
    vmmemctl_match, vmmemctl_attach, vmmemctl_detach, NULL);

VMMEMCTL_MODULE;

#ifdef _MODULE
#include "ioconf.c"
#endif

static int
VMMEMCTL_MODCMD(modcmd_t cmd, void *arg)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
#ifdef _MODULE
		if (arg != NULL)
			(void)prop_dictionary_get_bool(arg,
			    VMMEMCTL_PROPERTY_FORCE, &vmmemctl_force);
		return config_init_component(cfdriver_ioconf_vmmemctl,
		    cfattach_ioconf_vmmemctl, cfdata_ioconf_vmmemctl);
#else
		return 0;
#endif
	case MODULE_CMD_FINI:
#ifdef _MODULE
		return config_fini_component(cfdriver_ioconf_vmmemctl,
		    cfattach_ioconf_vmmemctl, cfdata_ioconf_vmmemctl);
#else
		return 0;
#endif
	default:
		return ENOTTY;
	}
}

static int
vmmemctl_match(device_t parent, cfdata_t cf, void *aux)
{

	return vmmemctl_machine_match(aux) &&
	    (vmmemctl_force || vmmemctl_machine_is_vmware()) &&
	    vmmemctl_probe();
}
