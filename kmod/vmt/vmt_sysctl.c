/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * machdep.vmt0: the administrator's interface; and the counters, which
 * vmstat(1) prints, too.
 *
 * A handler runs in the caller's process with the lock of the whole sysctl
 * tree held.  No handler calls the host: only the worker does.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/errno.h>
#include <sys/evcnt.h>
#include <sys/kauth.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/sysctl.h>
#include <sys/systm.h>

#include "vmtvar.h"

#define	VMT_NUMBER_SIZE	sizeof("2147483647")
#define	VMT_REPLY_HEAD	(VMT_NUMBER_SIZE + 24)	/* number, word, errno */

static int	vmt_request_authorize(bool);
static int	vmt_request_answer(struct lwp *, const char *, size_t, void *,
		    size_t *);
static int	vmt_request_queue(struct vmt_softc *, int,
		    struct vmt_buffer *, size_t);
static void	vmt_request_expire(struct vmt_softc *, int64_t);
static void	vmt_request_send(struct vmt_softc *, struct vmt_request *);

/*
 * Create the tree of vmt_nodes.  On failure vmt_stop() removes the nodes by
 * sc_sysctllog.
 */
int
vmt_sysctl_create(struct vmt_softc *sc)
{
	const struct sysctlnode *above[VMT_NODE_DEPTH + 1];
	const struct vmt_node *n;
	void *data;
	u_int i;
	int error;

	error = sysctl_createv(&sc->sc_sysctllog, 0, NULL, &above[0],
	    0, CTLTYPE_NODE, device_xname(sc->sc_dev),
	    SYSCTL_DESCR(VMT_DESCRIPTION), NULL, 0, NULL, 0,
	    CTL_MACHDEP, CTL_CREATE, CTL_EOL);
	for (n = vmt_nodes; error == 0 && n < vmt_nodes + VMT_NODES; n++) {
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
		if (error != 0 || n != &vmt_nodes[VMT_NODE_COUNTERS])
			continue;
		for (i = 0; error == 0 && i < VMT_COUNTERS; i++) {
			error = sysctl_createv(&sc->sc_sysctllog, 0,
			    &above[n->n_depth + 1], NULL,
			    CTLFLAG_READONLY, CTLTYPE_QUAD,
			    vmt_counters[i].c_name,
			    SYSCTL_DESCR(vmt_counters[i].c_description),
			    NULL, 0, (void *)&sc->sc_counters[i].ev_count, 0,
			    CTL_CREATE, CTL_EOL);
		}
	}
	return error;
}

void
vmt_counters_attach(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_COUNTERS; i++) {
		evcnt_attach_dynamic(&sc->sc_counters[i], EVCNT_TYPE_MISC,
		    NULL, device_xname(sc->sc_dev), vmt_counters[i].c_name);
	}
}

void
vmt_counters_detach(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_COUNTERS; i++)
		evcnt_detach(&sc->sc_counters[i]);
}

/* A number that the administrator sets; it is an int of the softc. */
int
vmt_sysctl_number(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	struct vmt_clock *clock = &sc->sc_clock;
	const struct vmt_node *n = vmt_nodes;
	int error, *numberp, value;

	while (strcmp(n->n_name, rnode->sysctl_name) != 0)
		n++;
	numberp = (void *)((char *)sc + n->n_offset);
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
	if (numberp == &clock->c_now && value != 0 && clock->c_period == 0)
		error = EBUSY;	/* disabled */
	else {
		atomic_store_relaxed(numberp, value); /* read unlocked, too */
		vmt_wake_worker(sc);
	}
	mutex_exit(&sc->sc_lock);
	return error;
}

/* A text, because sysctl(8) prints quads without a sign. */
int
vmt_sysctl_offset(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	char text[VMT_SYSCTL_OFFSET_SIZE];
	int64_t offset;

	mutex_enter(&sc->sc_lock);
	offset = sc->sc_clock.c_offset;
	mutex_exit(&sc->sc_lock);

	(void)snprintf(text, sizeof(text), "%jd", (intmax_t)offset);
	node.sysctl_data = text;
	return sysctl_lookup(SYSCTLFN_CALL(&node));
}

/*
 * The values of Set_Option.  Read without a lock: the worker may be writing
 * one of them, and the others are as they were.
 */
int
vmt_sysctl_host(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	char text[VMT_SYSCTL_HOST_SIZE];
	size_t n;
	u_int i;

	for (n = 0, i = 0; i < VMT_SETTINGS && n < sizeof(text); i++) {
		n += snprintf(text + n, sizeof(text) - n, "%s%s %u",
		    i > 0 ? ", " : "", vmt_settings[i],
		    sc->sc_clock.c_setting[i]);
	}
	node.sysctl_data = text;
	return sysctl_lookup(SYSCTLFN_CALL(&node));
}

int
vmt_sysctl_state(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	char state[VMT_SYSCTL_STATE_SIZE];

	/* One load; the texts are constant. */
	strlcpy(state, atomic_load_relaxed(&sc->sc_clock.c_state),
	    sizeof(state));
	node.sysctl_data = state;
	return sysctl_lookup(SYSCTLFN_CALL(&node));
}

/* A text that can be set. */
int
vmt_sysctl_text(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	const struct vmt_node *n = vmt_nodes;
	char *text, *value;
	int error;

	while (strcmp(n->n_name, rnode->sysctl_name) != 0)
		n++;
	text = (char *)sc + n->n_offset;
	value = kmem_alloc(n->n_size, KM_SLEEP);
	mutex_enter(&sc->sc_lock);
	memcpy(value, text, n->n_size);
	mutex_exit(&sc->sc_lock);

	node.sysctl_data = value;
	error = sysctl_lookup(SYSCTLFN_CALL(&node));
	if (error != 0 || newp == NULL || newlen == 0)
		goto out;
	if (text == sc->sc_choice.c_dns && !vmt_dns_valid(value)) {
		error = EINVAL;
		goto out;
	}

	mutex_enter(&sc->sc_lock);
	/* The bytes after the text are compared, too. */
	memset(text, 0, n->n_size);
	strlcpy(text, value, n->n_size);
	vmt_wake_worker(sc);
	mutex_exit(&sc->sc_lock);
out:
	kmem_free(value, n->n_size);
	return error;
}

/* The event that scripts have to run for, until a script reports the end. */
int
vmt_sysctl_event(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	struct vmt_backup *b = &sc->sc_backup;
	char text[VMT_SYSCTL_EVENT_SIZE];

	mutex_enter(&sc->sc_lock);
	if (b->b_event == VMT_SWITCH_NONE || b->b_answer != 0)
		text[0] = '\0';
	else
		(void)snprintf(text, sizeof(text), "%d %s", b->b_number,
		    b->b_event == VMT_SWITCH_FREEZE ? "freeze" : "thaw");
	mutex_exit(&sc->sc_lock);
	node.sysctl_data = text;
	return sysctl_lookup(SYSCTLFN_CALL(&node));
}

/* The scripts have run. */
int
vmt_sysctl_done(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	struct vmt_backup *b = &sc->sc_backup;
	int error, value = 0;

	node.sysctl_data = &value;
	error = sysctl_lookup(SYSCTLFN_CALL(&node));
	if (error != 0 || newp == NULL || newlen == 0)
		return error;

	mutex_enter(&sc->sc_lock);
	if (b->b_event == VMT_SWITCH_NONE || b->b_answer != 0 ||
	    (value != b->b_number && value != -b->b_number))
		error = EINVAL;
	else {
		b->b_answer = value > 0 ? 1 : -1;
		vmt_wake_worker(sc);
	}
	mutex_exit(&sc->sc_lock);
	return error;
}

/*
 * Commands to the host.  A caller of sysctl(2) holds the lock of the whole
 * tree, so no handler waits: one accepts a command and returns its number, the
 * worker carries the command out, and the other returns the reply of a number.
 * Without a number the other removes no reply: sysctl -a reads every node.
 */
int
vmt_sysctl_request(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	struct vmt_buffer command = { NULL, 0 };
	char text[VMT_NUMBER_SIZE];
	int error, number;

	if (namelen != 0)
		return EINVAL;
	error = vmt_request_authorize(newp != NULL);
	if (error != 0)
		return error;
	if (newp == NULL)
		return vmt_request_answer(l, "", 1, oldp, oldlenp);
	if (newlen == 0 || newlen > VMT_MESSAGE_MAX + 1)
		return EINVAL;
	/* It will hold the reply, at least the text of an empty one. */
	error = vmt_buffer_reserve(&command, MAX(newlen, VMT_REPLY_HEAD));
	if (error != 0)
		return error;
	error = sysctl_copyin(l, newp, command.b_data, newlen);
	if (error != 0)
		goto out;
	/* A string may come without its NUL; another NUL would cut it. */
	if (command.b_data[newlen - 1] == '\0')
		newlen--;
	if (newlen == 0 || newlen > VMT_MESSAGE_MAX ||
	    memchr(command.b_data, '\0', newlen) != NULL) {
		error = EINVAL;
		goto out;
	}

	mutex_enter(&sc->sc_lock);
	number = ++sc->sc_request_number;
	mutex_exit(&sc->sc_lock);
	/* First the number: a caller without it cannot read the reply. */
	(void)snprintf(text, sizeof(text), "%d", number);
	error = vmt_request_answer(l, text, strlen(text) + 1, oldp, oldlenp);
	if (error == 0)
		error = vmt_request_queue(sc, number, &command, newlen);
out:
	vmt_buffer_free(&command);
	return error;
}

/* The number is the component of the name after that of the node. */
int
vmt_sysctl_reply(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	struct vmt_buffer reply = { NULL, 0 };
	struct vmt_request *r;
	char text[VMT_REPLY_HEAD];
	size_t size;
	int error;

	error = vmt_request_authorize(false);
	if (error != 0)
		return error;
	if (newp != NULL)
		return EPERM;
	if (namelen == 0)
		return vmt_request_answer(l, "", 1, oldp, oldlenp);
	if (namelen != 1)
		return EINVAL;

	mutex_enter(&sc->sc_lock);
	if (sc->sc_dying || !sc->sc_running) {
		mutex_exit(&sc->sc_lock);
		return ENXIO;
	}
	vmt_request_expire(sc, vmt_uptime());
	for (r = sc->sc_request; r < sc->sc_request + VMT_REQUESTS; r++) {
		if (r->r_state != VMT_REQUEST_IDLE && r->r_number == name[0])
			break;
	}
	if (r == sc->sc_request + VMT_REQUESTS ||
	    r->r_state != VMT_REQUEST_DONE) {
		(void)snprintf(text, sizeof(text), "%d %s", name[0],
		    r == sc->sc_request + VMT_REQUESTS ?
		    VMT_REPLY_UNKNOWN : VMT_REPLY_PENDING);
		size = strlen(text) + 1;
	} else {
		size = r->r_length;
		/* sysctl(8) repeats the request with more room. */
		if (oldp != NULL && *oldlenp >= size) {
			reply = r->r_buffer;
			memset(r, 0, sizeof(*r));
		}
	}
	mutex_exit(&sc->sc_lock);

	error = vmt_request_answer(l, reply.b_data != NULL ?
	    (const char *)reply.b_data : text, size, oldp, oldlenp);
	vmt_buffer_free(&reply);
	return error;
}

/*
 * May the caller send requests to the host?  The handlers above do not reach
 * sysctl_lookup(9), which would check that.
 */
static int
vmt_request_authorize(bool write)
{

	return kauth_authorize_system(kauth_cred_get(), KAUTH_SYSTEM_SYSCTL,
	    write ? KAUTH_REQ_SYSTEM_SYSCTL_MODIFY :
	    KAUTH_REQ_SYSTEM_SYSCTL_PRVT, NULL, NULL, NULL);
}

/* Copy out a text of size bytes, including its NUL, whole or not at all. */
static int
vmt_request_answer(struct lwp *l, const char *text, size_t size, void *oldp,
    size_t *oldlenp)
{
	const size_t room = *oldlenp;

	*oldlenp = size;
	if (oldp == NULL)
		return 0;
	return room < size ? ENOMEM : sysctl_copyout(l, text, oldp, size);
}

/* Pass a command, with its memory, to the worker. */
static int
vmt_request_queue(struct vmt_softc *sc, int number,
    struct vmt_buffer *command, size_t length)
{
	struct vmt_request *r;
	int error;

	mutex_enter(&sc->sc_lock);
	vmt_request_expire(sc, vmt_uptime());
	for (r = sc->sc_request; r < sc->sc_request + VMT_REQUESTS; r++) {
		if (r->r_state == VMT_REQUEST_IDLE)
			break;
	}
	if (sc->sc_dying || !sc->sc_running)
		error = ENXIO;
	else if (r == sc->sc_request + VMT_REQUESTS)
		error = EBUSY;
	else {
		r->r_state = VMT_REQUEST_QUEUED;
		r->r_number = number;
		r->r_end = vmt_uptime() + VMT_REQUEST_LIFETIME * 1000;
		r->r_length = length;
		r->r_buffer = *command;
		memset(command, 0, sizeof(*command));
		vmt_wake_worker(sc);
		error = 0;
	}
	mutex_exit(&sc->sc_lock);
	return error;
}

/*
 * Drop commands whose reply was not read in time; those that were not sent
 * yet are never sent.  Called with sc_lock held.
 */
static void
vmt_request_expire(struct vmt_softc *sc, int64_t now)
{
	struct vmt_request *r;

	KASSERT(mutex_owned(&sc->sc_lock));

	for (r = sc->sc_request; r < sc->sc_request + VMT_REQUESTS; r++) {
		if (r->r_state == VMT_REQUEST_IDLE ||
		    r->r_state == VMT_REQUEST_ACTIVE || now < r->r_end)
			continue;
		sc->sc_counters[VMT_COUNT_ABANDONED].ev_count++;
		vmt_buffer_free(&r->r_buffer);
		memset(r, 0, sizeof(*r));
	}
}

/*
 * The worker's side: carry out the oldest command.  Returns when there may be
 * something to do again (uptime in ms).
 */
int64_t
vmt_request_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_request *oldest = NULL, *r;
	int64_t next = INT64_MAX;

	mutex_enter(&sc->sc_lock);
	vmt_request_expire(sc, now);
	for (r = sc->sc_request; r < sc->sc_request + VMT_REQUESTS; r++) {
		if (r->r_state == VMT_REQUEST_IDLE)
			continue;
		next = MIN(next, r->r_end);
		if (r->r_state == VMT_REQUEST_QUEUED &&
		    (oldest == NULL || r->r_number < oldest->r_number))
			oldest = r;
	}
	if (oldest != NULL)
		oldest->r_state = VMT_REQUEST_ACTIVE;
	mutex_exit(&sc->sc_lock);
	if (oldest == NULL)
		return next;

	vmt_request_send(sc, oldest);
	return now;
}

static void
vmt_request_send(struct vmt_softc *sc, struct vmt_request *r)
{
	size_t length, size;
	char *text;
	int error;

	/* An active one is the worker's alone. */
	error = vmt_buffer_reserve(&sc->sc_command, r->r_length);
	if (error == 0) {
		memcpy(sc->sc_command.b_data, r->r_buffer.b_data, r->r_length);
		error = vmt_rpc_call(sc, r->r_length, &length);
	}
	if (error == 0) {
		error = vmt_buffer_reserve(&r->r_buffer,
		    VMT_REPLY_HEAD + length + 1);
	}
	text = (char *)r->r_buffer.b_data;
	if (error == 0) {
		size = snprintf(text, VMT_REPLY_HEAD, "%d %s ", r->r_number,
		    memchr(sc->sc_reply.b_data, '\0', length) == NULL ?
		    VMT_REPLY_OK : VMT_REPLY_BINARY);
		memcpy(text + size, sc->sc_reply.b_data, length + 1);
		size += length + 1;
	} else {
		size = snprintf(text, VMT_REPLY_HEAD, "%d %s %d", r->r_number,
		    VMT_REPLY_ERROR, error) + 1;
	}

	mutex_enter(&sc->sc_lock);
	r->r_length = size;
	r->r_state = VMT_REQUEST_DONE;
	mutex_exit(&sc->sc_lock);
}

void
vmt_request_free(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_REQUESTS; i++)
		vmt_buffer_free(&sc->sc_request[i].r_buffer);
}
