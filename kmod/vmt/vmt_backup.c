/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Quiesced snapshots: the conversation.
 *
 *	host				guest
 *	vmbackup.start			reset, and the answer OK
 *					(scripts run for freeze)
 *					(write out, and suspend)
 *					prov.snapshotCommit
 *	(takes the snapshot)		req.keepAlive ...
 *	vmbackup.snapshotDone		(resume)
 *					(scripts run for thaw)
 *					req.done
 *
 * Either side may abort, and the driver aborts when the host does not continue
 * in time.  A separate thread syncs and suspends, see vmt_freeze.c.
 *
 * powerd(8) runs the scripts.  For it, freeze and thaw are a hot key that is
 * pressed and released.  Such an event has no data, and may be lost while
 * powerd(8) restarts.  So the sysctl node backup.event has its number, and
 * powerd(8)'s script writes that to backup.done when the administrator's
 * scripts have run.  After each freeze the driver raises thaw, and repeats it
 * until the number is written or the time for scripts is over.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/endian.h>
#include <sys/errno.h>
#include <sys/systm.h>

#include "vmtvar.h"

static const char *vmt_backup_begin(struct vmt_softc *, u_int, bool, bool,
		    bool);
static int64_t	vmt_backup_write(struct vmt_softc *, int64_t);
static int64_t	vmt_backup_commit(struct vmt_softc *, int64_t);
static int64_t	vmt_backup_thaw(struct vmt_softc *, int64_t);
static int64_t	vmt_backup_end(struct vmt_softc *, int64_t, u_int,
		    const char *);
static void	vmt_backup_forget(struct vmt_softc *);
static int64_t	vmt_backup_quit(struct vmt_softc *, int64_t);
static bool	vmt_backup_event(struct vmt_softc *, const char *, u_int,
		    const char *);
static void	vmt_backup_raise(struct vmt_softc *, enum vmt_switch);
static int	vmt_backup_answer(struct vmt_softc *);

void
vmt_backup_init(struct vmt_softc *sc)
{

	sc->sc_quiesce.c_require_scripts = 1;
	/* As with requests: old numbers are not reused soon after a detach. */
	sc->sc_backup.b_number = vmt_uptime() & 0x3fffffff;
	sc->sc_backup.b_event = VMT_SWITCH_NONE;
}

/* Begin with the usual limit. */
const char *
vmt_do_backup_start(struct vmt_softc *sc, const struct vmt_message *message)
{

	return vmt_backup_begin(sc, VMT_BACKUP_LIMIT, true, true, false);
}

/*
 * Begin as the XDR parameters say (guestQuiesce.x of open-vm-tools): version,
 * a flag, five booleans, the script's argument, the limit in seconds (0 for
 * the usual one), the disks.  The booleans ask for a manifest, quiesced
 * applications, quiesced file systems, writable snapshots and scripts.
 */
const char *
vmt_do_backup_start_options(struct vmt_softc *sc,
    const struct vmt_message *message)
{
	const uint8_t *p = (const uint8_t *)message->m_text;
	const size_t word = sizeof(uint32_t), length = message->m_length;
	bool applications, file_systems;
	size_t argument;
	uint32_t limit;

	if (length < word || be32dec(p) != VMT_BACKUP_PARAMETERS)
		return VMT_ERROR_BACKUP_VERSION;
	if (length < 8 * word || be32dec(p + word) != 1)
		return VMT_ERROR_BACKUP_START;
	argument = be32dec(p + 7 * word);
	if (argument > length ||
	    length < 9 * word + roundup2(argument, word))
		return VMT_ERROR_BACKUP_START;
	limit = be32dec(p + 8 * word + roundup2(argument, word));
	applications = be32dec(p + 3 * word) != 0;
	file_systems = be32dec(p + 4 * word) != 0;
	return vmt_backup_begin(sc, limit != 0 ? limit : VMT_BACKUP_LIMIT,
	    file_systems, be32dec(p + 6 * word) != 0,
	    applications || file_systems);
}

/*
 * A host that requires a freeze gets one or an error, and always an error if
 * it requires only quiesced applications, as from open-vm-tools.  The host
 * expects the event "reset" before the answer, as open-vm-tools sends it
 * (stateMachine.c, VmBackupStartCommon with forceQuiesce).
 */
static const char *
vmt_backup_begin(struct vmt_softc *sc, u_int limit, bool file_systems,
    bool scripts, bool insists)
{
	struct vmt_backup *b = &sc->sc_backup;
	bool freezes;

	/* The host has forgotten an earlier backup, or must forget it. */
	if (b->b_was_reset || b->b_silent)
		vmt_backup_forget(sc);
	/* The thread of an aborted backup may still be syncing. */
	if (b->b_state != VMT_BACKUP_IDLE || !vmt_freeze_join(sc, false))
		return VMT_ERROR_BACKUP_BUSY;
	mutex_enter(&sc->sc_lock);
	strlcpy(b->b_directory, sc->sc_quiesce.c_freeze,
	    sizeof(b->b_directory));
	b->b_scripts = scripts ? (int64_t)sc->sc_quiesce.c_scripts * 1000 : 0;
	mutex_exit(&sc->sc_lock);
	freezes = file_systems && b->b_directory[0] != '\0';
	if (insists && !freezes)
		return VMT_ERROR_BACKUP_START;
	if (!vmt_backup_event(sc, VMT_BACKUP_EVENT_RESET,
	    VMT_BACKUP_CODE_SUCCESS, ""))
		return VMT_ERROR_BACKUP_START;
	b->b_state = VMT_BACKUP_BEGIN;
	b->b_limit = sc->sc_now + (int64_t)limit * 1000;
	b->b_file_systems = file_systems;
	b->b_freezes = freezes;
	return NULL;
}

/*
 * The channel was reset.  Events use another one, so a backup continues, as
 * with open-vm-tools: the reset may be of a channel that was lost for a
 * moment.  If the host has forgotten the backup, it refuses the next event.
 */
void
vmt_backup_reset(struct vmt_softc *sc)
{

	sc->sc_backup.b_was_reset = sc->sc_backup.b_state != VMT_BACKUP_IDLE;
	vmt_backup_interrupt(sc);
}

/*
 * Something happens during which no file system may be suspended: resume it at
 * once.  A sync without suspension continues.
 */
void
vmt_backup_interrupt(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;

	if (!b->b_freezes || b->b_state == VMT_BACKUP_IDLE ||
	    b->b_state == VMT_BACKUP_THAW)
		return;
	vmt_freeze_release(sc);
	b->b_state = VMT_BACKUP_ABORT;
}

/* The host has its snapshot. */
const char *
vmt_do_backup_done(struct vmt_softc *sc, const struct vmt_message *message)
{
	struct vmt_backup *b = &sc->sc_backup;

	if (b->b_state != VMT_BACKUP_WAIT)
		return VMT_ERROR_BACKUP_IDLE;
	b->b_state = VMT_BACKUP_DONE;
	return NULL;
}

/* The host has aborted.  A backup that is ending ends as before. */
const char *
vmt_do_backup_abort(struct vmt_softc *sc, const struct vmt_message *message)
{
	struct vmt_backup *b = &sc->sc_backup;

	if (b->b_state == VMT_BACKUP_IDLE || b->b_silent)
		return VMT_ERROR_BACKUP_IDLE;
	if (b->b_state != VMT_BACKUP_THAW)
		b->b_state = VMT_BACKUP_ABORT;
	return NULL;
}

/*
 * Is a file system suspended, or about to be?  Then do not report any:
 * mountlist_iterator_trynext() would omit it from the list of mounts.  The
 * thread of an aborted backup may still hold it.
 */
bool
vmt_backup_holds(struct vmt_softc *sc)
{

	return sc->sc_backup.b_freezes && vmt_freeze_runs(sc);
}

/* Forget it and report nothing. */
static void
vmt_backup_forget(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;

	vmt_freeze_release(sc);
	if (b->b_thaw_owed && b->b_state != VMT_BACKUP_THAW)
		vmt_backup_raise(sc, VMT_SWITCH_THAW);
	b->b_thaw_owed = b->b_silent = b->b_was_reset = false;
	b->b_state = VMT_BACKUP_IDLE;
}

/*
 * The driver detaches: report that, and wait for the sync.  In a system that
 * shuts down there is no powerd(8) to run scripts.
 */
void
vmt_backup_stop(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;
	const bool known = b->b_state != VMT_BACKUP_IDLE && !b->b_silent;
	const bool over = b->b_state == VMT_BACKUP_THAW;
	bool shutdown;

	vmt_freeze_release(sc);
	mutex_enter(&sc->sc_lock);
	shutdown = sc->sc_shutdown;
	mutex_exit(&sc->sc_lock);
	if (shutdown)
		b->b_thaw_owed = false;
	if (known && (over || vmt_backup_event(sc, VMT_BACKUP_EVENT_ABORTED,
	    VMT_BACKUP_CODE_ABORTED, VMT_BACKUP_CANCELED)))
		(void)vmt_backup_event(sc, VMT_BACKUP_EVENT_DONE,
		    VMT_BACKUP_CODE_SUCCESS, "");
	vmt_backup_forget(sc);
	(void)vmt_freeze_join(sc, true);
}

/*
 * One step of the backup.  Returns the next deadline (uptime in ms).
 */
int64_t
vmt_backup_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_backup *b = &sc->sc_backup;
	int64_t next = INT64_MAX;

	if (b->b_state == VMT_BACKUP_IDLE) {
		/* The thread of an aborted backup has ended only now. */
		(void)vmt_freeze_join(sc, false);
		return INT64_MAX;
	}
	if (b->b_state == VMT_BACKUP_DONE) {
		vmt_freeze_release(sc);
		if (!vmt_freeze_expired(sc) || !b->b_freezes)
			return vmt_backup_end(sc, now,
			    VMT_BACKUP_CODE_SUCCESS, "");
		vmt_log(sc, VMT_LOG_BACKUP_LATE);
	}
	if (b->b_state == VMT_BACKUP_DONE || b->b_state == VMT_BACKUP_ABORT ||
	    (b->b_state != VMT_BACKUP_THAW && now >= b->b_limit))
		return vmt_backup_end(sc, now, VMT_BACKUP_CODE_ABORTED,
		    VMT_BACKUP_CANCELED);

	if (b->b_state == VMT_BACKUP_BEGIN)
		b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
	else if (now >= b->b_next) {
		if (!b->b_silent && !vmt_backup_event(sc,
		    VMT_BACKUP_EVENT_KEEP_ALIVE, VMT_BACKUP_CODE_SUCCESS, ""))
			return vmt_backup_quit(sc, now);
		b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
	}

	switch (b->b_state) {
	case VMT_BACKUP_BEGIN:
		if (b->b_scripts == 0) {
			next = vmt_backup_write(sc, now);
			break;
		}
		b->b_state = VMT_BACKUP_SCRIPTS;
		next = b->b_scripts_end = now + b->b_scripts;
		b->b_thaw_owed = true;
		vmt_backup_raise(sc, VMT_SWITCH_FREEZE);
		break;
	case VMT_BACKUP_SCRIPTS:
		next = vmt_backup_write(sc, now);
		break;
	case VMT_BACKUP_SYNC:
		next = vmt_backup_commit(sc, now);
		break;
	case VMT_BACKUP_WAIT:
		if (!b->b_freezes || !vmt_freeze_expired(sc))
			break;
		vmt_log(sc, VMT_LOG_BACKUP_LATE);
		return vmt_backup_end(sc, now, VMT_BACKUP_CODE_ABORTED,
		    VMT_BACKUP_CANCELED);
	case VMT_BACKUP_THAW:
		return vmt_backup_thaw(sc, now);
	default:
		break;
	}
	if (b->b_state == VMT_BACKUP_IDLE)
		return INT64_MAX;
	next = MIN(next, b->b_next);
	return b->b_state == VMT_BACKUP_THAW ? next : MIN(next, b->b_limit);
}

/* When scripts have run for freeze, start the thread that syncs. */
static int64_t
vmt_backup_write(struct vmt_softc *sc, int64_t now)
{
	struct vmt_backup *b = &sc->sc_backup;
	int answer;
	bool required;

	if (b->b_state == VMT_BACKUP_SCRIPTS) {
		answer = vmt_backup_answer(sc);
		if (answer == 0 && now < b->b_scripts_end)
			return b->b_scripts_end;
		mutex_enter(&sc->sc_lock);
		required = sc->sc_quiesce.c_require_scripts != 0;
		mutex_exit(&sc->sc_lock);
		if (answer <= 0)
			vmt_log(sc, VMT_LOG_BACKUP_SCRIPTS);
		if (answer <= 0 && required)
			return vmt_backup_end(sc, now, VMT_BACKUP_CODE_SCRIPT,
			    VMT_BACKUP_SCRIPT_FAILED);
	}
	if (b->b_file_systems)
		vmt_log(sc, b->b_freezes ?
		    VMT_LOG_BACKUP_FREEZES : VMT_LOG_BACKUP_SYNCS);
	b->b_state = VMT_BACKUP_SYNC;
	if (b->b_file_systems && !vmt_freeze_start(sc))
		return vmt_backup_end(sc, now, VMT_BACKUP_CODE_SYNC,
		    VMT_BACKUP_NOT_FROZEN);
	return b->b_next;
}

/* When everything is synced and suspended, the host may continue. */
static int64_t
vmt_backup_commit(struct vmt_softc *sc, int64_t now)
{
	struct vmt_backup *b = &sc->sc_backup;
	int error;

	if (!vmt_freeze_ready(sc, &error))
		return b->b_next;
	if (!b->b_freezes || error != 0)
		(void)vmt_freeze_join(sc, true);
	if (b->b_freezes && error != 0) {
		vmt_log(sc, VMT_LOG_BACKUP_NOT_FROZEN, b->b_directory, error);
		return vmt_backup_end(sc, now, VMT_BACKUP_CODE_SYNC,
		    VMT_BACKUP_NOT_FROZEN);
	}
	b->b_state = VMT_BACKUP_WAIT;
	b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
	if (!vmt_backup_event(sc, VMT_BACKUP_EVENT_COMMIT,
	    VMT_BACKUP_CODE_SUCCESS, ""))
		return vmt_backup_quit(sc, now);
	return b->b_next;
}

/*
 * The backup is over: resume, and report an error if there is one.  The last
 * event, which is always "done", follows when scripts have run for thaw.
 */
static int64_t
vmt_backup_end(struct vmt_softc *sc, int64_t now, u_int code,
    const char *text)
{
	struct vmt_backup *b = &sc->sc_backup;

	vmt_freeze_release(sc);
	if (code != VMT_BACKUP_CODE_SUCCESS && !vmt_backup_event(sc,
	    code == VMT_BACKUP_CODE_ABORTED ? VMT_BACKUP_EVENT_ABORTED :
	    VMT_BACKUP_EVENT_ERROR, code, text))
		return vmt_backup_quit(sc, now);
	b->b_state = VMT_BACKUP_THAW;
	b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
	b->b_scripts_end = now + b->b_scripts;
	b->b_thaw_again = now;
	return vmt_backup_thaw(sc, now);
}

/* Report the end when scripts have run for thaw, or have had their time. */
static int64_t
vmt_backup_thaw(struct vmt_softc *sc, int64_t now)
{
	struct vmt_backup *b = &sc->sc_backup;
	const bool known = !b->b_silent;

	if (b->b_thaw_owed) {
		if (now >= b->b_scripts_end)
			vmt_log(sc, VMT_LOG_BACKUP_NO_THAW);
		else if (now >= b->b_thaw_again) {
			b->b_thaw_again = now + VMT_BACKUP_THAW_AGAIN;
			vmt_backup_raise(sc, VMT_SWITCH_THAW);
		}
		if (now < b->b_scripts_end && vmt_backup_answer(sc) == 0)
			return MIN(MIN(b->b_next, b->b_thaw_again),
			    b->b_scripts_end);
	}
	vmt_backup_forget(sc);
	if (known)
		(void)vmt_backup_event(sc, VMT_BACKUP_EVENT_DONE,
		    VMT_BACKUP_CODE_SUCCESS, "");
	return INT64_MAX;
}

/* The host has forgotten the backup, but scripts must run for thaw. */
static int64_t
vmt_backup_quit(struct vmt_softc *sc, int64_t now)
{
	struct vmt_backup *b = &sc->sc_backup;

	b->b_silent = true;
	return vmt_backup_end(sc, now, VMT_BACKUP_CODE_SUCCESS, "");
}

/*
 * Report the progress to the host.  If it refuses, resume at once, before
 * writing to the log.
 */
static bool
vmt_backup_event(struct vmt_softc *sc, const char *event, u_int code,
    const char *text)
{
	int error;

	error = vmt_rpc_backup_event(sc, event, code, text);
	if (error == 0)
		return true;
	vmt_freeze_release(sc);
	vmt_log(sc, VMT_LOG_RPCI_FAILED, VMT_RPC_BACKUP_EVENT, error);
	return false;
}

/* Let powerd(8) run scripts; the number stays when the event is repeated. */
static void
vmt_backup_raise(struct vmt_softc *sc, enum vmt_switch event)
{
	struct vmt_backup *b = &sc->sc_backup;

	mutex_enter(&sc->sc_lock);
	if (b->b_event != event) {
		b->b_event = event;
		b->b_number++;
		b->b_answer = 0;
	}
	mutex_exit(&sc->sc_lock);
	vmt_raise(sc, event);
}

/* The report of powerd(8)'s script: 0 none, 1 done, -1 failed. */
static int
vmt_backup_answer(struct vmt_softc *sc)
{
	int answer;

	mutex_enter(&sc->sc_lock);
	answer = sc->sc_backup.b_answer;
	mutex_exit(&sc->sc_lock);
	return answer;
}
