/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * vmt(4): VMware Tools driver.
 *
 * VMware expects a service in each guest that answers its requests: shut down,
 * reboot, suspend, resume, report the name, set the clock.  This driver is
 * that service.  The user's requests become sysmon_pswitch(9) events, which
 * powerd(8) handles.
 *
 *	vmt.c		attach and detach, the worker, power switches, the log
 *	vmt_rpc.c	backdoor, message channels, commands to the host
 *	vmt_tclo.c	requests of the host and its options
 *	vmt_info.c	names, file systems
 *	vmt_nic.c	interfaces, as the driver reports them
 *	vmt_net.c	interfaces and routes, as the kernel has them
 *	vmt_memory.c	statistics of the memory
 *	vmt_clock.c	time
 *	vmt_backup.c	quiesced snapshots: the conversation, and scripts
 *	vmt_freeze.c	quiesced snapshots: writing out, and suspending
 *	vmt_sysctl.c	machdep.vmt0
 *	vmt_x86.c	traps and CPUID of amd64 and i386
 *	vmt_aarch64.c	traps of aarch64
 *	vmt_module.c	module(9), beside the vmt(4) that GENERIC has
 *
 *	vmtreg.h	generated: the numbers of the protocol
 *	vmt_tables.c	generated: tables and typed calls
 *
 * The worker is the only thread that calls the host.  In each turn it does
 * what is due, then sleeps until the next deadline or a wake-up.  Everything
 * it does is bounded in time, because detach waits for it.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/device.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/pmf.h>
#include <sys/proc.h>
#include <sys/stdarg.h>
#include <sys/syslog.h>
#include <sys/systm.h>
#include <sys/time.h>
#include <sys/uuid.h>

#include "vmtvar.h"

#define	VMT_SHUTDOWN_MS	2000	/* the shutdown hook waits for the worker */
#define	VMT_PAUSE_MAX	60000	/* ms; times hz it has to fit an int */
#define	VMT_LOG_RATE	5	/* of each text a second */

static int	vmt_start(struct vmt_softc *, const char **);
static void	vmt_stop(struct vmt_softc *);
static void	vmt_read_uuid(struct vmt_softc *);
static bool	vmt_shutdown(device_t, int);
static bool	vmt_await_worker(struct vmt_softc *);
static void	vmt_worker(void *);
static int64_t	vmt_worker_turn(struct vmt_softc *);
static void	vmt_disconnect(struct vmt_softc *);

void
vmt_attach(device_t parent, device_t self, void *aux)
{
	struct vmt_softc *sc = device_private(self);
	const char *step;
	int error;

	aprint_naive("\n");
	aprint_normal(": %s\n", VMT_DESCRIPTION);

	sc->sc_dev = self;
	vmt_read_uuid(sc);
	if (sc->sc_uuid[0] != '\0')
		aprint_verbose_dev(self, "UUID %s\n", sc->sc_uuid);

	error = vmt_start(sc, &step);
	if (error != 0) {
		aprint_error_dev(self, "not started: cannot %s (error %d)\n",
		    step, error);
		vmt_stop(sc);
	}
}

/*
 * Start the service.  If a step fails, *stepp is its name, and vmt_stop()
 * undoes the others.
 */
static int
vmt_start(struct vmt_softc *sc, const char **stepp)
{
	struct sysmon_pswitch *pswitch;
	int error;

	/* Locks, and the state that they guard. */
	mutex_init(&sc->sc_lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&sc->sc_work, "vmtwork");
	cv_init(&sc->sc_done, "vmtdone");
	cv_init(&sc->sc_thaw, "vmtthaw");
	sc->sc_have_locks = true;
	sc->sc_tclo.ch_protocol = VMT_PROTOCOL_TCLO;
	sc->sc_tclo.ch_counters = sc->sc_counters;
	sc->sc_rpci.ch_protocol = VMT_PROTOCOL_RPCI;
	sc->sc_rpci.ch_counters = sc->sc_counters;
	sc->sc_event = VMT_SWITCH_NONE;
	sc->sc_info_from = INT64_MAX;
	vmt_clock_init(&sc->sc_clock);
	vmt_backup_init(sc);
	sc->sc_memory.c_period = VMT_MEMORY_PERIOD;
	/* Numbers from before a detach are not reused soon. */
	sc->sc_request_number = vmt_uptime() & 0x3fffffff;
	vmt_counters_attach(sc);
	/* Memory in which a message of usual length always fits. */
	*stepp = "allocate the message buffer";
	error = vmt_buffer_reserve(&sc->sc_message, VMT_BUFFER);
	if (error != 0)
		return error;

	/*
	 * The driver turns the host's requests into button events, which
	 * powerd(8) handles.
	 */
	*stepp = "register the power switches";
	for (; sc->sc_switches < VMT_SWITCHES; sc->sc_switches++) {
		pswitch = &sc->sc_switch[sc->sc_switches];
		pswitch->smpsw_name = device_xname(sc->sc_dev);
		pswitch->smpsw_type = vmt_switches[sc->sc_switches].s_type;
		error = sysmon_pswitch_register(pswitch);
		if (error != 0)
			return error;
	}

	*stepp = "register the shutdown hook";
	/* Suspend and resume need no hook: the host asks before and after. */
	sc->sc_have_pmf = pmf_device_register1(sc->sc_dev, NULL, NULL,
	    vmt_shutdown);
	if (!sc->sc_have_pmf)
		return ENXIO;

	/*
	 * PRI_NONE without KTHREAD_TS is the lowest of the kernel's priorities
	 * (kthread(9)): the host treats a service that does not answer in time
	 * as dead, so the worker runs before user processes.
	 */
	*stepp = "create the worker thread";
	sc->sc_running = true;
	error = kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN,
	    NULL, vmt_worker, sc, &sc->sc_thread, "%s",
	    device_xname(sc->sc_dev));
	if (error != 0) {
		sc->sc_running = false;
		sc->sc_thread = NULL;
		return error;
	}

	/* Last: the handlers rely on the worker. */
	*stepp = "create the sysctl nodes";
	return vmt_sysctl_create(sc);
}

/*
 * Stop the service, as far as it was started.  First exclude new callers, then
 * end the worker.  It is safe to call this twice.
 */
static void
vmt_stop(struct vmt_softc *sc)
{

	if (!sc->sc_have_locks)
		return;

	mutex_enter(&sc->sc_lock);
	atomic_store_relaxed(&sc->sc_dying, true);
	cv_broadcast(&sc->sc_work);
	mutex_exit(&sc->sc_lock);

	if (sc->sc_sysctllog != NULL)
		sysctl_teardown(&sc->sc_sysctllog);
	if (sc->sc_have_pmf)
		pmf_device_deregister(sc->sc_dev);
	sc->sc_have_pmf = false;
	if (sc->sc_thread != NULL)
		kthread_join(sc->sc_thread);
	sc->sc_thread = NULL;
	vmt_entropy_join(sc);
	while (sc->sc_switches > 0)
		sysmon_pswitch_unregister(&sc->sc_switch[--sc->sc_switches]);

	vmt_counters_detach(sc);
	vmt_info_free(sc);
	vmt_buffer_free(&sc->sc_message);
	vmt_buffer_free(&sc->sc_command);
	vmt_buffer_free(&sc->sc_reply);
	vmt_request_free(sc);
	cv_destroy(&sc->sc_thaw);
	cv_destroy(&sc->sc_done);
	cv_destroy(&sc->sc_work);
	mutex_destroy(&sc->sc_lock);
	sc->sc_have_locks = false;
}

/*
 * With kern.detachall=1 a shutdown detaches the driver, too, in the thread
 * that reboots: it may be the worker, and a worker may be lost (see
 * vmt_shutdown()).  Then refuse: the shutdown hook runs next.
 */
int
vmt_detach(device_t self, int flags)
{
	struct vmt_softc *sc = device_private(self);

	if ((flags & DETACH_SHUTDOWN) != 0 && sc->sc_have_locks &&
	    !vmt_await_worker(sc))
		return EBUSY;
	vmt_stop(sc);
	return 0;
}

/*
 * The system shuts down: end the worker.  Returns whether it ended in time.
 * Does not wait for a worker that raises an event: it may be this thread.
 */
static bool
vmt_await_worker(struct vmt_softc *sc)
{
	const int64_t end = vmt_uptime() + VMT_SHUTDOWN_MS;
	bool gone;

	mutex_enter(&sc->sc_lock);
	atomic_store_relaxed(&sc->sc_dying, true);
	sc->sc_shutdown = true;
	cv_broadcast(&sc->sc_work);
	while (sc->sc_running && !sc->sc_raising && vmt_uptime() < end)
		(void)cv_timedwait(&sc->sc_done, &sc->sc_lock, 1);
	gone = !sc->sc_running;
	mutex_exit(&sc->sc_lock);
	return gone;
}

/*
 * The system shuts down.  Without a reader of /dev/power the kernel does so
 * inside sysmon_pswitch_event(9).  If that started the shutdown, this is the
 * worker, which must not wait for itself.  If another thread did, the worker
 * does not return from there, and this function does its work.
 */
static bool
vmt_shutdown(device_t self, int how)
{
	struct vmt_softc *sc = device_private(self);
	bool ours;

	if (vmt_await_worker(sc))
		return true;
	mutex_enter(&sc->sc_lock);
	ours = sc->sc_raising;
	sc->sc_replaced = ours && curlwp != sc->sc_worker;
	mutex_exit(&sc->sc_lock);
	if (ours)
		vmt_disconnect(sc);
	return true;
}

/* Read the UUID of the machine, if the host reports one. */
static void
vmt_read_uuid(struct vmt_softc *sc)
{
	struct uuid uuid;
	uint32_t words[4];
	uint8_t bytes[16];
	u_int i;

	if (!vmt_get_uuid(&words[0], &words[1], &words[2], &words[3]))
		return;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (words[i / 4] >> (8 * (i % 4))) & 0xff;
	uuid_dec_be(bytes, &uuid);
	(void)uuid_snprintf(sc->sc_uuid, sizeof(sc->sc_uuid), &uuid);
}

static void
vmt_worker(void *arg)
{
	struct vmt_softc *sc = arg;
	int64_t next, pause;

	mutex_enter(&sc->sc_lock);
	/* kthread_create(9) may store sc_thread only after we have begun. */
	sc->sc_worker = curlwp;
	while (!sc->sc_dying) {
		sc->sc_kicked = false;
		mutex_exit(&sc->sc_lock);
		next = vmt_worker_turn(sc);
		pause = next - sc->sc_now;
		mutex_enter(&sc->sc_lock);
		if (sc->sc_dying || sc->sc_kicked)
			continue;
		/* Rounded up: a wait of 0 ticks has no end. */
		pause = MAX(MIN(pause, VMT_PAUSE_MAX), 1);
		(void)cv_timedwait(&sc->sc_work, &sc->sc_lock,
		    howmany((int)pause * hz, 1000));
	}
	mutex_exit(&sc->sc_lock);

	vmt_disconnect(sc);

	mutex_enter(&sc->sc_lock);
	sc->sc_running = false;
	cv_broadcast(&sc->sc_done);
	mutex_exit(&sc->sc_lock);
	kthread_exit(0);
}

/* Wake the worker up: there is something to do.  Called with sc_lock held. */
void
vmt_wake_worker(struct vmt_softc *sc)
{

	KASSERT(mutex_owned(&sc->sc_lock));

	sc->sc_kicked = true;
	cv_signal(&sc->sc_work);
}

/* Do the work that is due.  Returns the next deadline (uptime in ms). */
static int64_t
vmt_worker_turn(struct vmt_softc *sc)
{
	int64_t next;

	vmt_update_now(sc);
	next = vmt_request_run(sc, sc->sc_now);
	next = MIN(next, vmt_tclo_run(sc, sc->sc_now));
	next = MIN(next, vmt_backup_run(sc, sc->sc_now));
	if (sc->sc_now < sc->sc_info_from)
		next = MIN(next, sc->sc_info_from);
	else if (!vmt_backup_holds(sc))
		next = MIN(next, vmt_info_run(sc, sc->sc_now));
	next = MIN(next, vmt_clock_run(sc, sc->sc_now));
	vmt_rpc_release(sc);
	return next;
}

/*
 * Withdraw the service, deliver the last answer and close the channels.  Runs
 * in the worker, or in the shutdown hook that does its work.
 */
static void
vmt_disconnect(struct vmt_softc *sc)
{

	vmt_backup_stop(sc);
	vmt_clock_stop(sc);
	if (sc->sc_announced)
		(void)vmt_rpc_hgfs_server(sc, VMT_SERVICE, false);
	sc->sc_announced = false;
	sc->sc_registered = false;
	vmt_tclo_stop(sc);
	vmt_rpc_release(sc);
}

/*
 * Raise the event that the last message requires.
 *
 * Without a reader of /dev/power the kernel itself powers off or reboots
 * inside sysmon_pswitch_event(9), which then does not return and runs the
 * driver's shutdown hook in this very thread.  So no lock may be held.
 */
void
vmt_raise_event(struct vmt_softc *sc)
{
	const enum vmt_switch event = sc->sc_event;

	if (event == VMT_SWITCH_NONE)
		return;
	sc->sc_event = VMT_SWITCH_NONE;
	/* A shutdown would wait for a suspended file system. */
	vmt_backup_interrupt(sc);
	vmt_raise(sc, event);
}

void
vmt_raise(struct vmt_softc *sc, enum vmt_switch event)
{

	KASSERT(!mutex_owned(&sc->sc_lock));

	mutex_enter(&sc->sc_lock);
	sc->sc_raising = true;
	cv_broadcast(&sc->sc_done);
	mutex_exit(&sc->sc_lock);
	sysmon_pswitch_event(&sc->sc_switch[event],
	    vmt_switches[event].s_event);
	mutex_enter(&sc->sc_lock);
	sc->sc_raising = false;
	while (sc->sc_replaced)
		cv_wait(&sc->sc_work, &sc->sc_lock);
	mutex_exit(&sc->sc_lock);
	vmt_update_now(sc);
}

/*
 * Log one of the texts of vmt_texts, with the arguments that its format
 * takes: at most VMT_LOG_RATE times a second.  Runs in the worker, because
 * some texts go to the host, too.
 */
void
vmt_log(struct vmt_softc *sc, enum vmt_log which, ...)
{
	static struct timeval last[VMT_LOGS];
	static int count[VMT_LOGS];
	const struct vmt_text *text = &vmt_texts[which];
	char line[128];
	va_list ap;

	if (!ppsratecheck(&last[which], &count[which], VMT_LOG_RATE))
		return;
	va_start(ap, which);
	(void)vsnprintf(line, sizeof(line), text->t_format, ap);
	va_end(ap);
	if (text->t_console)
		device_printf(sc->sc_dev, "%s\n", line);
	else
		log(text->t_level, "%s: %s\n", device_xname(sc->sc_dev), line);
	if (text->t_host)
		(void)vmt_rpc_log(sc, VMT_SERVICE, line);
}

/*
 * A command, a message or a slow file system may have taken a while.
 * Without this the worker would sleep for too long.
 */
void
vmt_update_now(struct vmt_softc *sc)
{

	sc->sc_now = vmt_uptime();
}

/* Milliseconds since boot. */
int64_t
vmt_uptime(void)
{
	struct timespec ts;

	nanouptime(&ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
