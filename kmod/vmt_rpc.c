/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Speaking to the host, in three layers.
 *
 * The backdoor is a trap with values in the registers.
 *
 * A channel carries whole messages.  A message is announced with its length
 * and then moved, by the high port where the host offers it for this very
 * message, four bytes at a time otherwise.  Each step answers with status
 * bits; only VMT_STATUS_SUCCESS means that it was taken.  Two things may go
 * wrong.  A snapshot or a migration in the middle shows as
 * VMT_STATUS_CHECKPOINT, and the message starts again from its length.  All
 * else (closed, withdrawn, timed out, powering off, or no bit at all, which
 * is how a forgotten channel looks) is EIO: the channel is of no use any
 * more, and the caller closes it.
 *
 * RPCI is for commands of the guest: a line of text, answered by "1 " or "0 "
 * and more text.  Its channel stays open for a batch of commands and is
 * closed when the worker has no more of them, because hosts drop idle
 * channels.  If the channel turns out to be dead the command is sent once
 * more on a new one.  The vmt_rpc_ functions return 0; ENOTSUP if the host
 * refused the command; EPROTO if its answer is neither; EIO if it cannot be
 * reached; EMSGSIZE or ENOMEM if the command or its reply is too large.
 *
 * All of this runs in the worker, but for the probe, which runs before there
 * is a worker.  sc_lock is not held: a trap takes as long as the host likes.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/errno.h>
#include <sys/kmem.h>
#include <sys/proc.h>
#include <sys/stdarg.h>
#include <sys/systm.h>

#include "vmtvar.h"

#define	VMT_HIGH_HALF(x)	((uint32_t)(x) >> 16)
#define	VMT_REPLY_TRIES	10	/* ticks to wait for a reply */

/* What a channel may say against a step. */
#define	VMT_STATUS_BAD	(VMT_STATUS_CLOSED | VMT_STATUS_UNSENT |	\
			    VMT_STATUS_POWEROFF | VMT_STATUS_TIMEOUT)

static void	vmt_backdoor_call(struct vmt_frame *);
static void	vmt_backdoor_in(struct vmt_frame *);
static void	vmt_backdoor_out(struct vmt_frame *);
static uint32_t	vmt_channel_call(const struct vmt_channel *,
		    struct vmt_frame *, uint32_t, uint32_t);
static bool	vmt_step_succeeded(uint32_t);
static int	vmt_step_error(uint32_t);
static int	vmt_channel_send_once(struct vmt_channel *, const uint8_t *,
	    size_t);
static int	vmt_channel_send_high(struct vmt_channel *, const uint8_t *,
	    size_t);
static int	vmt_channel_receive_once(struct vmt_channel *,
	    struct vmt_buffer *,
		    size_t *, bool *);
static int	vmt_channel_receive_high(struct vmt_channel *, uint8_t *,
	    size_t);
static int	vmt_channel_receive_low(struct vmt_channel *, uint8_t *, size_t,
		    size_t *);
static void	vmt_channel_abort(struct vmt_channel *, bool);
static int	vmt_rpc_exchange(struct vmt_softc *, size_t, size_t *);
static int	vmt_rpc_check_reply(struct vmt_softc *, size_t, bool);

/* One command; the caller has set cx and the upper half of dx. */
static void
vmt_backdoor_call(struct vmt_frame *f)
{

	f->ax = VMT_MAGIC;
	f->dx &= 0xffff0000U;
	vmt_machine_call(f);
}

/* f->cx bytes from the host to the buffer at f->di. */
static void
vmt_backdoor_in(struct vmt_frame *f)
{

	f->ax = VMT_MAGIC;
	f->dx = (f->dx & 0xffff0000U) | VMT_PORT_HIGH;
	vmt_trap_in(f);
}

/* f->cx bytes from the buffer at f->si to the host. */
static void
vmt_backdoor_out(struct vmt_frame *f)
{

	f->ax = VMT_MAGIC;
	f->dx = (f->dx & 0xffff0000U) | VMT_PORT_HIGH;
	vmt_trap_out(f);
}

/* A command without a channel; the caller has set its other registers. */
void
vmt_backdoor_command(struct vmt_frame *f, uint32_t command)
{

	f->cx = (f->cx & 0xffff0000U) | command;
	vmt_backdoor_call(f);
}

/*
 * Is there a host that we can talk to?  By its ports if they answer, else by
 * the instruction that the processor offers.
 */
bool
vmt_backdoor_probe(void)
{
	uint32_t revision;

	(void)vmt_machine_select(false);
	if (!vmt_get_version(&revision) &&
	    (!vmt_machine_select(true) || !vmt_get_version(&revision)))
		return false;
	return revision == VMT_VERSION;
}

/* One step on a channel.  Returns its status. */
static uint32_t
vmt_channel_call(const struct vmt_channel *ch, struct vmt_frame *f,
    uint32_t subcommand, uint32_t argument)
{

	if (ch->ch_lost)
		return 0;
	f->bx = argument;
	f->cx = subcommand << 16 | VMT_COMMAND_MESSAGE;
	f->dx = (uint32_t)ch->ch_id << 16;
	f->si = ch->ch_cookie_high;
	f->di = ch->ch_cookie_low;
	f->bp = 0;
	vmt_backdoor_call(f);
	return VMT_HIGH_HALF(f->cx);
}

/* Was a step taken?  The bits against it come alone, as far as is known. */
static bool
vmt_step_succeeded(uint32_t status)
{

	return (status & (VMT_STATUS_SUCCESS | VMT_STATUS_BAD)) ==
	    VMT_STATUS_SUCCESS;
}

/* What a payload step without success asks for. */
static int
vmt_step_error(uint32_t status)
{

	return (status & VMT_STATUS_CHECKPOINT) != 0 ? EAGAIN : EIO;
}

/* Does the host answer message commands at all? */
bool
vmt_channel_probe(void)
{
	struct vmt_channel ch = { .ch_protocol = VMT_PROTOCOL_RPCI };
	int error;

	error = vmt_channel_open(&ch);
	vmt_channel_close(&ch);
	return error != ENODEV;
}

/*
 * Open a channel, with cookies where the host knows them.  An emulator that
 * knows the backdoor but no channels says ~0, and this returns ENODEV; a
 * host whose channels are all taken does not, and this returns EIO.
 */
int
vmt_channel_open(struct vmt_channel *ch)
{
	static const uint32_t flags[] = { VMT_OPEN_COOKIES, 0 };
	struct vmt_channel *other;
	struct vmt_frame f;
	uint32_t status;
	u_int i;

	KASSERT(!ch->ch_open);

	ch->ch_lost = false;
	ch->ch_id = 0;
	ch->ch_cookie_high = ch->ch_cookie_low = 0;
	for (i = 0; i < __arraycount(flags); i++) {
		status = vmt_channel_call(ch, &f, VMT_OPEN,
		    ch->ch_protocol | flags[i]);
		if (!vmt_step_succeeded(status))
			continue;
		ch->ch_id = VMT_HIGH_HALF(f.dx);
		ch->ch_cookie_high = (uint32_t)f.si;
		ch->ch_cookie_low = (uint32_t)f.di;
		ch->ch_open = true;
		/*
		 * A host that has forgotten a channel may give its number
		 * away, and without cookies takes the one for the other.
		 */
		other = ch->ch_other;
		if (other != NULL && other->ch_open &&
		    other->ch_id == ch->ch_id)
			other->ch_lost = true;
		return 0;
	}
	return (uint32_t)f.ax == 0xffffffffU ? ENODEV : EIO;
}

/* Close a channel.  Whatever the host says, it is closed for us. */
void
vmt_channel_close(struct vmt_channel *ch)
{
	struct vmt_frame f;

	if (!ch->ch_open)
		return;
	(void)vmt_channel_call(ch, &f, VMT_CLOSE, 0);
	ch->ch_open = false;
}

/*
 * Send a message; none at all is a message of length 0.  Returns EMSGSIZE if
 * it is longer than the protocol allows, EIO if the channel is dead.
 */
int
vmt_channel_send(struct vmt_channel *ch, const void *data, size_t length)
{
	u_int i;
	int error;

	KASSERT(ch->ch_open);

	if (length > VMT_MESSAGE_MAX)
		return EMSGSIZE;
	for (i = 0; i <= VMT_CHECKPOINT_RETRIES; i++) {
		if (i > 0)
			ch->ch_counters[VMT_COUNT_RETRIES].ev_count++;
		error = vmt_channel_send_once(ch, data, length);
		if (error != EAGAIN)
			break;
	}
	if (error == 0)
		return 0;
	ch->ch_counters[VMT_COUNT_SEND_ERRORS].ev_count++;
	return EIO;
}

static int
vmt_channel_send_once(struct vmt_channel *ch, const uint8_t *data,
    size_t length)
{
	struct vmt_frame f;
	size_t i, n;
	uint32_t piece, status;

	status = vmt_channel_call(ch, &f, VMT_SEND_SIZE,
	    (uint32_t)length);
	if (!vmt_step_succeeded(status))
		return EIO;
	if (length == 0)
		return 0;
	if ((status & VMT_STATUS_HIGH_BANDWIDTH) != 0 &&
	    vmt_machine_has_ports())
		return vmt_channel_send_high(ch, data, length);

	for (; length > 0; data += n, length -= n) {
		n = MIN(length, VMT_PIECE);
		for (piece = 0, i = 0; i < n; i++)
			piece |= (uint32_t)data[i] << (8 * i);
		status = vmt_channel_call(ch, &f, VMT_SEND_PAYLOAD, piece);
		if (!vmt_step_succeeded(status))
			return vmt_step_error(status);
	}
	return 0;
}

static int
vmt_channel_send_high(struct vmt_channel *ch, const uint8_t *data,
    size_t length)
{
	struct vmt_frame f;
	uint32_t status;

	f.bx = VMT_STATUS_SUCCESS << 16 | VMT_HIGH_MESSAGE;
	f.cx = length;
	f.dx = (uint32_t)ch->ch_id << 16;
	f.si = (uintptr_t)data;
	f.di = ch->ch_cookie_low;
	f.bp = ch->ch_cookie_high;
	vmt_backdoor_out(&f);
	status = VMT_HIGH_HALF(f.bx);
	return vmt_step_succeeded(status) ? 0 : vmt_step_error(status);
}

/*
 * Receive the message that is waiting, if there is one; *gotp tells.  It is
 * followed by a NUL that *lengthp does not count.  Returns EMSGSIZE if the
 * message could not be taken: the host knows, and the channel is all right.
 * Returns EIO if the channel is dead.
 */
int
vmt_channel_receive(struct vmt_channel *ch, struct vmt_buffer *buffer,
    size_t *lengthp, bool *gotp)
{
	u_int i;
	int error;

	KASSERT(ch->ch_open);

	for (i = 0; i <= VMT_CHECKPOINT_RETRIES; i++) {
		if (i > 0)
			ch->ch_counters[VMT_COUNT_RETRIES].ev_count++;
		*lengthp = 0;
		*gotp = false;
		error = vmt_channel_receive_once(ch, buffer, lengthp, gotp);
		if (error != EAGAIN)
			break;
	}
	if (error == 0 || error == EMSGSIZE)
		return error;
	ch->ch_counters[VMT_COUNT_RECEIVE_ERRORS].ev_count++;
	return EIO;
}

static int
vmt_channel_receive_once(struct vmt_channel *ch, struct vmt_buffer *buffer,
    size_t *lengthp, bool *gotp)
{
	struct vmt_frame f;
	size_t left, length;
	uint32_t status;
	int error;

	status = vmt_channel_call(ch, &f, VMT_RECEIVE_SIZE, 0);
	if (!vmt_step_succeeded(status))
		return EIO;
	if ((status & VMT_STATUS_DORECV) == 0)
		return 0;
	length = (uint32_t)f.bx;
	if (VMT_HIGH_HALF(f.dx) != VMT_TYPE_SIZE) {
		vmt_channel_abort(ch, length > 0);
		return EIO;
	}
	if (length > VMT_MESSAGE_MAX ||
	    vmt_buffer_reserve(buffer, length + 1) != 0) {
		vmt_channel_abort(ch, length > 0);
		return EMSGSIZE;
	}

	left = 0;
	if (length == 0)
		error = 0;
	else if ((status & VMT_STATUS_HIGH_BANDWIDTH) != 0 &&
	    vmt_machine_has_ports())
		error = vmt_channel_receive_high(ch, buffer->b_data, length);
	else
		error = vmt_channel_receive_low(ch, buffer->b_data, length,
		    &left);
	if (error != 0) {
		if (error != EAGAIN)
			vmt_channel_abort(ch, left > 0);
		return error;
	}

	status = vmt_channel_call(ch, &f, VMT_RECEIVE_STATUS,
	    VMT_STATUS_SUCCESS);
	if (!vmt_step_succeeded(status))
		return vmt_step_error(status);
	buffer->b_data[length] = '\0';
	*lengthp = length;
	*gotp = true;
	return 0;
}

static int
vmt_channel_receive_high(struct vmt_channel *ch, uint8_t *data, size_t length)
{
	struct vmt_frame f;
	uint32_t status;

	f.bx = VMT_STATUS_SUCCESS << 16 | VMT_HIGH_MESSAGE;
	f.cx = length;
	f.dx = (uint32_t)ch->ch_id << 16;
	f.si = ch->ch_cookie_high;
	f.di = (uintptr_t)data;
	f.bp = ch->ch_cookie_low;
	vmt_backdoor_in(&f);
	status = VMT_HIGH_HALF(f.bx);
	return vmt_step_succeeded(status) ? 0 : vmt_step_error(status);
}

static int
vmt_channel_receive_low(struct vmt_channel *ch, uint8_t *data, size_t length,
    size_t *leftp)
{
	struct vmt_frame f;
	size_t i, n;
	uint32_t piece, status;

	for (; length > 0; data += n, length -= n) {
		*leftp = length;
		status = vmt_channel_call(ch, &f, VMT_RECEIVE_PAYLOAD,
		    VMT_STATUS_SUCCESS);
		if (!vmt_step_succeeded(status))
			return vmt_step_error(status);
		if (VMT_HIGH_HALF(f.dx) != VMT_TYPE_PAYLOAD)
			return EIO;
		n = MIN(length, VMT_PIECE);
		for (piece = (uint32_t)f.bx, i = 0; i < n; i++)
			data[i] = (piece >> (8 * i)) & 0xff;
	}
	*leftp = 0;
	return 0;
}

/* Report to the host that its message could not be taken. */
static void
vmt_channel_abort(struct vmt_channel *ch, bool in_payload)
{
	struct vmt_frame f;

	ch->ch_counters[VMT_COUNT_ABORTS].ev_count++;
	(void)vmt_channel_call(ch, &f,
	    in_payload ? VMT_RECEIVE_PAYLOAD : VMT_RECEIVE_STATUS, 0);
}

/*
 * Make room for size bytes; what was in the buffer is lost.  Never sleeps
 * for memory: the host is told instead that the message was too large.
 */
int
vmt_buffer_reserve(struct vmt_buffer *buffer, size_t size)
{
	uint8_t *data;
	size_t room;

	if (size <= buffer->b_size)
		return 0;
	for (room = VMT_BUFFER; room < size; room *= 2)
		continue;
	data = kmem_alloc(room, KM_NOSLEEP);
	if (data == NULL)
		return ENOMEM;
	vmt_buffer_free(buffer);
	buffer->b_data = data;
	buffer->b_size = room;
	return 0;
}

/* Give back what a large message needed, but keep enough for a usual one. */
void
vmt_buffer_shrink(struct vmt_buffer *buffer)
{
	uint8_t *data;

	if (buffer->b_size <= VMT_BUFFER)
		return;
	data = kmem_alloc(VMT_BUFFER, KM_NOSLEEP);
	if (data == NULL)
		return;
	vmt_buffer_free(buffer);
	buffer->b_data = data;
	buffer->b_size = VMT_BUFFER;
}

void
vmt_buffer_free(struct vmt_buffer *buffer)
{

	if (buffer->b_data == NULL)
		return;
	kmem_free(buffer->b_data, buffer->b_size);
	buffer->b_data = NULL;
	buffer->b_size = 0;
}

/*
 * Send the command in sc_command and leave the reply in sc_reply, with a NUL
 * behind it that *lengthp does not count.
 */
int
vmt_rpc_call(struct vmt_softc *sc, size_t length, size_t *lengthp)
{
	struct vmt_channel *ch = &sc->sc_rpci;
	bool reopened = false;
	int error;

	KASSERT(!mutex_owned(&sc->sc_lock));

	for (;;) {
		if (!ch->ch_open && vmt_channel_open(ch) != 0) {
			sc->sc_counters[VMT_COUNT_REFUSED_OPENS].ev_count++;
			return EIO;
		}
		error = vmt_rpc_exchange(sc, length, lengthp);
		if (error != EIO)
			break;
		vmt_channel_close(ch);
		if (reopened)
			break;
		reopened = true;
		sc->sc_counters[VMT_COUNT_RESENDS].ev_count++;
	}
	sc->sc_counters[VMT_COUNT_COMMANDS].ev_count++;
	return error;
}

static int
vmt_rpc_exchange(struct vmt_softc *sc, size_t length, size_t *lengthp)
{
	u_int tries;
	bool got;
	int error;

	error = vmt_channel_send(&sc->sc_rpci, sc->sc_command.b_data, length);
	if (error != 0)
		return error;
	/* The reply is there at once, unless the host is busy. */
	for (tries = 0; tries < VMT_REPLY_TRIES; tries++) {
		if (tries > 0)
			(void)kpause("vmtreply", false, 1, NULL);
		error = vmt_channel_receive(&sc->sc_rpci, &sc->sc_reply,
		    lengthp, &got);
		if (error != 0 || got)
			return error;
	}
	return EIO;
}

/* Did the host take the command? */
static int
vmt_rpc_check_reply(struct vmt_softc *sc, size_t length, bool want_empty)
{
	const char *reply = (const char *)sc->sc_reply.b_data;
	const size_t word = sizeof(VMT_RPCI_SUCCESS) - 1;

	if (length < word)
		return EPROTO;
	if (strncmp(reply, VMT_RPCI_SUCCESS, word) == 0) {
		/* Text where there should be none: not stored. */
		if (!want_empty || reply[word] == '\0')
			return 0;
	} else if (strncmp(reply, VMT_RPCI_FAILURE, word) != 0)
		return EPROTO;
	sc->sc_counters[VMT_COUNT_REFUSED].ev_count++;
	return ENOTSUP;
}

/* Format a command, append binary data where there is any, and send it. */
int
vmt_rpc_send(struct vmt_softc *sc, bool want_empty, const void *data,
    size_t size, const char *format, ...)
{
	va_list ap;
	size_t length;
	int error, n;

	va_start(ap, format);
	n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (n < 0 || size > VMT_MESSAGE_MAX)
		return EMSGSIZE;
	length = n + size;
	error = vmt_buffer_reserve(&sc->sc_command, length + 1);
	if (error != 0)
		return error;
	va_start(ap, format);
	(void)vsnprintf((char *)sc->sc_command.b_data, n + 1, format, ap);
	va_end(ap);
	if (size > 0)
		memcpy(sc->sc_command.b_data + n, data, size);

	error = vmt_rpc_call(sc, length, &length);
	return error != 0 ? error : vmt_rpc_check_reply(sc, length, want_empty);
}

/* The batch is over: close the channel and give memory back. */
void
vmt_rpc_release(struct vmt_softc *sc)
{

	vmt_channel_close(&sc->sc_rpci);
	vmt_buffer_shrink(&sc->sc_command);
	vmt_buffer_shrink(&sc->sc_reply);
}
