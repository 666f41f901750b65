/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The driver as a module beside the vmt(4) that GENERIC has built in.
 *
 * The kernel's loader refuses a module that defines a global symbol which
 * the kernel has.  So this file compiles the whole driver as one unit in
 * which everything is static.
 *
 * The tables of autoconf(9) are static as well; config(1) would make some of
 * them global.  The built-in driver, if there is one, has the same driver
 * name; the attachment has another name, and its match has a higher priority.
 */

#ifndef VMT_LOCAL
#define	VMT_LOCAL	static __noinline	/* for backtraces */
#define	VMT_LOCAL_TABLE	static
#define	VMT_LOCAL_DATA	static
#endif

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/device.h>
#include <sys/errno.h>
#include <sys/module.h>
#include <sys/systm.h>

#include <prop/proplib.h>

#include "vmtvar.h"

#include "vmt_tables.c"
#if defined(__i386__) || defined(__x86_64__)
#include "vmt_x86.c"
#elif defined(__aarch64__)
#include "vmt_aarch64.c"
#endif
#include "vmt_rpc.c"
#include "vmt_tclo.c"
#include "vmt_info.c"
#include "vmt_net.c"
#include "vmt_nic.c"
#include "vmt_memory.c"
#include "vmt_clock.c"
#include "vmt_freeze.c"
#include "vmt_backup.c"
#include "vmt_sysctl.c"
#include "vmt.c"

static int	vmt_match(device_t, cfdata_t, void *);
static void	vmt_collect_detached(void);
static bool	vmt_unit_is_taken(void);

/* Set by modload -b force=true: do not check CPUID. */
static bool vmt_force;

static CFATTACH_DECL_NEW(VMT_ATTACHMENT, sizeof(struct vmt_softc),
    vmt_match, vmt_attach, vmt_detach, NULL);
static CFDRIVER_DECL(VMT_DRIVER, DV_DULL, NULL);

static const struct cfparent vmt_parent = {
	.cfp_iattr = VMT_BUS,
	.cfp_parent = VMT_PARENT,
	.cfp_unit = VMT_UNIT
};

static struct cfdata vmt_cfdata[] = {
	{
		.cf_name = ___STRING(VMT_DRIVER),
		.cf_atname = ___STRING(VMT_ATTACHMENT),
		.cf_unit = VMT_UNIT,
		.cf_fstate = FSTATE_NOTFOUND,
		.cf_pspec = &vmt_parent
	},
	{ .cf_name = NULL }
};

static struct cfattach * const vmt_attachments[] = {
	&___CONCAT(VMT_ATTACHMENT, _ca), NULL
};

static const struct cfattachinit vmt_cfattachinit[] = {
	{ .cfai_name = ___STRING(VMT_DRIVER), .cfai_list = vmt_attachments },
	{ .cfai_name = NULL }
};

/* Without a built-in driver the module registers the name. */
static struct cfdriver * const vmt_own_driver[] = {
	&___CONCAT(VMT_DRIVER, _cd), NULL
};
static struct cfdriver * const vmt_no_driver[] = { NULL };
static struct cfdriver * const *vmt_drivers;

VMT_MODULE;

static int
VMT_MODCMD(modcmd_t cmd, void *arg)
{
	int error;

	switch (cmd) {
	case MODULE_CMD_INIT:
		if (arg != NULL)
			(void)prop_dictionary_get_bool(arg, VMT_PROPERTY_FORCE,
			    &vmt_force);
		KERNEL_LOCK(1, NULL);
		vmt_collect_detached();
		vmt_drivers =
		    config_cfdriver_lookup(___STRING(VMT_DRIVER)) == NULL ?
		    vmt_own_driver : vmt_no_driver;
		/*
		 * The rescan inside config_init_component() panics if the
		 * unit is detached but still allocated.
		 */
		if (vmt_unit_is_taken() &&
		    device_find_by_xname(VMT_DEVICE) == NULL) {
			aprint_error(VMT_NAME ": " VMT_DEVICE " is detached "
			    "but its unit is still allocated; drvctl -r -a "
			    VMT_BUS " " VMT_PARENT_DEVICE
			    ", then load again\n");
			error = EBUSY;
		} else
			error = config_init_component(vmt_drivers,
			    vmt_cfattachinit, vmt_cfdata);
		KERNEL_UNLOCK_ONE(NULL);
		return error;
	case MODULE_CMD_FINI:
		return config_fini_component(vmt_drivers, vmt_cfattachinit,
		    vmt_cfdata);
	default:
		return ENOTTY;
	}
}

/*
 * Free the units of detached devices.
 *
 * drvctl(8) detaches a device while it holds a device iterator. autoconf(9)
 * then only marks the device as deleted (config_detach), and its unit stays in
 * cd_devs until the next config_alldevs_enter() without an iterator collects
 * it. config_init_component() looks for new devices under an iterator, and so
 * never collects; if the match succeeds there, config_attach() finds the unit
 * in use and panics. config_cfattach_detach() does collect, whatever the
 * attachment.
 */
static void
vmt_collect_detached(void)
{
	static struct cfattach collect_ca = {
		.ca_name = ___STRING(VMT_ATTACHMENT) "_flush",
		.ca_devsize = 1,
		.ca_flags = DVF_PRIV_ALLOC
	};

	if (config_cfattach_attach(___STRING(VMT_DRIVER), &collect_ca) == 0)
		(void)config_cfattach_detach(___STRING(VMT_DRIVER),
		    &collect_ca);
}

/* Is the unit in use, also by a detached device? */
static bool
vmt_unit_is_taken(void)
{
	const struct cfdriver *cd;
	device_t *devices;

	cd = config_cfdriver_lookup(___STRING(VMT_DRIVER));
	if (cd == NULL || cd->cd_ndevs <= VMT_UNIT)
		return false;
	/* The array is freed with the last device, at any time. */
	devices = atomic_load_relaxed(&cd->cd_devs);
	return devices != NULL && devices[VMT_UNIT] != NULL;
}

static int
vmt_match(device_t parent, cfdata_t cf, void *aux)
{

	if (!vmt_machine_match(aux))
		return 0;
	if (!vmt_machine_is_vmware() && !vmt_force)
		return 0;
	/* config_attach() would panic if the unit is in use. */
	if (device_find_by_xname(VMT_DEVICE) != NULL)
		return 0;
	vmt_collect_detached();
	if (vmt_unit_is_taken())
		return 0;
	if (!vmt_backdoor_probe() || !vmt_channel_probe())
		return 0;
	return VMT_PRIORITY;
}
