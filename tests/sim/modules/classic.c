/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver in the classic style: tables as config(1) writes them, with global
 * names, one callout that schedules itself, a softc that autoconf allocates.
 * With BUG defined it carries one planted bug; the line says which.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/callout.h>
#include <sys/device.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/pmf.h>
#include <sys/sysctl.h>

#if defined(__x86_64__) || defined(__i386__)
#include <x86/cpuvar.h>
#endif

#define	BUG_PENDING	1	/* detach leaves the callout running */
#define	BUG_LOCK	2	/* the callout forgets to unlock */
#define	BUG_PMF		3	/* detach leaves the power hooks */
#define	BUG_LEAK	4	/* detach forgets the buffer */
#define	BUG_BOUND	5	/* the callout writes one byte too far */
#define	BUG_SYSCTL	6	/* the handler checks no authorization */
#define	BUG_NODE	7	/* detach leaves the sysctl nodes */
#define	BUG_PRINT	8	/* attach does not end its line */
#define	BUG_FRESH	9	/* the buffer is read before it is written */
#ifndef BUG
#define	BUG		0
#endif
#define	BUFFER		40

struct classic_softc {
	device_t	sc_dev;
	kmutex_t	sc_lock;
	callout_t	sc_tick;
	bool		sc_dying;
	int		sc_count;
	int		sc_step;
	char		*sc_buffer;
	struct sysctllog *sc_log;
};

int	classic_match(device_t, cfdata_t, void *);
void	classic_attach(device_t, device_t, void *);
int	classic_detach(device_t, int);
static void	classic_tick(void *);
static int	classic_sysctl_step(SYSCTLFN_ARGS);

/* What config(1) would write into ioconf.c. */
CFATTACH_DECL_NEW(classic, sizeof(struct classic_softc), classic_match,
    classic_attach, classic_detach, NULL);
CFDRIVER_DECL(classic, DV_DULL, NULL);
static struct cfdriver * const cfdriver_ioconf_classic[] = {
	&classic_cd, NULL
};
static const struct cfparent pspec0 = { "cpufeaturebus", "cpu", 0 };
static struct cfdata cfdata_ioconf_classic[] = {
	{ "classic", "classic", 0, FSTATE_STAR, NULL, 0, &pspec0 },
	{ .cf_name = NULL }
};
static struct cfattach * const classic_cfattachinit[] = { &classic_ca, NULL };
static const struct cfattachinit cfattach_ioconf_classic[] = {
	{ "classic", classic_cfattachinit },
	{ NULL, NULL }
};

MODULE(MODULE_CLASS_DRIVER, classic, NULL);

int
classic_match(device_t parent, cfdata_t cf, void *aux)
{
#if defined(__x86_64__) || defined(__i386__)
	struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, "vm") == 0;
#else

	return device_find_by_xname("classic0") == NULL;
#endif
}

void
classic_attach(device_t parent, device_t self, void *aux)
{
	struct classic_softc *sc = device_private(self);
	const struct sysctlnode *node;

	aprint_naive("\n");
#if BUG != BUG_PRINT
	aprint_normal(": counts seconds\n");
#endif
	sc->sc_dev = self;
	sc->sc_step = 1;
#if BUG == BUG_FRESH
	sc->sc_buffer = kmem_alloc(BUFFER, KM_SLEEP);	/* planted: uninitialised-read */
#else
	sc->sc_buffer = kmem_zalloc(BUFFER, KM_SLEEP);	/* planted: leak */
#endif
	mutex_init(&sc->sc_lock, MUTEX_DEFAULT, IPL_VM);
	callout_init(&sc->sc_tick, CALLOUT_MPSAFE);
	callout_setfunc(&sc->sc_tick, classic_tick, sc);
	if (sysctl_createv(&sc->sc_log, 0, NULL, &node, CTLFLAG_READWRITE,
	    CTLTYPE_NODE, device_xname(self), NULL, NULL, 0, NULL, 0,
	    CTL_MACHDEP, CTL_CREATE, CTL_EOL) == 0) {
		(void)sysctl_createv(&sc->sc_log, 0, &node, NULL,
		    CTLFLAG_READONLY, CTLTYPE_INT, "count", NULL, NULL, 0,
		    &sc->sc_count, 0, CTL_CREATE, CTL_EOL);
		(void)sysctl_createv(&sc->sc_log, 0, &node, NULL,
		    CTLFLAG_READWRITE, CTLTYPE_INT, "step", NULL,
		    classic_sysctl_step, 0, (void *)sc, 0, CTL_CREATE,
		    CTL_EOL);
	}
	if (!pmf_device_register(self, NULL, NULL))	/* planted: pmf-hook-left */
		aprint_error_dev(self, "no power handler\n");
	callout_schedule(&sc->sc_tick, hz);
}

int
classic_detach(device_t self, int flags)
{
	struct classic_softc *sc = device_private(self);

#if BUG != BUG_NODE
	sysctl_teardown(&sc->sc_log);
#endif
#if BUG != BUG_PMF
	pmf_device_deregister(self);
#endif
	mutex_enter(&sc->sc_lock);
	sc->sc_dying = true;
#if BUG == BUG_PENDING
	mutex_exit(&sc->sc_lock);
#else
	(void)callout_halt(&sc->sc_tick, &sc->sc_lock);
	mutex_exit(&sc->sc_lock);
	callout_destroy(&sc->sc_tick);
#endif
	mutex_destroy(&sc->sc_lock);
#if BUG != BUG_LEAK
	kmem_free(sc->sc_buffer, BUFFER);
#endif
	return 0;
}

static void
classic_tick(void *arg)
{
	struct classic_softc *sc = arg;

	mutex_enter(&sc->sc_lock);			/* planted: callback-with-spin-mutex */
	sc->sc_count += sc->sc_step;
#if BUG == BUG_BOUND
	sc->sc_buffer[BUFFER - 3 + sc->sc_count] = 1;	/* planted: out-of-bounds */
#endif
#if BUG == BUG_FRESH
	if (sc->sc_buffer[BUFFER - 1] != 0)		/* planted: uninitialised-read */
		sc->sc_count++;
#endif
	if (!sc->sc_dying)
		callout_schedule(&sc->sc_tick, hz);
#if BUG != BUG_LOCK
	mutex_exit(&sc->sc_lock);
#endif
}

static int
classic_sysctl_step(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct classic_softc *sc = node.sysctl_data;
	int error, step;

	step = sc->sc_step;
#if BUG == BUG_SYSCTL
	if (newp != NULL)
		return sysctl_copyin(l, newp, &sc->sc_step, sizeof(step));
#endif
	node.sysctl_data = &step;
	error = sysctl_lookup(SYSCTLFN_CALL(&node));
	if (error != 0 || newp == NULL)
		return error;
	if (step < 0 || step > 1000)
		return EINVAL;
	mutex_enter(&sc->sc_lock);
	sc->sc_step = step;
	mutex_exit(&sc->sc_lock);
	return 0;
}

static int
classic_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return config_init_component(cfdriver_ioconf_classic,
		    cfattach_ioconf_classic, cfdata_ioconf_classic);
	case MODULE_CMD_FINI:
		return config_fini_component(cfdriver_ioconf_classic,
		    cfattach_ioconf_classic, cfdata_ioconf_classic);
	default:
		return ENOTTY;
	}
}
