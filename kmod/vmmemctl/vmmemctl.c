/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * vmmemctl(4): VMware's memory balloon.
 *
 * A host that is short of memory requests pages from its guests.  This driver
 * allocates them, so that nothing else in the guest uses them, and reports
 * them to the host, which then need not keep their contents.
 *
 * In each poll the worker reads the target and moves towards it.  It starts
 * slowly, and does so again after a refusal of the host or a shortage of the
 * guest.  It never takes memory that would leave less free than the
 * administrator's floor and the pagedaemon's target, and it frees pages when
 * other uses of memory leave less.
 *
 *	vmmemctl.c		attach and detach, the worker, sysctl
 *	vmmemctl_x86.c		the trap and CPUID
 *	vmmemctl_module.c	module(9)
 *	vmmemctlreg.h		generated: the numbers of the protocol
 *	vmmemctl_tables.c	generated: texts, counters, nodes
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/pmf.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/stdarg.h>
#include <sys/syslog.h>
#include <sys/systm.h>
#include <sys/time.h>

#include "vmmemctlvar.h"

#define	VMMEMCTL_LOG_PAUSE	60	/* s between two lines of one text */
#define	VMMEMCTL_SHUTDOWN_MS	2000	/* a shutdown waits for the worker */

/* The number of a page fits a register.  On i386 without PAE: all pages. */
#define	VMMEMCTL_HIGH		((paddr_t)UINT32_MAX << PAGE_SHIFT)

static int	vmmemctl_start(struct vmmemctl_softc *, const char **);
static void	vmmemctl_stop(struct vmmemctl_softc *);
static bool	vmmemctl_shutdown(device_t, int);
static void	vmmemctl_worker(void *);
static bool	vmmemctl_is_dying(struct vmmemctl_softc *);
static void	vmmemctl_poll(struct vmmemctl_softc *);
static bool	vmmemctl_begin(struct vmmemctl_softc *);
static void	vmmemctl_inflate(struct vmmemctl_softc *, uint64_t);
static void	vmmemctl_deflate(struct vmmemctl_softc *, uint64_t);
static bool	vmmemctl_give(struct vmmemctl_softc *, struct pglist *, u_int);
static u_int	vmmemctl_take(struct vmmemctl_softc *, struct pglist *,
		    uint64_t);
static uint32_t	vmmemctl_pass(struct vmmemctl_softc *, struct pglist *,
		    struct pglist *, bool, u_int *);
static int64_t	vmmemctl_spare(struct vmmemctl_softc *);
static void	vmmemctl_short(struct vmmemctl_softc *);
static void	vmmemctl_slow_down(struct vmmemctl_softc *);
static void	vmmemctl_release(struct vmmemctl_softc *);
static void	vmmemctl_resize(struct vmmemctl_softc *, int64_t);
static void	vmmemctl_count(struct vmmemctl_softc *, enum vmmemctl_count,
		    u_int);
static bool	vmmemctl_is_refusal(uint32_t);
static bool	vmmemctl_failed(struct vmmemctl_softc *, uint32_t);
static bool	vmmemctl_set_state(struct vmmemctl_softc *, const char *);
static void	vmmemctl_log(struct vmmemctl_softc *, enum vmmemctl_log, ...);
static uint32_t	vmmemctl_call(struct vmmemctl_softc *, uint32_t, uint32_t,
		    uint32_t, uint32_t *);
static const struct vmmemctl_node *
		vmmemctl_node(const struct sysctlnode *);
static int	vmmemctl_sysctl_counter(SYSCTLFN_PROTO);
static int	vmmemctl_sysctl_quad(struct vmmemctl_softc *, const uint64_t *,
		    SYSCTLFN_PROTO);

/* Does the host answer the port?  This also announces the driver. */
bool
vmmemctl_probe(void)
{
	uint32_t status;

	status = vmmemctl_call(NULL, VMMEMCTL_COMMAND_START,
	    VMMEMCTL_CAN_BASIC, 0, NULL);
	return status == VMMEMCTL_STATUS_SUCCESS ||
	    status == VMMEMCTL_STATUS_SUCCESS_CAPABILITIES;
}

void
vmmemctl_attach(device_t parent, device_t self, void *aux)
{
	struct vmmemctl_softc *sc = device_private(self);
	const char *step;
	int error;

	aprint_naive("\n");
	aprint_normal(": %s\n", VMMEMCTL_DESCRIPTION);

	sc->sc_dev = self;
	error = vmmemctl_start(sc, &step);
	if (error != 0) {
		aprint_error_dev(self, "not started: cannot %s (error %d)\n",
		    step, error);
		vmmemctl_stop(sc);
	}
}

/*
 * Start the balloon.  If a step fails, *stepp is its name, and vmmemctl_stop()
 * undoes the others.
 */
static int
vmmemctl_start(struct vmmemctl_softc *sc, const char **stepp)
{
	u_int i;
	int error;

	mutex_init(&sc->sc_lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&sc->sc_work, "balloon");
	TAILQ_INIT(&sc->sc_pages);
	sc->sc_floor = VMMEMCTL_FLOOR;
	sc->sc_rate = VMMEMCTL_SLOW;
	sc->sc_state = "starting";
	for (i = 0; i < VMMEMCTL_COUNTERS; i++) {
		evcnt_attach_dynamic(&sc->sc_counters[i], EVCNT_TYPE_MISC,
		    NULL, device_xname(sc->sc_dev),
		    vmmemctl_counters[i].c_name);
	}
	sc->sc_have_locks = true;

	/* kmem(9) aligns a whole page to a page. */
	*stepp = "allocate the page of batches";
	sc->sc_batch = kmem_zalloc(PAGE_SIZE, KM_SLEEP);
	if (!pmap_extract(pmap_kernel(), (vaddr_t)sc->sc_batch,
	    &sc->sc_batch_at))
		return EFAULT;

	*stepp = "register the shutdown hook";
	sc->sc_have_pmf = pmf_device_register1(sc->sc_dev, NULL, NULL,
	    vmmemctl_shutdown);
	if (!sc->sc_have_pmf)
		return ENXIO;

	*stepp = "create the worker thread";
	sc->sc_running = true;
	error = kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN,
	    NULL, vmmemctl_worker, sc, &sc->sc_thread, "%s",
	    device_xname(sc->sc_dev));
	if (error != 0) {
		sc->sc_running = false;
		sc->sc_thread = NULL;
		return error;
	}

	*stepp = "create the sysctl nodes";
	return vmmemctl_sysctl_create(sc);
}

/* Stop the balloon, as far as it was started.  Safe to call twice. */
static void
vmmemctl_stop(struct vmmemctl_softc *sc)
{
	u_int i;

	if (!sc->sc_have_locks)
		return;
	mutex_enter(&sc->sc_lock);
	sc->sc_dying = true;
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
	if (sc->sc_batch != NULL)
		kmem_free(sc->sc_batch, PAGE_SIZE);
	sc->sc_batch = NULL;
	for (i = 0; i < VMMEMCTL_COUNTERS; i++)
		evcnt_detach(&sc->sc_counters[i]);
	cv_destroy(&sc->sc_work);
	mutex_destroy(&sc->sc_lock);
	sc->sc_have_locks = false;
}

int
vmmemctl_detach(device_t self, int flags)
{

	vmmemctl_stop(device_private(self));
	return 0;
}

/*
 * The system shuts down: the host has to forget its pages before another
 * system runs here.  The worker does that.  After a panic the kernel calls
 * this, too (x86's cpu_reboot), and a thread that holds the lock may not run
 * again: then this thread does it, without the lock.
 */
static bool
vmmemctl_shutdown(device_t self, int how)
{
	struct vmmemctl_softc *sc = device_private(self);
	bool running;
	int ticks;

	if (panicstr != NULL) {
		sc->sc_dying = true;
		(void)vmmemctl_call(NULL, VMMEMCTL_COMMAND_START, 0, 0, NULL);
		return true;
	}

	mutex_enter(&sc->sc_lock);
	sc->sc_dying = true;
	cv_broadcast(&sc->sc_work);
	for (ticks = mstohz(VMMEMCTL_SHUTDOWN_MS);
	    sc->sc_running && ticks > 0; ticks--)
		(void)cv_timedwait(&sc->sc_work, &sc->sc_lock, 1);
	running = sc->sc_running;
	mutex_exit(&sc->sc_lock);
	if (running)
		(void)vmmemctl_call(NULL, VMMEMCTL_COMMAND_START, 0, 0, NULL);
	return true;
}

static void
vmmemctl_worker(void *arg)
{
	struct vmmemctl_softc *sc = arg;

	mutex_enter(&sc->sc_lock);
	while (!sc->sc_dying) {
		mutex_exit(&sc->sc_lock);
		vmmemctl_poll(sc);
		mutex_enter(&sc->sc_lock);
		if (!sc->sc_dying)
			(void)cv_timedwait(&sc->sc_work, &sc->sc_lock,
			    MAX(mstohz(VMMEMCTL_POLL), 1));
	}
	mutex_exit(&sc->sc_lock);

	vmmemctl_release(sc);

	mutex_enter(&sc->sc_lock);
	sc->sc_running = false;
	cv_broadcast(&sc->sc_work);
	mutex_exit(&sc->sc_lock);
	kthread_exit(0);
}

static bool
vmmemctl_is_dying(struct vmmemctl_softc *sc)
{
	bool dying;

	mutex_enter(&sc->sc_lock);
	dying = sc->sc_dying;
	mutex_exit(&sc->sc_lock);
	return dying;
}

/* Read the target, and move towards it. */
static void
vmmemctl_poll(struct vmmemctl_softc *sc)
{
	uint32_t status, target;
	uint64_t excess, lacking;
	int64_t spare;

	if (!sc->sc_started && !vmmemctl_begin(sc))
		return;
	vmmemctl_count(sc, VMMEMCTL_COUNT_POLLS, 1);
	status = vmmemctl_call(sc, VMMEMCTL_COMMAND_GET_TARGET,
	    (uint32_t)uvmexp.npages, 0, &target);
	if (vmmemctl_failed(sc, status))
		return;
	mutex_enter(&sc->sc_lock);
	sc->sc_target = target;
	mutex_exit(&sc->sc_lock);
	spare = vmmemctl_spare(sc);
	lacking = spare < 0 ? MIN((uint64_t)-spare, sc->sc_size) : 0;
	excess = sc->sc_size > target ? sc->sc_size - target : 0;
	if (lacking > 0)
		vmmemctl_short(sc);
	else if (excess > 0)
		(void)vmmemctl_set_state(sc, "deflating");
	if (lacking > 0 || excess > 0)
		vmmemctl_deflate(sc, MAX(lacking, excess));
	else if (sc->sc_rest > 0)
		sc->sc_rest--;
	else if (sc->sc_size < target)
		vmmemctl_inflate(sc, target - sc->sc_size);
	else
		(void)vmmemctl_set_state(sc, "idle");
}

/* Agree with the host on the capabilities. */
static bool
vmmemctl_begin(struct vmmemctl_softc *sc)
{
	uint32_t status, capabilities;

	capabilities = VMMEMCTL_CAN_BASIC | VMMEMCTL_CAN_BATCHED;
	sc->sc_can = VMMEMCTL_CAN_BASIC;
	status = vmmemctl_call(sc, VMMEMCTL_COMMAND_START, capabilities,
	    0, NULL);
	if (status != VMMEMCTL_STATUS_SUCCESS_CAPABILITIES &&
	    vmmemctl_failed(sc, status))
		return false;
	status = vmmemctl_call(sc, VMMEMCTL_COMMAND_GUEST_ID, VMMEMCTL_GUEST,
	    0, NULL);
	if (vmmemctl_failed(sc, status))
		return false;
	sc->sc_started = true;
	sc->sc_rate = VMMEMCTL_SLOW;
	sc->sc_rest = 0;
	vmmemctl_log(sc, VMMEMCTL_LOG_STARTED,
	    (sc->sc_can & VMMEMCTL_CAN_BATCHED) != 0 ? "batches" :
	    "single pages");
	return true;
}

/* Give the host this many pages, or as many as can be spared. */
static void
vmmemctl_inflate(struct vmmemctl_softc *sc, uint64_t missing)
{
	struct pglist list;
	uint64_t number;
	int64_t free, spare;
	u_int chunk;

	/*
	 * Below freemin the allocation wakes the pagedaemon, which turns pages
	 * of files into free ones.  Leave half of freemin to others.
	 */
	free = MAX(uvm_availmem(false) - uvmexp.freemin / 2, 0);
	spare = MAX(vmmemctl_spare(sc), 0);
	missing = MIN(missing, sc->sc_rate);
	number = MIN(missing, (uint64_t)MIN(free, spare));
	if (number == 0 || (uint64_t)spare < missing)
		vmmemctl_short(sc);
	else
		(void)vmmemctl_set_state(sc, "inflating");
	while (number > 0 && !vmmemctl_is_dying(sc)) {
		chunk = (u_int)MIN(number, VMMEMCTL_BATCH);
		if (uvm_pglistalloc((psize_t)chunk * PAGE_SIZE, 0,
		    VMMEMCTL_HIGH, PAGE_SIZE, 0, &list, (int)chunk, 0) != 0) {
			vmmemctl_short(sc);
			return;
		}
		if (!vmmemctl_give(sc, &list, chunk))
			return;
		number -= chunk;
	}
	if (sc->sc_rest == 0)
		sc->sc_rate = MIN(sc->sc_rate * 2, VMMEMCTL_FAST);
}

/* Give the pages of a list; those that the host refuses are freed. */
static bool
vmmemctl_give(struct vmmemctl_softc *sc, struct pglist *list, u_int number)
{
	struct pglist left;
	uint32_t status;
	u_int done;

	TAILQ_INIT(&left);
	status = vmmemctl_pass(sc, list, &left, true, &done);
	uvm_pglistfree(&left);
	vmmemctl_count(sc, VMMEMCTL_COUNT_INFLATED, done);
	if (status == VMMEMCTL_STATUS_SUCCESS)
		return true;
	if (!vmmemctl_is_refusal(status)) {
		(void)vmmemctl_failed(sc, status);
		return false;
	}
	/* The target has fallen since. */
	if (status == VMMEMCTL_STATUS_NOT_NEEDED)
		return false;
	vmmemctl_count(sc, VMMEMCTL_COUNT_REFUSED, number - done);
	if (vmmemctl_set_state(sc, "the host refuses pages"))
		vmmemctl_log(sc, VMMEMCTL_LOG_REFUSED, number - done, status);
	vmmemctl_slow_down(sc);
	return false;
}

/*
 * Take this many pages back, at most sc_size, as fast as the host returns
 * them.
 */
static void
vmmemctl_deflate(struct vmmemctl_softc *sc, uint64_t number)
{
	struct pglist list, left;
	uint32_t status;
	u_int chunk, done;

	while (number > 0 && !vmmemctl_is_dying(sc)) {
		TAILQ_INIT(&left);
		chunk = vmmemctl_take(sc, &list, number);
		status = vmmemctl_pass(sc, &list, &left, false, &done);
		uvm_pglistfree(&left);
		vmmemctl_count(sc, VMMEMCTL_COUNT_DEFLATED, done);
		if (status != VMMEMCTL_STATUS_SUCCESS) {
			if (!vmmemctl_is_refusal(status))
				(void)vmmemctl_failed(sc, status);
			return;
		}
		number -= chunk;
		preempt_point();
	}
}

/* Move this many pages, at most a batch, from sc_pages to an empty list. */
static u_int
vmmemctl_take(struct vmmemctl_softc *sc, struct pglist *list, uint64_t number)
{
	struct vm_page *page;
	u_int chunk;

	TAILQ_INIT(list);
	for (chunk = 0; chunk < MIN(number, VMMEMCTL_BATCH); chunk++) {
		page = TAILQ_FIRST(&sc->sc_pages);
		TAILQ_REMOVE(&sc->sc_pages, page, pageq.queue);
		TAILQ_INSERT_TAIL(list, page, pageq.queue);
	}
	return chunk;
}

/*
 * Offer the pages of a list, at most a batch, to the host, or ask for them.
 * Those that the host has are on sc_pages then, the others on the list left.
 * Returns the first status that is no success, and how many pages moved.
 */
static uint32_t
vmmemctl_pass(struct vmmemctl_softc *sc, struct pglist *list,
    struct pglist *left, bool lock, u_int *donep)
{
	struct vm_page *page;
	uint64_t frame;
	uint32_t call, first, status;
	u_int i;
	const bool batched = (sc->sc_can & VMMEMCTL_CAN_BATCHED) != 0;

	call = VMMEMCTL_STATUS_SUCCESS;
	if (batched) {
		i = 0;
		TAILQ_FOREACH(page, list, pageq.queue) {
			frame = VM_PAGE_TO_PHYS(page) >> PAGE_SHIFT;
			sc->sc_batch[i++] = frame << VMMEMCTL_BATCH_SHIFT;
		}
		call = vmmemctl_call(sc, lock ? VMMEMCTL_COMMAND_BATCHED_LOCK :
		    VMMEMCTL_COMMAND_BATCHED_UNLOCK,
		    (uint32_t)(sc->sc_batch_at >> PAGE_SHIFT), i, NULL);
	}
	first = call;
	*donep = 0;
	for (i = 0; (page = TAILQ_FIRST(list)) != NULL; i++) {
		TAILQ_REMOVE(list, page, pageq.queue);
		if (call != VMMEMCTL_STATUS_SUCCESS)
			status = call;	/* of this and of all that follow */
		else if (batched)
			status = sc->sc_batch[i] & VMMEMCTL_BATCH_STATUS;
		else {
			status = vmmemctl_call(sc, lock ?
			    VMMEMCTL_COMMAND_LOCK : VMMEMCTL_COMMAND_UNLOCK,
			    (uint32_t)(VM_PAGE_TO_PHYS(page) >> PAGE_SHIFT),
			    0, NULL);
			if (!vmmemctl_is_refusal(status) ||
			    status == VMMEMCTL_STATUS_NOT_NEEDED)
				call = status;
		}
		if (status == VMMEMCTL_STATUS_SUCCESS)
			(*donep)++;
		else if (first == VMMEMCTL_STATUS_SUCCESS)
			first = status;
		if ((status == VMMEMCTL_STATUS_SUCCESS) == lock)
			TAILQ_INSERT_TAIL(&sc->sc_pages, page, pageq.queue);
		else
			TAILQ_INSERT_TAIL(left, page, pageq.queue);
	}
	vmmemctl_resize(sc, lock ? (int64_t)*donep : -(int64_t)*donep);
	return first;
}

/*
 * The number of pages that can be spared; if negative, that many are lacking.
 *
 * Half of the pages of files count as free: the pagedaemon can take the clean
 * ones, but for a tenth of all memory (vm.filemin).
 */
static int64_t
vmmemctl_spare(struct vmmemctl_softc *sc)
{
	int64_t kept;

	mutex_enter(&sc->sc_lock);
	kept = (int64_t)sc->sc_floor << (20 - PAGE_SHIFT);
	mutex_exit(&sc->sc_lock);
	kept = MAX(kept, uvmexp.freetarg);
	uvm_update_uvmexp();
	return uvm_availmem(false) + (int64_t)uvmexp.filepages / 2 - kept;
}

/* The guest cannot spare the pages of the target. */
static void
vmmemctl_short(struct vmmemctl_softc *sc)
{

	vmmemctl_count(sc, VMMEMCTL_COUNT_SHORTAGES, 1);
	if (vmmemctl_set_state(sc, "memory is short"))
		vmmemctl_log(sc, VMMEMCTL_LOG_SHORT, sc->sc_size,
		    sc->sc_target);
	vmmemctl_slow_down(sc);
}

/* After an error: try again later, and with few pages. */
static void
vmmemctl_slow_down(struct vmmemctl_softc *sc)
{

	sc->sc_rate = VMMEMCTL_SLOW;
	sc->sc_rest = VMMEMCTL_BACK_OFF;
}

/*
 * Free all pages.  Before that the host has to forget them: a start without
 * capabilities, after which it gives and takes nothing, does that.
 */
static void
vmmemctl_release(struct vmmemctl_softc *sc)
{
	struct pglist list;
	u_int chunk;

	(void)vmmemctl_call(sc, VMMEMCTL_COMMAND_START, 0, 0, NULL);
	sc->sc_started = false;
	/* There can be millions: other threads run in between. */
	while (sc->sc_size > 0) {
		chunk = vmmemctl_take(sc, &list, sc->sc_size);
		uvm_pglistfree(&list);
		vmmemctl_resize(sc, -(int64_t)chunk);
		preempt_point();
	}
}

static void
vmmemctl_resize(struct vmmemctl_softc *sc, int64_t by)
{

	mutex_enter(&sc->sc_lock);
	sc->sc_size += by;
	mutex_exit(&sc->sc_lock);
}

static void
vmmemctl_count(struct vmmemctl_softc *sc, enum vmmemctl_count which, u_int by)
{

	mutex_enter(&sc->sc_lock);
	sc->sc_counters[which].ev_count += by;
	mutex_exit(&sc->sc_lock);
}

/* Is a status about a page, and not about the balloon? */
static bool
vmmemctl_is_refusal(uint32_t status)
{

	switch (status) {
	case VMMEMCTL_STATUS_PAGE_INVALID:
	case VMMEMCTL_STATUS_PAGE_LOCKED:
	case VMMEMCTL_STATUS_PAGE_UNLOCKED:
	case VMMEMCTL_STATUS_PAGE_PINNED:
	case VMMEMCTL_STATUS_NOT_NEEDED:
		return true;
	default:
		return false;
	}
}

/*
 * Did a call fail?  Then this poll is over.  Unless the host is only busy, the
 * next poll restarts the balloon, without a page.
 */
static bool
vmmemctl_failed(struct vmmemctl_softc *sc, uint32_t status)
{

	switch (status) {
	case VMMEMCTL_STATUS_SUCCESS:
		return false;
	case VMMEMCTL_STATUS_BUSY:
		vmmemctl_count(sc, VMMEMCTL_COUNT_BUSY, 1);
		(void)vmmemctl_set_state(sc, "the host is busy");
		vmmemctl_slow_down(sc);
		return true;
	case VMMEMCTL_STATUS_RESET:
		vmmemctl_count(sc, VMMEMCTL_COUNT_RESETS, 1);
		if (vmmemctl_set_state(sc, "starting"))
			vmmemctl_log(sc, VMMEMCTL_LOG_RESET, sc->sc_size);
		break;
	default:
		if (vmmemctl_set_state(sc, "the host does not answer"))
			vmmemctl_log(sc, VMMEMCTL_LOG_LOST, status);
		break;
	}
	vmmemctl_release(sc);
	return true;
}

/* Returns whether the state is a new one. */
static bool
vmmemctl_set_state(struct vmmemctl_softc *sc, const char *state)
{
	bool new;

	mutex_enter(&sc->sc_lock);
	new = strcmp(sc->sc_state, state) != 0;
	sc->sc_state = state;
	mutex_exit(&sc->sc_lock);
	return new;
}

/* Log one of the texts, with the arguments that its format takes. */
static void
vmmemctl_log(struct vmmemctl_softc *sc, enum vmmemctl_log which, ...)
{
	static const struct timeval pause = { VMMEMCTL_LOG_PAUSE, 0 };
	static struct timeval last[VMMEMCTL_LOGS];
	const struct vmmemctl_text *text = &vmmemctl_texts[which];
	char line[128];
	va_list ap;

	if (!ratecheck(&last[which], &pause))
		return;
	va_start(ap, which);
	(void)vsnprintf(line, sizeof(line), text->t_format, ap);
	va_end(ap);
	if (text->t_console)
		device_printf(sc->sc_dev, "%s\n", line);
	else
		log(text->t_level, "%s: %s\n", device_xname(sc->sc_dev), line);
}

/* Call the host.  Capabilities go to sc_can, the target to *targetp. */
static uint32_t
vmmemctl_call(struct vmmemctl_softc *sc, uint32_t command, uint32_t first,
    uint32_t second, uint32_t *targetp)
{
	struct vmmemctl_frame f = {
		.ax = VMMEMCTL_MAGIC,
		.bx = first,
		.cx = command,
		.dx = VMMEMCTL_PORT,
		.si = second
	};

	vmmemctl_trap(&f);
	if (sc != NULL && f.ax == VMMEMCTL_STATUS_SUCCESS_CAPABILITIES)
		sc->sc_can = f.cx;
	if (targetp != NULL)
		*targetp = f.bx;
	return f.ax;
}

/* Create the tree of vmmemctl_nodes, and the counters in it. */
int
vmmemctl_sysctl_create(struct vmmemctl_softc *sc)
{
	const struct sysctlnode *above[VMMEMCTL_NODE_DEPTH + 1];
	const struct vmmemctl_node *n;
	void *data;
	u_int i;
	int error;

	error = sysctl_createv(&sc->sc_sysctllog, 0, NULL, &above[0],
	    0, CTLTYPE_NODE, device_xname(sc->sc_dev),
	    SYSCTL_DESCR(VMMEMCTL_DESCRIPTION), NULL, 0, NULL, 0,
	    CTL_MACHDEP, CTL_CREATE, CTL_EOL);
	for (n = vmmemctl_nodes;
	    error == 0 && n < vmmemctl_nodes + VMMEMCTL_NODES; n++) {
		if (n->n_handler != NULL)
			data = sc;
		else if (n->n_type != CTLTYPE_NODE)
			data = (char *)sc + n->n_offset;
		else
			data = NULL;
		/* In parentheses: the macro of that name needs a constant. */
		error = (sysctl_createv)(&sc->sc_sysctllog, 0,
		    &above[n->n_depth], &above[n->n_depth + 1],
		    n->n_flags, n->n_type, n->n_name,
		    SYSCTL_DESCR(n->n_description), n->n_handler, 0, data,
		    n->n_size, CTL_CREATE, CTL_EOL);
		for (i = 0; error == 0 && n->n_counters &&
		    i < VMMEMCTL_COUNTERS; i++) {
			error = sysctl_createv(&sc->sc_sysctllog, 0,
			    &above[n->n_depth + 1], NULL,
			    CTLFLAG_READONLY, CTLTYPE_QUAD,
			    vmmemctl_counters[i].c_name,
			    SYSCTL_DESCR(vmmemctl_counters[i].c_description),
			    vmmemctl_sysctl_counter, 0, (void *)sc, 0,
			    CTL_CREATE, CTL_EOL);
		}
	}
	return error;
}

/* Return the row of vmmemctl_nodes that describes a node. */
static const struct vmmemctl_node *
vmmemctl_node(const struct sysctlnode *node)
{
	const struct vmmemctl_node *n = vmmemctl_nodes;

	while (strcmp(n->n_name, node->sysctl_name) != 0)
		n++;
	return n;
}

/* A number that the administrator sets. */
int
vmmemctl_sysctl_number(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmmemctl_softc *sc = node.sysctl_data;
	const struct vmmemctl_node *n = vmmemctl_node(rnode);
	int *numberp = (void *)((char *)sc + n->n_offset);
	int error, value;

	mutex_enter(&sc->sc_lock);
	value = *numberp;
	mutex_exit(&sc->sc_lock);
	node.sysctl_data = &value;
	error = sysctl_lookup(SYSCTLFN_CALL(&node));
	/* Without bytes sysctl_lookup(9) only reads, without kauth(9). */
	if (error != 0 || newp == NULL || newlen == 0)
		return error;
	if (value < n->n_min || value > n->n_max)
		return EINVAL;
	mutex_enter(&sc->sc_lock);
	*numberp = value;
	mutex_exit(&sc->sc_lock);
	return 0;
}

/* A number of pages. */
int
vmmemctl_sysctl_pages(SYSCTLFN_ARGS)
{
	struct vmmemctl_softc *sc = rnode->sysctl_data;

	return vmmemctl_sysctl_quad(sc,
	    (void *)((char *)sc + vmmemctl_node(rnode)->n_offset),
	    SYSCTLFN_CALL(rnode));
}

/* A counter. */
static int
vmmemctl_sysctl_counter(SYSCTLFN_ARGS)
{
	struct vmmemctl_softc *sc = rnode->sysctl_data;
	u_int i = 0;

	while (strcmp(vmmemctl_counters[i].c_name, rnode->sysctl_name) != 0)
		i++;
	return vmmemctl_sysctl_quad(sc, &sc->sc_counters[i].ev_count,
	    SYSCTLFN_CALL(rnode));
}

/* On i386 64 bits take two loads: not without the lock. */
static int
vmmemctl_sysctl_quad(struct vmmemctl_softc *sc, const uint64_t *numberp,
    SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	uint64_t value;

	mutex_enter(&sc->sc_lock);
	value = *numberp;
	mutex_exit(&sc->sc_lock);
	node.sysctl_data = &value;
	return sysctl_lookup(SYSCTLFN_CALL(&node));
}

/* What the balloon does. */
int
vmmemctl_sysctl_state(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmmemctl_softc *sc = node.sysctl_data;
	char state[VMMEMCTL_STATE_SIZE];

	mutex_enter(&sc->sc_lock);
	(void)strlcpy(state, sc->sc_state, sizeof(state));
	mutex_exit(&sc->sc_lock);
	node.sysctl_data = state;
	return sysctl_lookup(SYSCTLFN_CALL(&node));
}
