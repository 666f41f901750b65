/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Device matching, and module(9): a driver in NetBSD's tree has this file
 * instead of kmod/vmt/vmt_module.c.  The tables are config(1)'s.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/device.h>
#include <sys/errno.h>
#include <sys/module.h>

#include <prop/proplib.h>

#include "vmtvar.h"

static int	vmt_match(device_t, cfdata_t, void *);

/* Set by modload -b force=true: do not check CPUID. */
static bool vmt_force;

CFATTACH_DECL_NEW(vmt, sizeof(struct vmt_softc),
    vmt_match, vmt_attach, vmt_detach, NULL);

VMT_MODULE;

#ifdef _MODULE
#include "ioconf.c"
#endif

static int
VMT_MODCMD(modcmd_t cmd, void *arg)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
#ifdef _MODULE
		if (arg != NULL)
			(void)prop_dictionary_get_bool(arg,
			    VMT_PROPERTY_FORCE, &vmt_force);
		return config_init_component(cfdriver_ioconf_vmt,
		    cfattach_ioconf_vmt, cfdata_ioconf_vmt);
#else
		return 0;
#endif
	case MODULE_CMD_FINI:
#ifdef _MODULE
		return config_fini_component(cfdriver_ioconf_vmt,
		    cfattach_ioconf_vmt, cfdata_ioconf_vmt);
#else
		return 0;
#endif
	default:
		return ENOTTY;
	}
}

static int
vmt_match(device_t parent, cfdata_t cf, void *aux)
{

	return vmt_machine_match(aux) &&
	    (vmt_force || vmt_machine_is_vmware()) &&
	    vmt_backdoor_probe() && vmt_channel_probe();
}
