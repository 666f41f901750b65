/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sensor at cpufeaturebus: the temperature of a processor that has none.
 * With BUG defined detach leaves it registered.
 */
#include <sys/param.h>
#include <sys/device.h>
#include <sys/module.h>
#include <sys/systm.h>

#if defined(__x86_64__) || defined(__i386__)
#include <x86/cpuvar.h>
#endif

#include <dev/sysmon/sysmonvar.h>

#ifndef BUG
#define	BUG	0
#endif

struct degree_softc {
	struct sysmon_envsys *sc_sme;
	envsys_data_t	sc_sensor;
};

static int	degree_match(device_t, cfdata_t, void *);
static void	degree_attach(device_t, device_t, void *);
static int	degree_detach(device_t, int);

CFATTACH_DECL_NEW(degree, sizeof(struct degree_softc), degree_match,
    degree_attach, degree_detach, NULL);
CFDRIVER_DECL(degree, DV_DULL, NULL);
static struct cfdriver * const degree_drivers[] = { &degree_cd, NULL };
static const struct cfparent degree_parent = { "cpufeaturebus", "cpu", 0 };
static struct cfdata degree_cfdata[] = {
	{ "degree", "degree", 0, FSTATE_STAR, NULL, 0, &degree_parent },
	{ .cf_name = NULL }
};
static struct cfattach * const degree_attachments[] = { &degree_ca, NULL };
static const struct cfattachinit degree_table[] = {
	{ "degree", degree_attachments },
	{ NULL, NULL }
};

MODULE(MODULE_CLASS_DRIVER, degree, "sysmon_envsys");

static int
degree_match(device_t parent, cfdata_t cf, void *aux)
{
#if defined(__x86_64__) || defined(__i386__)
	struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, "temperature") == 0;
#else

	return device_find_by_xname("degree0") == NULL;
#endif
}

static void
degree_refresh(struct sysmon_envsys *sme, envsys_data_t *edata)
{

	edata->value_cur = 40 * 1000000 + 273150000;
	edata->state = ENVSYS_SVALID;
}

static void
degree_attach(device_t parent, device_t self, void *aux)
{
	struct degree_softc *sc = device_private(self);

	aprint_naive("\n");
	aprint_normal(": temperature\n");
	sc->sc_sensor.units = ENVSYS_STEMP;
	sc->sc_sensor.state = ENVSYS_SINVALID;
	strlcpy(sc->sc_sensor.desc, "core", sizeof(sc->sc_sensor.desc));
	sc->sc_sme = sysmon_envsys_create();
	sc->sc_sme->sme_name = device_xname(self);
	sc->sc_sme->sme_refresh = degree_refresh;
	if (sysmon_envsys_sensor_attach(sc->sc_sme, &sc->sc_sensor) != 0 ||
	    sysmon_envsys_register(sc->sc_sme) != 0) {
		aprint_error_dev(self, "no sensor\n");
		sysmon_envsys_destroy(sc->sc_sme);
		sc->sc_sme = NULL;
	}
}

static int
degree_detach(device_t self, int flags)
{
	struct degree_softc *sc = device_private(self);

	if (sc->sc_sme != NULL && !BUG)
		sysmon_envsys_unregister(sc->sc_sme);
	return 0;
}

static int
degree_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return config_init_component(degree_drivers, degree_table,
		    degree_cfdata);
	case MODULE_CMD_FINI:
		return config_fini_component(degree_drivers, degree_table,
		    degree_cfdata);
	default:
		return ENOTTY;
	}
}
