/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Synchronisation of the clock with the host's.
 *
 * The driver slews a small error as adjtime(2) does, a share of it every
 * period.  It steps a large one: forward always, backwards at the first
 * comparison after attach, when the administrator sets clock_sync.now, and
 * when the host allows it (the guest was suspended, or reverted to a
 * snapshot).  Otherwise a clock that is far ahead is slewed, which may
 * take days: that is logged once.  An error is large above the host's limit:
 * by how much a guest may lag because of pending timer interrupts.  If a
 * host does not report the current lag, the first correction is too large by
 * that lag.
 *
 * A built-in driver attaches before the system has set its clock: inittodr(9)
 * comes later and would undo a correction.  A time before 2010 means that the
 * clock is not set yet.  The driver checks again every second, for a minute.
 *
 * With a period of 0 the driver never touches the clock.  Otherwise it uses
 * the administrator's period, and the host's options only where
 * clock_sync.follow_host is set: their default is off, and the manual
 * promises a synchronised clock.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/entropy.h>
#include <sys/errno.h>
#include <sys/kthread.h>
#include <sys/rndsource.h>
#include <sys/systm.h>
#include <sys/time.h>
#include <sys/timevar.h>

#include "vmtvar.h"

#define	VMT_US		1000000		/* microseconds in a second */
#define	VMT_HOST_PERIOD	60		/* seconds, where the host says 0 */
#define	VMT_CLOCK_2010	1262304000	/* seconds since 1970 */
#define	VMT_CLOCK_UNSET	60		/* checks, a second apart */

/* adjtime(2): microseconds in a second, see ntp_update_second(). */
#define	VMT_SLEW_FAST	5000		/* more than a second is left */
#define	VMT_SLEW_SLOW	500

/* One comparison of both clocks; microseconds. */
struct vmt_clock_sample {
	int64_t		s_offset;	/* host minus guest */
	int64_t		s_window;	/* how long it took */
	int64_t		s_lag;		/* timer interrupts still to come */
	int64_t		s_max;		/* the largest error to slew */
};

struct vmt_host_time {
	int64_t		h_time;		/* since 1970 */
	uint32_t	h_max_lag;
	uint32_t	h_lag;
};

/* The settings of one synchronisation. */
struct vmt_clock_policy {
	u_int		p_period;	/* seconds, 0 = hands off */
	bool		p_now;		/* at once */
	const char	*p_why;		/* why the period is 0 */
};

static struct vmt_clock_policy vmt_clock_policy(struct vmt_softc *);
static bool	vmt_clock_read_host(struct vmt_clock *, struct vmt_host_time *);
static bool	vmt_clock_sample(struct vmt_clock *, struct vmt_clock_sample *);
static int64_t	vmt_clock_read_guest(void);
static int	vmt_clock_step(struct vmt_softc *, int64_t);
static void	vmt_clock_slew(struct vmt_softc *, int64_t, u_int);
static void	vmt_clock_log_slew(struct vmt_softc *, int64_t, u_int);
static void	vmt_clock_cancel_slew(struct vmt_softc *, const char *);
static void	vmt_clock_set_state(struct vmt_softc *, const char *);
static void	vmt_entropy_thread(void *);

void
vmt_clock_init(struct vmt_clock *clock)
{

	clock->c_period = VMT_CLOCK_PERIOD;
	clock->c_setting[VMT_SETTING_PERCENT] = VMT_CLOCK_PERCENT;
	clock->c_setting[VMT_SETTING_SLEW] = true;
	clock->c_state = "not synchronised yet";
}

/*
 * The host may be another one now, or the guest an old snapshot: try the best
 * command first again, and compare the clocks at once.
 */
void
vmt_clock_forget(struct vmt_softc *sc)
{

	sc->sc_clock.c_no_lag = false;
	sc->sc_clock.c_started = false;
}

/*
 * Synchronise if it is due.  Returns the next deadline (uptime in ms).
 */
int64_t
vmt_clock_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_clock *clock = &sc->sc_clock;
	const struct vmt_clock_policy policy = vmt_clock_policy(sc);

	if (policy.p_period == 0 && !policy.p_now) {
		vmt_clock_cancel_slew(sc, policy.p_why);
		clock->c_started = false;	/* at once when enabled again */
		return INT64_MAX;
	}
	if (policy.p_now || !clock->c_started ||
	    now >= clock->c_last + (int64_t)policy.p_period * 1000) {
		if (vmt_clock_sync(sc, policy.p_now || !clock->c_looked ?
		    VMT_CLOCK_EITHER : VMT_CLOCK_FORWARD) == EAGAIN)
			return sc->sc_now + 1000;
		clock->c_started = clock->c_looked = true;
		clock->c_last = sc->sc_now;
	}
	if (policy.p_period == 0)
		return INT64_MAX;
	return clock->c_last + (int64_t)policy.p_period * 1000;
}

/* The settings of the administrator and, if they allow it, of the host. */
static struct vmt_clock_policy
vmt_clock_policy(struct vmt_softc *sc)
{
	struct vmt_clock *clock = &sc->sc_clock;
	struct vmt_clock_policy policy = {
		.p_why = "off: the period is 0"
	};
	bool follow;

	mutex_enter(&sc->sc_lock);
	policy.p_period = clock->c_period;
	policy.p_now = clock->c_now && clock->c_period != 0;
	clock->c_now = false;
	follow = clock->c_follow_host;
	mutex_exit(&sc->sc_lock);

	if (policy.p_period == 0 || !follow)
		return policy;
	if (!clock->c_setting[VMT_SETTING_SYNCTIME]) {
		policy.p_period = 0;
		policy.p_why = "off: the host's switch is off";
	} else if (clock->c_setting[VMT_SETTING_PERIOD] == 0)
		policy.p_period = VMT_HOST_PERIOD;
	else
		policy.p_period = MIN(clock->c_setting[VMT_SETTING_PERIOD],
		    VMT_SYSCTL_PERIOD_MAX);
	return policy;
}

/*
 * Compare the clocks and correct the guest's.  Returns ENOTSUP if the host does
 * not report its time, EAGAIN if the system has not set its own yet; 0 also if
 * the administrator has switched synchronisation off.
 */
int
vmt_clock_sync(struct vmt_softc *sc, enum vmt_clock_steps steps)
{
	struct vmt_clock *clock = &sc->sc_clock;
	struct vmt_clock_sample sample;
	int64_t error;
	u_int percent;
	int follow;

	follow = atomic_load_relaxed(&clock->c_follow_host);
	if (atomic_load_relaxed(&clock->c_period) == 0)
		return 0;
	if (vmt_clock_read_guest() < (int64_t)VMT_CLOCK_2010 * VMT_US &&
	    clock->c_unset < VMT_CLOCK_UNSET) {
		clock->c_unset++;
		vmt_clock_set_state(sc,
		    "off: the system has not set its clock");
		return EAGAIN;
	}

	if (!vmt_clock_sample(clock, &sample)) {
		vmt_clock_cancel_slew(sc,
		    "off: the host does not report its time");
		if (!clock->c_complained)
			vmt_log(sc, VMT_LOG_CLOCK_NO_TIME);
		clock->c_complained = true;
		return ENOTSUP;
	}
	clock->c_complained = false;
	mutex_enter(&sc->sc_lock);
	clock->c_offset = sample.s_offset;
	mutex_exit(&sc->sc_lock);

	/* The error that pending interrupts will not correct. */
	error = sample.s_offset - sample.s_lag;
	if (error > sample.s_max ||
	    (steps >= VMT_CLOCK_EITHER && error < -sample.s_max) ||
	    (steps == VMT_CLOCK_BACK && sample.s_offset < 0))
		return vmt_clock_step(sc, sample.s_offset);
	if (error > -VMT_CLOCK_FLOOR && error < VMT_CLOCK_FLOOR)
		vmt_clock_cancel_slew(sc, "in step");
	else if (follow && !clock->c_setting[VMT_SETTING_SLEW])
		vmt_clock_cancel_slew(sc, "off: the host forbids slewing");
	else {
		percent = follow ? clock->c_setting[VMT_SETTING_PERCENT] :
		    VMT_CLOCK_PERCENT;
		vmt_clock_slew(sc, error, percent);
		if (error < -sample.s_max)
			vmt_clock_log_slew(sc, -error, percent);
		else
			clock->c_slew_logged = false;
	}
	return 0;
}

/*
 * This guest may be a copy or a reverted snapshot: another one has the same
 * entropy pool.  But it continues at another time: add that to the pool.  The
 * rest may sleep for more than a second, because
 * entropy_consolidate() waits for a thread that pauses that long after each
 * round.  So a separate thread does it.  Without that thread the pool still
 * has the time.
 */
void
vmt_entropy_stir(struct vmt_softc *sc)
{
	struct {
		struct vmt_host_time host;
		struct timespec	guest;
	} seed;
	bool busy;

	memset(&seed, 0, sizeof(seed));
	(void)vmt_clock_read_host(&sc->sc_clock, &seed.host);
	nanotime(&seed.guest);
	rnd_add_data(NULL, &seed, sizeof(seed), 0);

	mutex_enter(&sc->sc_lock);
	busy = sc->sc_stirring;
	sc->sc_stir = sc->sc_stirring = true;
	mutex_exit(&sc->sc_lock);
	if (busy)
		return;
	vmt_entropy_join(sc);
	if (kthread_create(PRI_NONE,
	    KTHREAD_MPSAFE | KTHREAD_MUSTJOIN | KTHREAD_TS, NULL,
	    vmt_entropy_thread, sc, &sc->sc_stirrer, "%sentropy",
	    device_xname(sc->sc_dev)) != 0) {
		sc->sc_stirrer = NULL;
		mutex_enter(&sc->sc_lock);
		sc->sc_stirring = false;
		mutex_exit(&sc->sc_lock);
	}
}

/*
 * As acpivmgenid(4) does for a copy: the pool counts as empty, sources fill it,
 * and every user of random numbers draws new ones.  A kernel thread gets no
 * signal, so none of these fails.
 */
static void
vmt_entropy_thread(void *arg)
{
	struct vmt_softc *sc = arg;

	mutex_enter(&sc->sc_lock);
	while (sc->sc_stir) {
		sc->sc_stir = false;
		mutex_exit(&sc->sc_lock);
#if __NetBSD_Version__ >= 1099001200	/* NetBSD 10 has neither */
		entropy_reset();
		(void)entropy_gather();
#endif
		(void)entropy_consolidate();	/* void in NetBSD 10 */
		mutex_enter(&sc->sc_lock);
	}
	sc->sc_stirring = false;
	mutex_exit(&sc->sc_lock);
	kthread_exit(0);
}

/* Wait for that thread; a second or two at most. */
void
vmt_entropy_join(struct vmt_softc *sc)
{

	if (sc->sc_stirrer != NULL)
		(void)kthread_join(sc->sc_stirrer);
	sc->sc_stirrer = NULL;
}

/*
 * Read the host's clock, the guest's, and the host's again, until no
 * interruption made that slow; else use the fastest of these readings.
 */
static bool
vmt_clock_sample(struct vmt_clock *clock, struct vmt_clock_sample *best)
{
	struct vmt_host_time after, before;
	int64_t guest, window;
	u_int i;

	memset(best, 0, sizeof(*best));
	best->s_window = INT64_MAX;
	for (i = 0; i < VMT_CLOCK_SAMPLES; i++) {
		if (!vmt_clock_read_host(clock, &before))
			return false;
		guest = vmt_clock_read_guest();
		if (!vmt_clock_read_host(clock, &after))
			return false;
		window = after.h_time - before.h_time;
		if (window < 0 || window >= best->s_window)
			continue;
		best->s_window = window;
		best->s_offset = before.h_time + window / 2 - guest;
		best->s_lag = after.h_lag;
		best->s_max = after.h_max_lag != 0 ?
		    after.h_max_lag : VMT_CLOCK_STEP;
		if (window <= VMT_CLOCK_WINDOW)
			break;
	}
	return best->s_window != INT64_MAX;
}

/*
 * Ask for the host's time.  Not every host reports the lag; the driver does
 * not request it again from one that does not before the next reset.  A time
 * before 1970 is invalid, and so is a second of more than a million
 * microseconds.
 */
static bool
vmt_clock_read_host(struct vmt_clock *clock, struct vmt_host_time *host)
{
	uint64_t seconds = 0;
	uint32_t microseconds = 0;

	host->h_lag = 0;
	if (!clock->c_no_lag && !vmt_get_time_full_with_lag(&seconds,
	    &microseconds, &host->h_max_lag, &host->h_lag))
		clock->c_no_lag = true;
	if (clock->c_no_lag && !vmt_get_time_full(&seconds, &microseconds,
	    &host->h_max_lag)) {
		clock->c_no_lag = false;
		return false;
	}
	if (seconds == 0 || seconds > INT64_MAX / VMT_US - 1 ||
	    microseconds >= VMT_US)
		return false;
	host->h_time = (int64_t)seconds * VMT_US + microseconds;
	return true;
}

static int64_t
vmt_clock_read_guest(void)
{
	struct timespec ts;

	nanotime(&ts);
	return (int64_t)ts.tv_sec * VMT_US + ts.tv_nsec / 1000;
}

/*
 * Set the clock, and cancel a slew in progress. kauth(9) decides whether that
 * is allowed: at a high securelevel(7) no clock can be set back, not by the
 * host either.
 */
static int
vmt_clock_step(struct vmt_softc *sc, int64_t offset)
{
	struct timespec ts;
	int64_t target;
	int error;

	target = vmt_clock_read_guest() + offset;
	ts.tv_sec = target / VMT_US;
	ts.tv_nsec = (long)(target % VMT_US) * 1000;
	error = clock_settime1(NULL, CLOCK_REALTIME, &ts, true);
	if (error != 0) {
		vmt_clock_cancel_slew(sc, "off: the kernel refuses a step");
		return error;
	}
	/* The guest was suspended, or this is a reverted snapshot or a copy. */
	if (offset > 0 && sc->sc_clock.c_looked)
		vmt_entropy_stir(sc);
	sc->sc_clock.c_slewing = true;	/* by adjtime(2), too */
	vmt_clock_cancel_slew(sc, "stepped");
	sc->sc_clock.c_slew_logged = false;
	vmt_stop_catch_up();
	sc->sc_clock.c_steps++;
	vmt_log(sc, VMT_LOG_CLOCK_STEPPED, offset);
	return 0;
}

/* Correct a share of the error until the next comparison. */
static void
vmt_clock_slew(struct vmt_softc *sc, int64_t error, u_int percent)
{
	struct timeval delta;
	int64_t share;

	/* Bounded, so that the product below cannot overflow. */
	share = MAX(error, -(int64_t)INT32_MAX * VMT_US) *
	    (int64_t)percent / 100;
	delta.tv_sec = share / VMT_US;
	delta.tv_usec = share % VMT_US;
	if (delta.tv_usec < 0) {
		delta.tv_sec--;
		delta.tv_usec += VMT_US;
	}
	adjtime1(&delta, NULL, NULL);
	sc->sc_clock.c_slewing = true;
	sc->sc_clock.c_slews++;
	vmt_clock_set_state(sc, error < 0 ? "slewing back" : "slewing forward");
}

/*
 * The clock is so far ahead that it would be stepped if it were behind.  Log
 * once how far and how long it will take.
 */
static void
vmt_clock_log_slew(struct vmt_softc *sc, int64_t ahead, u_int percent)
{
	int64_t slow, seconds;

	vmt_clock_set_state(sc, "slewing back, for long; see clock_sync.now");
	if (sc->sc_clock.c_slew_logged)
		return;
	sc->sc_clock.c_slew_logged = true;
	/* The rest when less than a second of it is slewed at a time. */
	slow = MIN(ahead, (int64_t)VMT_US * 100 / MAX(percent, 1));
	seconds = (ahead - slow) / VMT_SLEW_FAST + slow / VMT_SLEW_SLOW;
	vmt_log(sc, VMT_LOG_CLOCK_AHEAD, (ahead + VMT_US / 2) / VMT_US,
	    howmany(seconds, 60));
}

/* Nothing to correct, or not allowed to: cancel a slew in progress. */
static void
vmt_clock_cancel_slew(struct vmt_softc *sc, const char *state)
{
	const struct timeval none = { .tv_sec = 0, .tv_usec = 0 };

	if (sc->sc_clock.c_slewing)
		adjtime1(&none, NULL, NULL);
	sc->sc_clock.c_slewing = false;
	vmt_clock_set_state(sc, state);
}

/* The driver detaches: leave no correction behind. */
void
vmt_clock_stop(struct vmt_softc *sc)
{

	vmt_clock_cancel_slew(sc, "off: detached");
}

/* One store of a constant text; sysctl(9) reads it without a lock. */
static void
vmt_clock_set_state(struct vmt_softc *sc, const char *state)
{

	atomic_store_relaxed(&sc->sc_clock.c_state, state);
}
