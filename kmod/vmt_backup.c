/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Quiesced snapshots.
 *
 *	host				guest
 *	vmbackup.start			reset, and the answer OK
 *					(write everything out)
 *					prov.snapshotCommit
 *	(takes the snapshot)		req.keepAlive ...
 *	vmbackup.snapshotDone		req.done
 *
 * The file systems are synced but not frozen: NetBSD suspends one file
 * system at a time, and a disk that cannot be written while the worker waits
 * for the host is a way to lose the machine.  Either side may give up, and
 * so does the driver when the host does not come back in time.
 *
 * do_sys_sync() only starts the writes.  So each file system that is local and
 * may be written is synced with MNT_WAIT.  Remote ones are left out: they are
 * not on the disks of the snapshot, and a server that does not answer would
 * hold us.  What is suspended or goes away just now is left out, too.
 * As in fss(4), fss_create_snapshot(), mnt_updating is not held: it guards the
 * flags of a mount, which are not changed.  So MNT_ASYNC stays, and bwrite()
 * only notes the superblock of such a file system; the second sync writes it.
 *
 * Writing everything out may take long, so a thread of its own does it and
 * the channel goes on.  Given up, it ends with the file system that it is at.
 * Detach has to wait for that thread, like umount(8).
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/endian.h>
#include <sys/errno.h>
#include <sys/kauth.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/mount.h>
#include <sys/proc.h>
#include <sys/statvfs.h>
#include <sys/systm.h>
#include <sys/vfs_syscalls.h>

#include "vmtvar.h"

static const char *vmt_backup_begin(struct vmt_softc *, u_int, bool);
static bool	vmt_backup_event(struct vmt_softc *, const char *, bool);
static void	vmt_backup_forget(struct vmt_softc *);
static void	vmt_backup_end(struct vmt_softc *, bool);
static bool	vmt_backup_start_sync(struct vmt_softc *);
static bool	vmt_backup_join(struct vmt_softc *, bool);
static void	vmt_backup_thread(void *);
static void	vmt_backup_sync_all(struct vmt_softc *, struct statvfs *);
static void	vmt_backup_cancel_sync(struct vmt_softc *);

/* Begin with the usual limit. */
const char *
vmt_do_backup_start(struct vmt_softc *sc, const struct vmt_message *message)
{

	return vmt_backup_begin(sc, VMT_BACKUP_LIMIT, true);
}

/*
 * Begin as the XDR parameters say (guestQuiesce.x of open-vm-tools): version,
 * a flag, five booleans, the script's argument, the limit in seconds (0 for
 * the usual one), the disks.  Of the booleans the third asks for quiesced file
 * systems; the others are for a manifest, applications, writable snapshots and
 * scripts, which a kernel does not have.
 */
const char *
vmt_do_backup_start_options(struct vmt_softc *sc,
    const struct vmt_message *message)
{
	const uint8_t *p = (const uint8_t *)message->m_text;
	const size_t word = sizeof(uint32_t), length = message->m_length;
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
	return vmt_backup_begin(sc, limit != 0 ? limit : VMT_BACKUP_LIMIT,
	    be32dec(p + 4 * word) != 0);
}

/*
 * The host expects the event "reset" before the answer, as open-vm-tools sends
 * it (stateMachine.c, VmBackupStartCommon).
 */
static const char *
vmt_backup_begin(struct vmt_softc *sc, u_int limit, bool file_systems)
{
	struct vmt_backup *b = &sc->sc_backup;

	/* After a reset the host may know nothing of an earlier one. */
	if (b->b_was_reset)
		vmt_backup_forget(sc);
	/* The thread of one that was given up may still be writing. */
	if (b->b_state != VMT_BACKUP_IDLE || !vmt_backup_join(sc, false))
		return VMT_ERROR_BACKUP_BUSY;
	if (!vmt_backup_event(sc, VMT_BACKUP_EVENT_RESET, true))
		return VMT_ERROR_BACKUP_START;
	b->b_state = VMT_BACKUP_BEGIN;
	b->b_limit = vmt_uptime() + (int64_t)limit * 1000;
	b->b_file_systems = file_systems;
	return NULL;
}

/*
 * The channel was reset.  Events go by another one, so a backup goes on, as
 * with open-vm-tools: the reset may be of a channel that was lost for a moment.
 * If the host has forgotten the backup, it refuses the next event.
 */
void
vmt_backup_reset(struct vmt_softc *sc)
{

	sc->sc_backup.b_was_reset = sc->sc_backup.b_state != VMT_BACKUP_IDLE;
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

/* The host has given up. */
const char *
vmt_do_backup_abort(struct vmt_softc *sc, const struct vmt_message *message)
{
	struct vmt_backup *b = &sc->sc_backup;

	if (b->b_state == VMT_BACKUP_IDLE)
		return VMT_ERROR_BACKUP_IDLE;
	b->b_state = VMT_BACKUP_ABORT;
	return NULL;
}

/* Forget it and report nothing. */
static void
vmt_backup_forget(struct vmt_softc *sc)
{

	sc->sc_backup.b_state = VMT_BACKUP_IDLE;
	sc->sc_backup.b_was_reset = false;
	vmt_backup_cancel_sync(sc);
}

/* The driver detaches: report that, and wait for what is being written. */
void
vmt_backup_stop(struct vmt_softc *sc)
{

	if (sc->sc_backup.b_state != VMT_BACKUP_IDLE)
		vmt_backup_end(sc, false);
	(void)vmt_backup_join(sc, true);
}

/*
 * One step of the backup under way.  Returns when to come back (uptime in
 * ms).
 */
int64_t
vmt_backup_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_backup *b = &sc->sc_backup;

	switch (b->b_state) {
	case VMT_BACKUP_IDLE:
		return INT64_MAX;
	case VMT_BACKUP_BEGIN:
		if (b->b_file_systems && !vmt_backup_start_sync(sc)) {
			vmt_backup_end(sc, false);
			return INT64_MAX;
		}
		if (b->b_file_systems)
			vmt_log(sc, VMT_LOG_BACKUP_SYNCS);
		b->b_state = VMT_BACKUP_SYNC;
		b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
		break;
	case VMT_BACKUP_SYNC:
		if (!vmt_backup_join(sc, false))
			break;
		if (!vmt_backup_event(sc, VMT_BACKUP_EVENT_COMMIT, true))
			return INT64_MAX;
		b->b_state = VMT_BACKUP_WAIT;
		b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
		break;
	case VMT_BACKUP_WAIT:
		break;
	case VMT_BACKUP_DONE:
	case VMT_BACKUP_ABORT:
		vmt_backup_end(sc, b->b_state == VMT_BACKUP_DONE);
		return INT64_MAX;
	}

	if (now >= b->b_limit) {
		vmt_backup_end(sc, false);
		return INT64_MAX;
	}
	if (now >= b->b_next) {
		if (!vmt_backup_event(sc, VMT_BACKUP_EVENT_KEEP_ALIVE, true))
			return INT64_MAX;
		b->b_next = now + VMT_BACKUP_KEEP_ALIVE;
	}
	return MIN(b->b_next, b->b_limit);
}

/*
 * Let a thread write everything out.  It shares the processor with user
 * processes (KTHREAD_TS), because it may take long.
 */
static bool
vmt_backup_start_sync(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;
	int error;

	b->b_synced = b->b_canceled = false;
	error = kthread_create(PRI_NONE,
	    KTHREAD_MPSAFE | KTHREAD_MUSTJOIN | KTHREAD_TS, NULL,
	    vmt_backup_thread, sc, &b->b_thread, "%ssync",
	    device_xname(sc->sc_dev));
	if (error != 0)
		b->b_thread = NULL;
	return error == 0;
}

static void
vmt_backup_thread(void *arg)
{
	struct vmt_softc *sc = arg;
	struct statvfs *sb;

	/* It does not fit a kernel stack. */
	sb = kmem_alloc(sizeof(*sb), KM_SLEEP);
	/* Twice: a file system may lie in a file of an earlier one (vnd(4)). */
	vmt_backup_sync_all(sc, sb);
	vmt_backup_sync_all(sc, sb);
	kmem_free(sb, sizeof(*sb));
	mutex_enter(&sc->sc_lock);
	sc->sc_backup.b_synced = true;
	vmt_wake_worker(sc);
	mutex_exit(&sc->sc_lock);
	kthread_exit(0);
}

/* Write out what lies on disks of this machine, and wait for it. */
static void
vmt_backup_sync_all(struct vmt_softc *sc, struct statvfs *sb)
{
	mount_iterator_t *iterator;
	struct mount *mp;
	bool canceled;

	mountlist_iterator_init(&iterator);
	while ((mp = mountlist_iterator_trynext(iterator)) != NULL) {
		mutex_enter(&sc->sc_lock);
		canceled = sc->sc_backup.b_canceled;
		mutex_exit(&sc->sc_lock);
		if (canceled)
			break;
		/* What the kernel remembers: nothing is asked of the disk. */
		if (dostatvfs(mp, sb, curlwp, MNT_NOWAIT, 0) != 0 ||
		    (sb->f_flag & (MNT_LOCAL | MNT_RDONLY)) != MNT_LOCAL)
			continue;
		(void)VFS_SYNC(mp, MNT_WAIT, kauth_cred_get());
	}
	mountlist_iterator_destroy(iterator);
}

/* Nothing waits for the rest of what is being written. */
static void
vmt_backup_cancel_sync(struct vmt_softc *sc)
{

	mutex_enter(&sc->sc_lock);
	sc->sc_backup.b_canceled = true;
	mutex_exit(&sc->sc_lock);
}

/*
 * Is everything written?  If so, or if we may wait, join the thread.  Without
 * a thread there is nothing to write.
 */
static bool
vmt_backup_join(struct vmt_softc *sc, bool wait)
{
	struct vmt_backup *b = &sc->sc_backup;
	bool synced;

	if (b->b_thread == NULL)
		return true;
	mutex_enter(&sc->sc_lock);
	synced = b->b_synced;
	mutex_exit(&sc->sc_lock);
	if (!synced && !wait)
		return false;
	(void)kthread_join(b->b_thread);
	b->b_thread = NULL;
	return true;
}

/* Report to the host how far we are.  If it refuses, forget the backup. */
static bool
vmt_backup_event(struct vmt_softc *sc, const char *event, bool good)
{
	int error;

	error = vmt_rpc_backup_event(sc, event,
	    good ? VMT_BACKUP_CODE_SUCCESS : VMT_BACKUP_CODE_ABORTED,
	    good ? "" : VMT_BACKUP_CANCELED);
	if (error == 0)
		return true;
	vmt_log(sc, VMT_LOG_RPCI_FAILED, VMT_RPC_BACKUP_EVENT, error);
	vmt_backup_forget(sc);
	return false;
}

/* Report the end, good or bad. */
static void
vmt_backup_end(struct vmt_softc *sc, bool good)
{

	vmt_backup_forget(sc);
	if (good || vmt_backup_event(sc, VMT_BACKUP_EVENT_ABORTED, false))
		(void)vmt_backup_event(sc, VMT_BACKUP_EVENT_DONE, true);
}
