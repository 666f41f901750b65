/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pseudo-device with a callout that prints its beats. With BUG defined
 * detach does not stop it.
 */
#include <sys/param.h>
#include <sys/callout.h>
#include <sys/device.h>
#include <sys/kernel.h>
#include <sys/module.h>
#include <sys/systm.h>

#ifndef BUG
#define	BUG	0
#endif

struct beat_softc {
	device_t	sc_dev;
	callout_t	sc_callout;
	int		sc_beats;
};

static int	beat_match(device_t, cfdata_t, void *);
static void	beat_attach(device_t, device_t, void *);
static int	beat_detach(device_t, int);

CFATTACH_DECL_NEW(beat, sizeof(struct beat_softc), beat_match, beat_attach,
    beat_detach, NULL);
CFDRIVER_DECL(beat, DV_DULL, NULL);
static struct cfdata beat_cfdata = {
	.cf_name = "beat", .cf_atname = "beat", .cf_fstate = FSTATE_STAR
};
static device_t beat_device;

MODULE(MODULE_CLASS_DRIVER, beat, NULL);

static int
beat_match(device_t parent, cfdata_t cf, void *aux)
{

	return 1;
}

static void
beat_tick(void *arg)
{
	struct beat_softc *sc = arg;

	aprint_normal_dev(sc->sc_dev, "beat %d\n", ++sc->sc_beats);
	callout_schedule(&sc->sc_callout, hz);
}

static void
beat_attach(device_t parent, device_t self, void *aux)
{
	struct beat_softc *sc = device_private(self);

	sc->sc_dev = self;
	callout_init(&sc->sc_callout, CALLOUT_MPSAFE);
	callout_setfunc(&sc->sc_callout, beat_tick, sc);
	callout_schedule(&sc->sc_callout, hz);
}

static int
beat_detach(device_t self, int flags)
{
	struct beat_softc *sc = device_private(self);

	if (!BUG) {
		callout_halt(&sc->sc_callout, NULL);
		callout_destroy(&sc->sc_callout);
	}
	return 0;
}

/* Take the attachment and the driver back, as far as they came. */
static void
beat_forget(bool attachment)
{

	if (attachment)
		config_cfattach_detach("beat", &beat_ca);
	config_cfdriver_detach(&beat_cd);
}

static int
beat_start(void)
{
	int error;

	error = config_cfdriver_attach(&beat_cd);
	if (error != 0)
		return error;
	error = config_cfattach_attach("beat", &beat_ca);
	if (error != 0) {
		beat_forget(false);
		return error;
	}
	beat_device = config_attach_pseudo(&beat_cfdata);
	if (beat_device == NULL) {
		beat_forget(true);
		return ENXIO;
	}
	return 0;
}

static int
beat_stop(void)
{
	int error;

	error = config_detach(beat_device, 0);
	if (error == 0)
		beat_forget(true);
	return error;
}

static int
beat_modcmd(modcmd_t cmd, void *aux)
{
	int error;

	KERNEL_LOCK(1, NULL);
	switch (cmd) {
	case MODULE_CMD_INIT:
		error = beat_start();
		break;
	case MODULE_CMD_FINI:
		error = beat_stop();
		break;
	default:
		error = ENOTTY;
		break;
	}
	KERNEL_UNLOCK_ONE(NULL);
	return error;
}
