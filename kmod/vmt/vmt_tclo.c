/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Requests of the host to the guest, and the options that it sets.
 *
 * The guest polls: it sends its answer to the last message, or nothing, and
 * then asks for the next one.  Sending also shows the host that the guest is
 * alive.  After a message the next one is likely to follow, so the driver
 * polls soon and then less and less often.
 *
 * A channel may die at any time: a snapshot was reverted, the machine was
 * moved, the host was busy.  The driver closes it and opens a new one after a
 * while, and the host begins a new conversation with "reset".  When that
 * happens again and again another tools service competes for the channel.
 *
 * After each reset the host sends a burst of options with Set_Option, most of
 * which do not concern a kernel.
 *
 * All of this runs in the worker, without sc_lock.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/errno.h>
#include <sys/systm.h>

#include "vmtvar.h"

/*
 * A conversation that lasted this long (ms) did not end by contention; this
 * number of shorter ones in a row means contention.
 */
#define	VMT_CONTENTION_MS	60000
#define	VMT_CONTENTIONS		3

#define	VMT_REGISTER_MS	30000	/* before the next try */
#define	VMT_CAPABILITIES_MS	5000	/* for the host to ask */
#define	VMT_REFUSALS	3	/* in a row: the channel is stuck */

static bool	vmt_tclo_open(struct vmt_softc *, int64_t);
static void	vmt_tclo_delay_open(struct vmt_softc *, int64_t);
static void	vmt_tclo_lose(struct vmt_softc *, int64_t, int);
static void	vmt_tclo_log_back(struct vmt_softc *, int64_t);
static void	vmt_tclo_suspect_copy(struct vmt_softc *);
static bool	vmt_tclo_poll(struct vmt_softc *, int64_t);
static void	vmt_tclo_dispatch(struct vmt_softc *, char *, size_t);
static bool	vmt_tclo_parse(enum vmt_arguments, char *, size_t,
		    struct vmt_message *);
static void	vmt_tclo_execute(struct vmt_softc *,
		    const struct vmt_command *, const struct vmt_message *);
static void	vmt_tclo_answer(struct vmt_softc *, const char *, const char *);
static void	vmt_channel_contended(struct vmt_softc *, int64_t);
static void	vmt_register_capabilities(struct vmt_softc *, int64_t);
static bool	vmt_rpc_check(struct vmt_softc *, const char *, int);
static bool	vmt_parse_option(enum vmt_value, const char *, u_int *);
static bool	vmt_parse_number(const char *, u_int *);

/*
 * Poll the host if that is due.  Returns when the next poll is due (uptime
 * in ms).
 */
int64_t
vmt_tclo_run(struct vmt_softc *sc, int64_t now)
{
	u_int n;

	if (!sc->sc_tclo.ch_open) {
		if (now < sc->sc_next_open || !vmt_tclo_open(sc, now))
			return sc->sc_next_open;
	}
	if (sc->sc_registered && now >= sc->sc_next_register)
		vmt_register_capabilities(sc, now);
	if (now < sc->sc_next_poll)
		return sc->sc_next_poll;

	for (n = 0; n < VMT_POLL_DRAIN; n++) {
		if (!vmt_tclo_poll(sc, now))
			break;
		vmt_update_now(sc);
		sc->sc_last_message = sc->sc_now;
		sc->sc_poll_step = 0;
	}
	if (!sc->sc_tclo.ch_open)
		return sc->sc_next_open;
	if (n == 0)
		vmt_buffer_shrink(&sc->sc_message);

	now = sc->sc_now;
	vmt_tclo_log_back(sc, now);
	if (now - sc->sc_last_message >= VMT_POLL_QUIET)
		sc->sc_next_poll = now + VMT_POLL_IDLE;
	else {
		sc->sc_next_poll = now + vmt_poll_steps[sc->sc_poll_step];
		if (sc->sc_poll_step < VMT_POLL_STEPS - 1)
			sc->sc_poll_step++;
	}
	return sc->sc_next_poll;
}

/* Send the last answer, close the channel, and raise a pending event. */
void
vmt_tclo_stop(struct vmt_softc *sc)
{

	if (!sc->sc_tclo.ch_open)
		return;
	if (sc->sc_answer_length > 0)
		(void)vmt_channel_send(&sc->sc_tclo, sc->sc_answer,
		    sc->sc_answer_length);
	sc->sc_answer_length = 0;
	vmt_channel_close(&sc->sc_tclo);
	/* A system that shuts down already needs no event. */
	mutex_enter(&sc->sc_lock);
	if (sc->sc_shutdown)
		sc->sc_event = VMT_SWITCH_NONE;
	mutex_exit(&sc->sc_lock);
	vmt_raise_event(sc);
}

static bool
vmt_tclo_open(struct vmt_softc *sc, int64_t now)
{

	if (vmt_channel_open(&sc->sc_tclo) != 0) {
		sc->sc_counters[VMT_COUNT_REFUSED_OPENS].ev_count++;
		if (sc->sc_tries == 0)
			vmt_log(sc, VMT_LOG_CHANNEL_REFUSED);
		vmt_tclo_delay_open(sc, now);
		return false;
	}
	if (sc->sc_tries > 0)
		sc->sc_counters[VMT_COUNT_REOPENS].ev_count++;
	sc->sc_opened = sc->sc_next_poll = now;
	sc->sc_was_reset = false;
	sc->sc_refusals = 0;
	sc->sc_answer_length = 0;
	return true;
}

/* Wait before the next try, longer each time. */
static void
vmt_tclo_delay_open(struct vmt_softc *sc, int64_t now)
{
	int64_t pause;
	u_int i;

	for (pause = VMT_REOPEN_MS, i = 0;
	    i < sc->sc_tries && pause < VMT_REOPEN_MAX_MS; i++)
		pause *= 2;
	sc->sc_next_open = now + MIN(pause, VMT_REOPEN_MAX_MS);
	sc->sc_tries++;
}

/* The channel is dead: close it, and open it again later. */
static void
vmt_tclo_lose(struct vmt_softc *sc, int64_t now, int error)
{

	vmt_channel_close(&sc->sc_tclo);
	sc->sc_registered = false;
	sc->sc_info_from = INT64_MAX;
	vmt_backup_interrupt(sc);
	vmt_clock_forget(sc);
	if (now - sc->sc_opened >= VMT_CONTENTION_MS)
		sc->sc_tries = 0;
	if (!sc->sc_loss_logged)
		vmt_log(sc, VMT_LOG_CHANNEL_LOST, error);
	sc->sc_loss_logged = true;
	vmt_channel_contended(sc, now);
	vmt_tclo_suspect_copy(sc);
	vmt_tclo_delay_open(sc, now);
}

/*
 * A conversation that ends may mean that this is a reverted snapshot or a copy,
 * unless another service competes for the channel.
 */
static void
vmt_tclo_suspect_copy(struct vmt_softc *sc)
{

	if (sc->sc_contentions < VMT_CONTENTIONS)
		vmt_entropy_stir(sc);
}

/*
 * A conversation ended early, by a loss or a reset that the host began.
 * When that happens VMT_CONTENTIONS times in a row, log it once.
 */
static void
vmt_channel_contended(struct vmt_softc *sc, int64_t now)
{

	if (now - sc->sc_opened >= VMT_CONTENTION_MS) {
		sc->sc_contentions = 0;
		sc->sc_contention_logged = false;
	}
	if (++sc->sc_contentions < VMT_CONTENTIONS || sc->sc_contention_logged)
		return;
	sc->sc_counters[VMT_COUNT_CONTENTIONS].ev_count++;
	vmt_log(sc, VMT_LOG_CHANNEL_CONTENDED);
	sc->sc_contention_logged = true;
}

/*
 * Log that the channel is open again.  After VMT_CONTENTIONS losses in a row
 * log it only when the conversation has lasted: two lines a loss would fill
 * the log until the contention ends.
 */
static void
vmt_tclo_log_back(struct vmt_softc *sc, int64_t now)
{

	if (!sc->sc_loss_logged || !sc->sc_was_reset ||
	    (sc->sc_contentions >= VMT_CONTENTIONS &&
	    now - sc->sc_opened < VMT_CONTENTION_MS))
		return;
	vmt_log(sc, VMT_LOG_CHANNEL_BACK);
	sc->sc_loss_logged = false;
}

/* One turn of the conversation.  Returns whether there was a message. */
static bool
vmt_tclo_poll(struct vmt_softc *sc, int64_t now)
{
	size_t length;
	int error;

	error = vmt_channel_send(&sc->sc_tclo, sc->sc_answer,
	    sc->sc_answer_length);
	sc->sc_counters[VMT_COUNT_POLLS].ev_count++;
	sc->sc_answer_length = 0;

	/*
	 * The host has the answer, or never will: raise the event.  This may
	 * not return.  It happens on a dead channel, too.
	 */
	vmt_raise_event(sc);

	if (error == 0)
		error = vmt_channel_receive(&sc->sc_tclo, &sc->sc_message,
		    &length);
	if (error == ENOMSG)
		return false;
	if (error == EMSGSIZE && ++sc->sc_refusals < VMT_REFUSALS) {
		vmt_tclo_answer(sc, VMT_TCLO_FAILURE, VMT_ERROR_TOO_LARGE);
		return false;
	}
	if (error != 0) {
		vmt_tclo_lose(sc, now, error);
		return false;
	}
	sc->sc_refusals = 0;
	sc->sc_counters[VMT_COUNT_MESSAGES].ev_count++;
	vmt_tclo_dispatch(sc, (char *)sc->sc_message.b_data, length);
	return true;
}

/* Prepare the answer to the message that is waiting. */
static void
vmt_tclo_answer(struct vmt_softc *sc, const char *word, const char *text)
{
	int n;

	n = snprintf(sc->sc_answer, sizeof(sc->sc_answer), "%s%s", word, text);
	sc->sc_answer_length = MIN((size_t)n, sizeof(sc->sc_answer) - 1);
}

/* The first word is the command, the rest its arguments. */
static void
vmt_tclo_dispatch(struct vmt_softc *sc, char *text, size_t length)
{
	struct vmt_message message;
	char *rest;
	u_int i;

	rest = memchr(text, ' ', length);
	if (rest != NULL)
		*rest++ = '\0';
	else
		rest = text + length;
	length -= rest - text;

	if (text[0] == '\0') {
		vmt_tclo_answer(sc, VMT_TCLO_FAILURE, VMT_ERROR_BAD_ARGUMENTS);
		return;
	}
	for (i = 0; i < VMT_COMMANDS; i++) {
		if (strcmp(text, vmt_commands[i].c_name) == 0)
			break;
	}
	if (i == VMT_COMMANDS) {
		sc->sc_counters[VMT_COUNT_UNKNOWN].ev_count++;
		vmt_tclo_answer(sc, VMT_TCLO_FAILURE,
		    VMT_ERROR_UNKNOWN_COMMAND);
	} else if (vmt_tclo_parse(vmt_commands[i].c_arguments, rest, length,
	    &message))
		vmt_tclo_execute(sc, &vmt_commands[i], &message);
	else if (vmt_commands[i].c_arguments == VMT_ARG_OPTION)
		vmt_tclo_answer(sc, VMT_TCLO_FAILURE, VMT_ERROR_OPTION);
	else
		vmt_tclo_answer(sc, VMT_TCLO_FAILURE, VMT_ERROR_BAD_ARGUMENTS);
}

static bool
vmt_tclo_parse(enum vmt_arguments kind, char *text, size_t length,
    struct vmt_message *message)
{

	/* Some hosts count the NUL, some append blanks. */
	while (kind != VMT_ARG_DATA && length > 0 &&
	    (text[length - 1] == '\0' || text[length - 1] == ' '))
		text[--length] = '\0';

	message->m_flag = false;
	message->m_name = NULL;
	message->m_text = text;
	message->m_length = length;

	switch (kind) {
	case VMT_ARG_NONE:
		return text[0] == '\0';
	case VMT_ARG_FLAG:
		message->m_flag = text[0] == '1';
		return (text[0] == '0' || text[0] == '1') && text[1] == '\0';
	case VMT_ARG_OPTION:
		message->m_name = text;
		message->m_text = strchr(text, ' ');
		if (message->m_text == NULL)
			return false;
		*message->m_text++ = '\0';
		return message->m_name[0] != '\0' &&
		    message->m_text[0] != '\0';
	case VMT_ARG_IGNORED:
	case VMT_ARG_TEXT:
	case VMT_ARG_DATA:
		return true;
	}
	return false;
}

/*
 * Carry out a command.  The host gets the status before the answer, and the
 * answer before the event: the event may end the kernel.
 */
static void
vmt_tclo_execute(struct vmt_softc *sc, const struct vmt_command *command,
    const struct vmt_message *message)
{
	const char *error = NULL;

	if (command->c_switch != VMT_SWITCH_NONE &&
	    atomic_load_relaxed(&sc->sc_dying))
		error = VMT_ERROR_STATE;
	if (command->c_count != VMT_COUNTERS)
		sc->sc_counters[command->c_count].ev_count++;
	if (error == NULL && command->c_log != VMT_LOG_NONE)
		vmt_log(sc, command->c_log);
	if (error == NULL && command->c_action != NULL)
		error = (*command->c_action)(sc, message);
	if (command->c_state != 0) {
		(void)vmt_rpc_check(sc, VMT_RPC_STATE_STATUS,
		    vmt_rpc_state_status(sc, error == NULL,
		    command->c_state));
	}
	if (error != NULL) {
		vmt_tclo_answer(sc, VMT_TCLO_FAILURE, error);
		return;
	}
	sc->sc_event = command->c_switch;
	vmt_tclo_answer(sc, VMT_TCLO_SUCCESS, command->c_reply);
}

/* A new conversation: the host has forgotten the guest's data. */
const char *
vmt_do_reset(struct vmt_softc *sc, const struct vmt_message *message)
{
	const int64_t now = sc->sc_now;

	sc->sc_counters[VMT_COUNT_RESETS].ev_count++;
	if (sc->sc_was_reset) {
		vmt_channel_contended(sc, now);
		vmt_tclo_suspect_copy(sc);
	}
	sc->sc_was_reset = true;
	sc->sc_opened = now;
	vmt_tclo_log_back(sc, now);
	sc->sc_registered = false;
	sc->sc_info_from = now + VMT_CAPABILITIES_MS;
	sc->sc_broadcast = false;
	vmt_clock_forget(sc);
	vmt_backup_reset(sc);
	vmt_info_forget(sc);
	return NULL;
}

/* Report the driver's capabilities to the host. */
const char *
vmt_do_capabilities(struct vmt_softc *sc, const struct vmt_message *message)
{

	sc->sc_registered = true;
	sc->sc_info_from = 0;
	vmt_register_capabilities(sc, sc->sc_now);
	return NULL;
}

/*
 * Send every capability, even if others fail: without one of them the host
 * offers no shutdown, without another it shows the tools as not installed.
 */
static void
vmt_register_capabilities(struct vmt_softc *sc, int64_t now)
{
	bool all = true;
	u_int i;
	int error;

	if (!vmt_rpc_check(sc, VMT_RPC_UNIFIED_LOOP,
	    vmt_rpc_unified_loop(sc, VMT_SERVICE)))
		all = false;
	error = vmt_rpc_hgfs_server(sc, VMT_SERVICE, true);
	sc->sc_announced = error == 0;
	if (!vmt_rpc_check(sc, VMT_RPC_HGFS_SERVER, error))
		all = false;
	for (i = 0; i < VMT_NOTICES; i++) {
		error = vmt_rpc_send(sc, false, NULL, 0, "%s",
		    vmt_notices[i].n_text);
		if (!vmt_rpc_check(sc, vmt_notices[i].n_name, error))
			all = false;
	}
	(void)vmt_info_send(sc, VMT_INFO_UPTIME);
	if (!sc->sc_introduced) {
		sc->sc_introduced = vmt_rpc_log(sc, VMT_SERVICE,
		    VMT_DESCRIPTION " " VMT_DRIVER_VERSION) == 0;
	}
	error = vmt_rpc_version_type(sc, VMT_TOOLS_VERSION, VMT_TOOLS_KIND);
	if (error == ENOTSUP)
		error = vmt_rpc_version(sc, VMT_TOOLS_VERSION);
	if (!vmt_rpc_check(sc, VMT_RPC_VERSION, error))
		all = false;

	sc->sc_next_register = all ? INT64_MAX : now + VMT_REGISTER_MS;
}

/*
 * Log the failure of a command, if it is one.  Returns whether the host has
 * answered; a refusal counts, because the same command would be refused again.
 */
static bool
vmt_rpc_check(struct vmt_softc *sc, const char *command, int error)
{

	if (error != 0)
		vmt_log(sc, VMT_LOG_RPCI_FAILED, command, error);
	return error == 0 || error == ENOTSUP;
}

/*
 * The guest was suspended, and perhaps copied: the time is wrong, the host's
 * information is old, and another guest may have the same random numbers.
 */
const char *
vmt_do_resume(struct vmt_softc *sc, const struct vmt_message *message)
{

	sc->sc_clock.c_no_lag = false;	/* perhaps another host */
	(void)vmt_clock_sync(sc, VMT_CLOCK_FORWARD);
	vmt_entropy_stir(sc);
	vmt_info_forget(sc);
	return NULL;
}

const char *
vmt_do_set_option(struct vmt_softc *sc, const struct vmt_message *message)
{
	const struct vmt_option *o;
	u_int i, value = 0;

	for (i = 0; i < VMT_OPTIONS; i++) {
		if (strcmp(vmt_options[i].o_name, message->m_name) == 0)
			break;
	}
	o = &vmt_options[i];
	if (i == VMT_OPTIONS ||
	    !vmt_parse_option(o->o_type, message->m_text, &value))
		return VMT_ERROR_OPTION;
	if (o->o_action != NULL && (*o->o_action)(sc, value) != 0)
		return VMT_ERROR_OPTION_FAILED;
	if (o->o_setting != VMT_SETTINGS)
		sc->sc_clock.c_setting[o->o_setting] = value;
	return NULL;
}

/* Returns whether the text is a value of this type. */
static bool
vmt_parse_option(enum vmt_value type, const char *text, u_int *valuep)
{
	const bool valid = vmt_parse_number(text, valuep);

	switch (type) {
	case VMT_VALUE_FLAG:
		return valid && *valuep <= 1;
	case VMT_VALUE_SWITCH:
		*valuep = !valid || *valuep != 0;
		return true;
	case VMT_VALUE_SECONDS:
		return valid;
	case VMT_VALUE_PERCENT:
		if (!valid || *valuep < 1 || *valuep > 100)
			*valuep = VMT_CLOCK_PERCENT;
		return true;
	case VMT_VALUE_IGNORED:
		return true;
	}
	return false;
}

const char *
vmt_do_time_synchronize(struct vmt_softc *sc,
    const struct vmt_message *message)
{

	/* The machine may be on another host, which has a better command. */
	sc->sc_clock.c_no_lag = false;
	return vmt_clock_sync(sc, message->m_flag ?
	    VMT_CLOCK_BACK : VMT_CLOCK_FORWARD) == 0 ? NULL : VMT_ERROR_TIME;
}

/* A decimal number without sign, and nothing else. */
static bool
vmt_parse_number(const char *text, u_int *numberp)
{
	u_int digit, number;

	for (number = 0; *text != '\0'; text++) {
		digit = (u_int)*text - '0';
		if (digit > 9 || number > (UINT_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*numberp = number;
	return true;
}

/*
 * The host shows an address in its list of machines.  At boot it requests one
 * before there is any, so the request lasts until the next reset.
 */
int
vmt_option_broadcast_address(struct vmt_softc *sc, u_int on)
{

	sc->sc_broadcast = on != 0;
	return sc->sc_broadcast ? vmt_nic_broadcast(sc) : 0;
}

/* Periodic synchronisation begins at once, if the host sets that. */
int
vmt_option_host_synctime(struct vmt_softc *sc, u_int on)
{
	const u_int *setting = sc->sc_clock.c_setting;

	if (on != 0 && setting[VMT_SETTING_SYNCTIME] == 0 &&
	    setting[VMT_SETTING_ENABLE] != 0 &&
	    atomic_load_relaxed(&sc->sc_clock.c_follow_host))
		(void)vmt_clock_sync(sc, VMT_CLOCK_BACK);
	return 0;
}

/* Once per attach, however often the host repeats it. */
int
vmt_option_host_startup(struct vmt_softc *sc, u_int on)
{
	struct vmt_clock *clock = &sc->sc_clock;

	if (on == 0 || clock->c_startup)
		return 0;
	clock->c_startup = true;
	if (atomic_load_relaxed(&clock->c_follow_host)) {
		(void)vmt_clock_sync(sc,
		    clock->c_setting[VMT_SETTING_BACKWARD] != 0 ?
		    VMT_CLOCK_BACK : VMT_CLOCK_FORWARD);
	}
	return 0;
}
