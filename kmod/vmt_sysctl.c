/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * machdep.vmt0: what the administrator sees and sets; and the counters, which
 * vmstat(1) prints, too.
 *
 * A handler runs in the caller's process with the lock of the whole sysctl
 * tree held.  No handler talks to the host: that is the worker's.
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

static int	vmt_request_send(struct vmt_softc *, const char *, size_t,
		    char *, size_t *);

/*
 * Create the tree of vmt_nodes.  On failure vmt_stop() removes what is there
 * by sc_sysctllog.
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
	/* Without bytes sysctl_lookup(9) only reads, and asks nobody. */
	if (error != 0 || newp == NULL || newlen == 0)
		return error;
	if (value < n->n_min || value > n->n_max)
		return EINVAL;

	mutex_enter(&sc->sc_lock);
	if (numberp == &clock->c_now && value != 0 && clock->c_period == 0)
		error = EBUSY;	/* switched off */
	else {
		*numberp = value;
		vmt_wake_worker(sc);
	}
	mutex_exit(&sc->sc_lock);
	return error;
}

/* A text, for sysctl(8) prints quads without a sign. */
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
 * What Set_Option set.  Read without a lock: the worker may be writing one of
 * them, and the others are as they were.
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
	char *text, value[VMT_SYSCTL_EXCLUDE_SIZE];
	int error;

	while (strcmp(n->n_name, rnode->sysctl_name) != 0)
		n++;
	text = (char *)sc + n->n_offset;
	KASSERT(n->n_size <= sizeof(value));
	mutex_enter(&sc->sc_lock);
	memcpy(value, text, n->n_size);
	mutex_exit(&sc->sc_lock);

	node.sysctl_data = value;
	error = sysctl_lookup(SYSCTLFN_CALL(&node));
	if (error != 0 || newp == NULL || newlen == 0)
		return error;

	mutex_enter(&sc->sc_lock);
	/* What is behind the text counts when it is compared. */
	memset(text, 0, n->n_size);
	strlcpy(text, value, n->n_size);
	vmt_wake_worker(sc);
	mutex_exit(&sc->sc_lock);
	return 0;
}

/*
 * Write an RPCI command and read its reply in the same call.  It does not
 * reach sysctl_lookup(9), which would ask who the caller is, and so asks
 * itself.
 */
int
vmt_sysctl_rpc(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	struct vmt_softc *sc = node.sysctl_data;
	char *command, *reply;
	size_t size;
	int error;

	if (namelen != 0)
		return EINVAL;
	error = kauth_authorize_system(kauth_cred_get(), KAUTH_SYSTEM_SYSCTL,
	    newp != NULL ? KAUTH_REQ_SYSTEM_SYSCTL_MODIFY :
	    KAUTH_REQ_SYSTEM_SYSCTL_PRVT, NULL, NULL, NULL);
	if (error != 0)
		return error;

	if (newp == NULL) {
		if (oldp == NULL) {
			*oldlenp = VMT_REPLY_MAX;
			return 0;
		}
		if (*oldlenp < 1) {
			*oldlenp = 1;
			return ENOMEM;
		}
		error = sysctl_copyout(l, "", oldp, 1);
		*oldlenp = 1;
		return error;
	}
	if (newlen == 0 || newlen > VMT_REQUEST_MAX)
		return EINVAL;

	command = kmem_zalloc(newlen + 1, KM_SLEEP);
	reply = kmem_alloc(VMT_REPLY_MAX, KM_SLEEP);
	error = sysctl_copyin(l, newp, command, newlen);
	if (error == 0 && command[0] == '\0')
		error = EINVAL;
	if (error == 0)
		error = vmt_request_send(sc, command, strlen(command), reply,
		    &size);
	if (error == 0 && oldp != NULL)
		error = sysctl_copyout(l, reply, oldp, MIN(*oldlenp, size));
	if (error == 0)
		*oldlenp = size;
	kmem_free(reply, VMT_REPLY_MAX);
	kmem_free(command, newlen + 1);
	return error;
}

/*
 * Let the worker send a command, and wait for the reply.  A caller that gives
 * up waiting leaves the request behind, and the worker clears it.
 */
static int
vmt_request_send(struct vmt_softc *sc, const char *command, size_t length,
    char *reply, size_t *sizep)
{
	struct vmt_request *r = &sc->sc_request;
	const int patience = MAX(mstohz(VMT_RPC_WAIT_MS), 1);
	int error = 0;

	mutex_enter(&sc->sc_lock);
	if (sc->sc_dying || !sc->sc_running) {
		mutex_exit(&sc->sc_lock);
		return ENXIO;
	}
	if (r->r_state != VMT_REQUEST_IDLE) {
		mutex_exit(&sc->sc_lock);
		return EBUSY;
	}
	memcpy(r->r_command, command, length + 1);
	r->r_length = length;
	r->r_abandoned = false;
	r->r_state = VMT_REQUEST_QUEUED;
	vmt_wake_worker(sc);
	while (r->r_state != VMT_REQUEST_DONE && sc->sc_running &&
	    !sc->sc_dying && error == 0)
		error = cv_timedwait_sig(&sc->sc_done, &sc->sc_lock, patience);
	/* A command that was begun must not be sent a second time. */
	if (error == ERESTART)
		error = EINTR;

	if (r->r_state == VMT_REQUEST_DONE) {
		error = r->r_error;
		if (error == 0) {
			memcpy(reply, r->r_reply, r->r_length + 1);
			*sizep = r->r_length + 1;
		}
		r->r_state = VMT_REQUEST_IDLE;
	} else if (r->r_state == VMT_REQUEST_QUEUED) {
		/* Not begun: take it back. */
		r->r_state = VMT_REQUEST_IDLE;
		if (error == 0)
			error = ENXIO;
	} else {
		r->r_abandoned = true;
		if (error == 0)
			error = ENXIO;
	}
	mutex_exit(&sc->sc_lock);
	return error;
}

/* The worker's side: send the command of vmt_request_send(). */
void
vmt_request_serve(struct vmt_softc *sc)
{
	struct vmt_request *r = &sc->sc_request;
	size_t length;
	int error;

	mutex_enter(&sc->sc_lock);
	if (r->r_state != VMT_REQUEST_QUEUED) {
		mutex_exit(&sc->sc_lock);
		return;
	}
	r->r_state = VMT_REQUEST_ACTIVE;
	length = r->r_length;
	mutex_exit(&sc->sc_lock);

	/* The caller does not touch an active request. */
	error = vmt_buffer_reserve(&sc->sc_command, length + 1);
	if (error == 0) {
		memcpy(sc->sc_command.b_data, r->r_command, length + 1);
		error = vmt_rpc_call(sc, length, &length);
	}
	if (error == 0 && length >= VMT_REPLY_MAX)
		error = EMSGSIZE;

	mutex_enter(&sc->sc_lock);
	if (error == 0) {
		memcpy(r->r_reply, sc->sc_reply.b_data, length + 1);
		r->r_length = length;
	}
	r->r_error = error;
	r->r_state = r->r_abandoned ? VMT_REQUEST_IDLE : VMT_REQUEST_DONE;
	cv_broadcast(&sc->sc_done);
	mutex_exit(&sc->sc_lock);
}
