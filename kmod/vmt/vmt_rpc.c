/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The interface to the host, in three layers.
 *
 * The backdoor is a trap with values in the registers.
 *
 * A channel carries whole messages.  A message is announced with its length
 * and then moved, by the high port where the host offers it for this very
 * message, four bytes at a time otherwise.  Each step returns status bits;
 * only VMT_STATUS_SUCCESS means that the host accepted it.  Two things may go
 * wrong.  A snapshot or a migration in the middle shows as
 * VMT_STATUS_CHECKPOINT, and the message starts again from its length.  All
 * else (closed, withdrawn, timed out, powering off, or no bit at all, for a
 * channel that the host has forgotten) is EIO: the channel is dead, and the
 * caller closes it.
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
 * is a worker.  sc_lock is not held: a trap has no time limit.
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

/* The status bits by which the host refuses a step. */
#define	VMT_STATUS_BAD	(VMT_STATUS_CLOSED | VMT_STATUS_UNSENT |	\
			    VMT_STATUS_POWEROFF | VMT_STATUS_TIMEOUT)

static uint32_t	vmt_channel_call(const struct vmt_channel *,
		    struct vmt_frame *, uint32_t, uint32_t);
static bool	vmt_step_succeeded(uint32_t);
static int	vmt_step_error(uint32_t);
static int	vmt_channel_send_once(struct vmt_channel *, const uint8_t *,
		    size_t);
static int	vmt_channel_receive_once(struct vmt_channel *,
		    struct vmt_buffer *, size_t *);
static int	vmt_channel_receive_low(struct vmt_channel *, uint8_t *,
		    size_t);
static int	vmt_channel_move_high(const struct vmt_channel *, const void *,
		    size_t, bool);
static void	vmt_channel_abort(struct vmt_channel *, bool);
static int	vmt_rpc_exchange(struct vmt_softc *, size_t, size_t *);
static int	vmt_rpc_check_reply(struct vmt_softc *, size_t, bool);

/* One command; the caller has set the registers of its arguments. */
void
vmt_backdoor_command(struct vmt_frame *f, uint32_t command)
{

	f->ax = VMT_MAGIC;
	f->cx = (f->cx & 0xffff0000U) | command;
	f->dx = (f->dx & 0xffff0000U) | VMT_PORT_LOW;
	vmt_trap_low(f);
}

/* Is there a host with this interface? */
bool
vmt_backdoor_probe(void)
{
	uint32_t revision;

	return vmt_get_version(&revision) && revision == VMT_VERSION;
}

/* One step on a channel.  Returns its status. */
static uint32_t
vmt_channel_call(const struct vmt_channel *ch, struct vmt_frame *f,
    uint32_t subcommand, uint32_t argument)
{

	f->bx = argument;
	f->cx = subcommand << 16;
	f->dx = (uint32_t)ch->ch_id << 16;
	f->si = ch->ch_cookie_high;
	f->di = ch->ch_cookie_low;
	f->bp = 0;
	vmt_backdoor_command(f, VMT_COMMAND_MESSAGE);
	return VMT_HIGH_HALF(f->cx);
}

/* Was a step accepted?  No host is known to set both kinds of bits. */
static bool
vmt_step_succeeded(uint32_t status)
{

	return (status & (VMT_STATUS_SUCCESS | VMT_STATUS_BAD)) ==
	    VMT_STATUS_SUCCESS;
}

/* The result of a payload step: 0 for the next one, EAGAIN for a retry. */
static int
vmt_step_error(uint32_t status)
{

	if (vmt_step_succeeded(status))
		return 0;
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
 * Open a channel.  Returns ENODEV if the answer is ~0, as that of an emulator
 * that has the backdoor but no channels, and EIO for any other refusal, such as
 * that of a host whose channels are all in use.
 */
int
vmt_channel_open(struct vmt_channel *ch)
{
	struct vmt_frame f;
	uint32_t status;

	KASSERT(!ch->ch_open);

	ch->ch_id = 0;
	ch->ch_cookie_high = ch->ch_cookie_low = 0;
	status = vmt_channel_call(ch, &f, VMT_OPEN,
	    ch->ch_protocol | VMT_OPEN_COOKIES);
	if (!vmt_step_succeeded(status))
		return (uint32_t)f.ax == 0xffffffffU ? ENODEV : EIO;
	ch->ch_id = VMT_HIGH_HALF(f.dx);
	ch->ch_cookie_high = (uint32_t)f.si;
	ch->ch_cookie_low = (uint32_t)f.di;
	ch->ch_open = true;
	return 0;
}

/* Close a channel.  Whatever the status, it is closed for the driver. */
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
	u_int tries;
	int error;

	KASSERT(ch->ch_open);

	if (length > VMT_MESSAGE_MAX)
		return EMSGSIZE;
	for (tries = 0; ; tries++) {
		error = vmt_channel_send_once(ch, data, length);
		if (error != EAGAIN || tries == VMT_CHECKPOINT_RETRIES)
			break;
		ch->ch_counters[VMT_COUNT_RETRIES].ev_count++;
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
	int error;

	status = vmt_channel_call(ch, &f, VMT_SEND_SIZE, (uint32_t)length);
	if (!vmt_step_succeeded(status))
		return EIO;
	if (length > 0 && (status & VMT_STATUS_HIGH_BANDWIDTH) != 0)
		return vmt_channel_move_high(ch, data, length, false);

	for (; length > 0; data += n, length -= n) {
		n = MIN(length, VMT_PIECE);
		for (piece = 0, i = 0; i < n; i++)
			piece |= (uint32_t)data[i] << (8 * i);
		error = vmt_step_error(vmt_channel_call(ch, &f,
		    VMT_SEND_PAYLOAD, piece));
		if (error != 0)
			return error;
	}
	return 0;
}

/*
 * Receive the message that is waiting.  It is followed by a NUL that *lengthp
 * does not count.  Returns ENOMSG if there is none; EMSGSIZE if it did not
 * fit: the host has been informed, and the channel is usable; EIO if the
 * channel is dead.
 */
int
vmt_channel_receive(struct vmt_channel *ch, struct vmt_buffer *buffer,
    size_t *lengthp)
{
	u_int tries;
	int error;

	KASSERT(ch->ch_open);

	for (tries = 0; ; tries++) {
		error = vmt_channel_receive_once(ch, buffer, lengthp);
		if (error != EAGAIN || tries == VMT_CHECKPOINT_RETRIES)
			break;
		ch->ch_counters[VMT_COUNT_RETRIES].ev_count++;
	}
	if (error == 0 || error == ENOMSG || error == EMSGSIZE)
		return error;
	ch->ch_counters[VMT_COUNT_RECEIVE_ERRORS].ev_count++;
	return EIO;
}

static int
vmt_channel_receive_once(struct vmt_channel *ch, struct vmt_buffer *buffer,
    size_t *lengthp)
{
	struct vmt_frame f;
	size_t length;
	uint32_t status;
	bool high;
	int error;

	status = vmt_channel_call(ch, &f, VMT_RECEIVE_SIZE, 0);
	if (!vmt_step_succeeded(status))
		return EIO;
	if ((status & VMT_STATUS_DORECV) == 0)
		return ENOMSG;
	length = (uint32_t)f.bx;
	error = 0;
	if (VMT_HIGH_HALF(f.dx) != VMT_TYPE_SIZE)
		error = EIO;
	else if (length > VMT_MESSAGE_MAX ||
	    vmt_buffer_reserve(buffer, length + 1) != 0)
		error = EMSGSIZE;
	if (error != 0) {
		vmt_channel_abort(ch, length > 0);
		return error;
	}

	high = (status & VMT_STATUS_HIGH_BANDWIDTH) != 0;
	if (length > 0 && high)
		error = vmt_channel_move_high(ch, buffer->b_data, length, true);
	else if (length > 0)
		error = vmt_channel_receive_low(ch, buffer->b_data, length);
	if (error == EIO)
		vmt_channel_abort(ch, !high);
	if (error != 0)
		return error;

	buffer->b_data[length] = '\0';
	*lengthp = length;
	return vmt_step_error(vmt_channel_call(ch, &f, VMT_RECEIVE_STATUS,
	    VMT_STATUS_SUCCESS));
}

static int
vmt_channel_receive_low(struct vmt_channel *ch, uint8_t *data, size_t length)
{
	struct vmt_frame f;
	size_t i, n;
	uint32_t piece;
	int error;

	for (; length > 0; data += n, length -= n) {
		error = vmt_step_error(vmt_channel_call(ch, &f,
		    VMT_RECEIVE_PAYLOAD, VMT_STATUS_SUCCESS));
		if (error != 0)
			return error;
		if (VMT_HIGH_HALF(f.dx) != VMT_TYPE_PAYLOAD)
			return EIO;
		n = MIN(length, VMT_PIECE);
		for (piece = (uint32_t)f.bx, i = 0; i < n; i++)
			data[i] = (piece >> (8 * i)) & 0xff;
	}
	return 0;
}

/*
 * Move a payload through the high port, all at once.  The direction decides
 * where the cookies are: they make room for the address.
 */
static int
vmt_channel_move_high(const struct vmt_channel *ch, const void *data,
    size_t length, bool in)
{
	struct vmt_frame f;

	f.ax = VMT_MAGIC;
	f.bx = VMT_STATUS_SUCCESS << 16 | VMT_HIGH_MESSAGE;
	f.cx = length;
	f.dx = (uint32_t)ch->ch_id << 16 | VMT_PORT_HIGH;
	if (in) {
		f.si = ch->ch_cookie_high;
		f.di = (uintptr_t)data;
		f.bp = ch->ch_cookie_low;
		vmt_trap_in(&f);
	} else {
		f.si = (uintptr_t)data;
		f.di = ch->ch_cookie_low;
		f.bp = ch->ch_cookie_high;
		vmt_trap_out(&f);
	}
	return vmt_step_error(VMT_HIGH_HALF(f.bx));
}

/* Report to the host that its message did not fit. */
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
 * for memory: the driver answers that the message was too large.
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

/* Free the memory of a large message, but keep enough for a usual one. */
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
 * after it that *lengthp does not count.
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
	int error;

	error = vmt_channel_send(&sc->sc_rpci, sc->sc_command.b_data, length);
	if (error != 0)
		return error;
	/* The reply is there at once, unless the host is busy. */
	for (tries = 0; tries < VMT_REPLY_TRIES; tries++) {
		if (tries > 0)
			(void)kpause("vmtreply", false, 1, NULL);
		error = vmt_channel_receive(&sc->sc_rpci, &sc->sc_reply,
		    lengthp);
		if (error != ENOMSG)
			break;
	}
	vmt_update_now(sc);
	return error == ENOMSG ? EIO : error;
}

/* Did the host accept the command? */
static int
vmt_rpc_check_reply(struct vmt_softc *sc, size_t length, bool expect_empty)
{
	const char *reply = (const char *)sc->sc_reply.b_data;
	const size_t word = sizeof(VMT_RPCI_SUCCESS) - 1;

	if (length < word)
		return EPROTO;
	if (strncmp(reply, VMT_RPCI_SUCCESS, word) == 0) {
		/* Text where there should be none: not stored. */
		if (!expect_empty || reply[word] == '\0')
			return 0;
	} else if (strncmp(reply, VMT_RPCI_FAILURE, word) != 0)
		return EPROTO;
	sc->sc_counters[VMT_COUNT_REFUSED].ev_count++;
	return ENOTSUP;
}

/* Format a command, append binary data where there is any, and send it. */
int
vmt_rpc_send(struct vmt_softc *sc, bool expect_empty, const void *data,
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
	return error != 0 ? error :
	    vmt_rpc_check_reply(sc, length, expect_empty);
}

/* The batch is over: close the channel and free memory. */
void
vmt_rpc_release(struct vmt_softc *sc)
{

	vmt_channel_close(&sc->sc_rpci);
	vmt_buffer_shrink(&sc->sc_command);
	vmt_buffer_shrink(&sc->sc_reply);
}
