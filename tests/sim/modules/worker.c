/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver with a thread of its own that raises a power event on
 * request. With BUG defined it carries one planted bug.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/cpu.h>
#include <sys/device.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/pmf.h>

#include <dev/sysmon/sysmonvar.h>
#if defined(__x86_64__) || defined(__i386__)
#include <x86/cpuvar.h>
#endif

#define	BUG_HOOK	1	/* the shutdown hook waits for its own thread */
#define	BUG_WAKEUP	2	/* detach forgets to wake the thread */
#define	BUG_ORDER	3	/* detach destroys before it joins */
#define	BUG_JOIN	4	/* detach joins with the lock that the thread needs */
#define	BUG_FREE	5	/* detach does not join */
#ifndef BUG
#define	BUG		0
#endif

struct worker_softc {
	device_t	sc_dev;
	kmutex_t	sc_lock;
	kcondvar_t	sc_cv;
	lwp_t		*sc_thread;
	bool		sc_dying;
	bool		sc_running;
	bool		sc_press;
	struct sysmon_pswitch sc_button;
};

int	press(void);
static int	worker_match(device_t, cfdata_t, void *);
static void	worker_attach(device_t, device_t, void *);
static int	worker_detach(device_t, int);
static bool	worker_shutdown(device_t, int);
static void	worker_thread(void *);

static struct cfdriver worker_cd = { .cd_name = "worker", .cd_class = DV_DULL };
static struct cfattach worker_ca = {
	.ca_name = "worker",
	.ca_devsize = sizeof(struct worker_softc),
	.ca_flags = DVF_PRIV_ALLOC,
	.ca_match = worker_match,
	.ca_attach = worker_attach,
	.ca_detach = worker_detach,
};
static const struct cfparent worker_parent = { "cpufeaturebus", "cpu", 0 };
static struct cfdata worker_cfdata[] = {
	{ "worker", "worker", 0, FSTATE_NOTFOUND, NULL, 0, &worker_parent },
	{ .cf_name = NULL }
};
static struct cfdriver * const worker_drivers[] = { &worker_cd, NULL };
static struct cfattach * const worker_attachments[] = { &worker_ca, NULL };
static const struct cfattachinit worker_init[] = {
	{ "worker", worker_attachments },
	{ NULL, NULL }
};
static struct worker_softc *the_softc;

MODULE(MODULE_CLASS_DRIVER, worker, "sysmon_power");

static int
worker_match(device_t parent, cfdata_t cf, void *aux)
{
#if defined(__x86_64__) || defined(__i386__)
	struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, "vm") == 0;
#else

	return device_find_by_xname("worker0") == NULL;
#endif
}

static void
worker_attach(device_t parent, device_t self, void *aux)
{
	struct worker_softc *sc = device_private(self);

	aprint_naive("\n");
	aprint_normal(": works\n");
	sc->sc_dev = self;
	mutex_init(&sc->sc_lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&sc->sc_cv, "worker");
	sc->sc_button.smpsw_name = device_xname(self);
	sc->sc_button.smpsw_type = PSWITCH_TYPE_POWER;
	(void)sysmon_pswitch_register(&sc->sc_button);
	(void)pmf_device_register1(self, NULL, NULL, worker_shutdown);
	sc->sc_running = true;
	if (kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN,
	    curcpu(), worker_thread, sc, &sc->sc_thread, "%s",
	    device_xname(self)) != 0)
		sc->sc_running = false;
	the_softc = sc;
}

static int
worker_detach(device_t self, int flags)
{
	struct worker_softc *sc = device_private(self);

	the_softc = NULL;
	mutex_enter(&sc->sc_lock);
	sc->sc_dying = true;
#if BUG != BUG_WAKEUP
	cv_broadcast(&sc->sc_cv);
#endif
#if BUG != BUG_JOIN
	mutex_exit(&sc->sc_lock);
#endif
#if BUG == BUG_ORDER
	cv_destroy(&sc->sc_cv);
#endif
	pmf_device_deregister(self);
	sysmon_pswitch_unregister(&sc->sc_button);
#if BUG != BUG_FREE
	if (sc->sc_thread != NULL)
		(void)kthread_join(sc->sc_thread);
#endif
#if BUG == BUG_JOIN
	mutex_exit(&sc->sc_lock);
#endif
#if BUG != BUG_ORDER
	cv_destroy(&sc->sc_cv);
#endif
	mutex_destroy(&sc->sc_lock);
	return 0;
}

static void
worker_thread(void *arg)
{
	struct worker_softc *sc = arg;

	mutex_enter(&sc->sc_lock);
	while (!sc->sc_dying) {
		if (sc->sc_press) {
			sc->sc_press = false;
			mutex_exit(&sc->sc_lock);
			sysmon_pswitch_event(&sc->sc_button,
			    PSWITCH_EVENT_PRESSED);
			mutex_enter(&sc->sc_lock);
			continue;
		}
		cv_wait(&sc->sc_cv, &sc->sc_lock);
	}
	sc->sc_running = false;
	cv_broadcast(&sc->sc_cv);
	mutex_exit(&sc->sc_lock);
	kthread_exit(0);
}

static bool
worker_shutdown(device_t self, int how)
{
	struct worker_softc *sc = device_private(self);

#if BUG != BUG_HOOK
	if (curlwp == sc->sc_thread)
		return true;
#endif
	mutex_enter(&sc->sc_lock);
	sc->sc_dying = true;
	cv_broadcast(&sc->sc_cv);
	while (sc->sc_running)
		cv_wait(&sc->sc_cv, &sc->sc_lock);
	mutex_exit(&sc->sc_lock);
	return true;
}

int
press(void)
{
	struct worker_softc *sc = the_softc;

	mutex_enter(&sc->sc_lock);
	sc->sc_press = true;
	cv_broadcast(&sc->sc_cv);
	mutex_exit(&sc->sc_lock);
	return 0;
}

static int
worker_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return config_init_component(worker_drivers, worker_init,
		    worker_cfdata);
	case MODULE_CMD_FINI:
		return config_fini_component(worker_drivers, worker_init,
		    worker_cfdata);
	default:
		return ENOTTY;
	}
}
