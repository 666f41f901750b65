/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Quiesced snapshots: the driver syncs file systems, and suspends one.
 *
 * do_sys_sync() only starts the writes.  So each file system that is local and
 * may be written is synced with MNT_WAIT. Remote ones are omitted: they are
 * not on the disks of the snapshot, and a server that does not answer would
 * block the thread.  So are those that are suspended or being unmounted.  As
 * in fss(4), fss_create_snapshot(), mnt_updating is not held: it guards the
 * flags of a mount, which are not changed.  So MNT_ASYNC stays, and bwrite()
 * only notes the superblock of such a file system; the second sync writes it.
 *
 * Then vfs_suspend(9) lets no other thread into the file system that the
 * administrator names, and the suspending thread, which may still enter, syncs
 * it once more.  vfs_suspend() keeps one lock for all file
 * systems until vfs_resume() of the same thread, so there is one file system
 * and one thread.  That thread waits for the worker, but has its own limit,
 * after which it resumes the file system, so that a worker that hangs does not
 * block a shutdown.  The limit is short because every thread that locks a vnode
 * of the file system waits, uninterruptibly (VOP_LOCK() of vnode_if.c begins a
 * transaction): readers, writers, and lookups of a name that is not cached.
 * So does every thread that unmounts any other.
 *
 * Between vfs_suspend() and vfs_resume() the thread must not allocate, because
 * memory may come only from pages that the pagedaemon writes to the suspended
 * file system; and must not log, because syslogd(8) writes there.
 *
 * Writing everything out may take long, so a separate thread does all this
 * and the channel continues.  When the backup is aborted, the thread ends after
 * the current file system.  Detach has to wait for it, like umount(8).
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/errno.h>
#include <sys/fstrans.h>
#include <sys/kauth.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/mount.h>
#include <sys/proc.h>
#include <sys/statvfs.h>
#include <sys/systm.h>
#include <sys/vfs_syscalls.h>

#include "vmtvar.h"

#define	VMT_SUSPEND_MS	100	/* between tries to suspend */

static void	vmt_freeze_thread(void *);
static bool	vmt_freeze_canceled(struct vmt_softc *);
static struct mount *vmt_freeze_next(mount_iterator_t *, struct statvfs *);
static void	vmt_freeze_sync_all(struct vmt_softc *, struct statvfs *);
static struct mount *vmt_freeze_find(struct vmt_softc *, struct statvfs *);
static int	vmt_freeze_hold(struct vmt_softc *, struct mount *);
static int	vmt_freeze_suspend(struct vmt_softc *, struct mount *, int64_t);

/*
 * Start the thread that syncs.  It shares the processor with user processes
 * (KTHREAD_TS), because it may take long.
 */
bool
vmt_freeze_start(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;
	int error;

	KASSERT(b->b_thread == NULL);

	b->b_ready = b->b_ended = b->b_expired = b->b_canceled = false;
	b->b_error = 0;
	error = kthread_create(PRI_NONE,
	    KTHREAD_MPSAFE | KTHREAD_MUSTJOIN | KTHREAD_TS, NULL,
	    vmt_freeze_thread, sc, &b->b_thread, "%ssync",
	    device_xname(sc->sc_dev));
	if (error != 0)
		b->b_thread = NULL;
	return error == 0;
}

/*
 * Is everything synced, and suspended where required?  Returns the error in
 * *errorp.  Without a thread there is nothing to sync.
 */
bool
vmt_freeze_ready(struct vmt_softc *sc, int *errorp)
{
	struct vmt_backup *b = &sc->sc_backup;
	bool ready;

	*errorp = 0;
	if (b->b_thread == NULL)
		return true;
	mutex_enter(&sc->sc_lock);
	ready = b->b_ready || b->b_ended;
	*errorp = b->b_expired ? ETIMEDOUT : b->b_error;
	mutex_exit(&sc->sc_lock);
	return ready;
}

/* Is the thread still running? */
bool
vmt_freeze_runs(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;
	bool ended;

	if (b->b_thread == NULL)
		return false;
	mutex_enter(&sc->sc_lock);
	ended = b->b_ended;
	mutex_exit(&sc->sc_lock);
	return !ended;
}

/* Has the file system been resumed because its time limit was reached? */
bool
vmt_freeze_expired(struct vmt_softc *sc)
{
	bool expired;

	mutex_enter(&sc->sc_lock);
	expired = sc->sc_backup.b_expired;
	mutex_exit(&sc->sc_lock);
	return expired;
}

/*
 * Resume, and sync nothing more.  A suspended file system is resumed when this
 * returns; it does not wait for one that is still being synced or suspended.
 */
void
vmt_freeze_release(struct vmt_softc *sc)
{
	struct vmt_backup *b = &sc->sc_backup;
	bool ready;

	mutex_enter(&sc->sc_lock);
	b->b_canceled = true;
	ready = b->b_ready || b->b_ended;
	cv_broadcast(&sc->sc_thaw);
	mutex_exit(&sc->sc_lock);
	if (ready)
		(void)vmt_freeze_join(sc, true);
}

/* Join the thread if it has ended, or if we may wait for that. */
bool
vmt_freeze_join(struct vmt_softc *sc, bool wait)
{
	struct vmt_backup *b = &sc->sc_backup;

	if (!wait && vmt_freeze_runs(sc))
		return false;
	if (b->b_thread != NULL) {
		(void)kthread_join(b->b_thread);
		vmt_update_now(sc);
	}
	b->b_thread = NULL;
	return true;
}

static void
vmt_freeze_thread(void *arg)
{
	struct vmt_softc *sc = arg;
	struct vmt_backup *b = &sc->sc_backup;
	struct mount *mp = NULL;
	struct statvfs *sb;
	int error = 0;

	/* It is too large for a kernel stack. */
	sb = kmem_alloc(sizeof(*sb), KM_SLEEP);
	/* Twice: a file system may be in a file of an earlier one (vnd(4)). */
	vmt_freeze_sync_all(sc, sb);
	vmt_freeze_sync_all(sc, sb);
	if (b->b_freezes) {
		mp = vmt_freeze_find(sc, sb);
		error = ENOENT;
	}
	kmem_free(sb, sizeof(*sb));
	if (mp != NULL) {
		error = vmt_freeze_hold(sc, mp);
		vfs_rele(mp);
	}
	mutex_enter(&sc->sc_lock);
	b->b_error = error;
	b->b_ended = true;
	vmt_wake_worker(sc);
	mutex_exit(&sc->sc_lock);
	kthread_exit(0);
}

static bool
vmt_freeze_canceled(struct vmt_softc *sc)
{
	bool canceled;

	mutex_enter(&sc->sc_lock);
	canceled = sc->sc_backup.b_canceled;
	mutex_exit(&sc->sc_lock);
	return canceled;
}

/* The next file system that lies on a disk of this machine, for writing. */
static struct mount *
vmt_freeze_next(mount_iterator_t *iterator, struct statvfs *sb)
{
	struct mount *mp;

	while ((mp = mountlist_iterator_trynext(iterator)) != NULL) {
		/* From the kernel's memory, without a request to the disk. */
		if (dostatvfs(mp, sb, curlwp, MNT_NOWAIT, 0) == 0 &&
		    (sb->f_flag & (MNT_LOCAL | MNT_RDONLY)) == MNT_LOCAL)
			break;
	}
	return mp;
}

/* Write them out, and wait for it. */
static void
vmt_freeze_sync_all(struct vmt_softc *sc, struct statvfs *sb)
{
	mount_iterator_t *iterator;
	struct mount *mp;

	mountlist_iterator_init(&iterator);
	while ((mp = vmt_freeze_next(iterator, sb)) != NULL) {
		if (vmt_freeze_canceled(sc))
			break;
		(void)VFS_SYNC(mp, MNT_WAIT, kauth_cred_get());
	}
	mountlist_iterator_destroy(iterator);
}

/* Find what is mounted on b_directory; the caller has to vfs_rele() it. */
static struct mount *
vmt_freeze_find(struct vmt_softc *sc, struct statvfs *sb)
{
	mount_iterator_t *iterator;
	struct mount *mp;

	mountlist_iterator_init(&iterator);
	while ((mp = vmt_freeze_next(iterator, sb)) != NULL) {
		if (strcmp(sb->f_mntonname, sc->sc_backup.b_directory) == 0) {
			/* The iterator's reference ends with the iterator. */
			vfs_ref(mp);
			break;
		}
	}
	mountlist_iterator_destroy(iterator);
	return mp;
}

/* Suspend a file system until the worker ends it or the limit is over. */
static int
vmt_freeze_hold(struct vmt_softc *sc, struct mount *mp)
{
	const int64_t end = MIN(sc->sc_backup.b_limit,
	    vmt_uptime() + VMT_BACKUP_FREEZE_LIMIT * 1000);
	struct vmt_backup *b = &sc->sc_backup;
	int64_t left;
	int error;

	error = vmt_freeze_suspend(sc, mp, end);
	if (error != 0)
		return error;

	/* From here on allocate nothing and log nothing. */
	error = VFS_SYNC(mp, MNT_WAIT, kauth_cred_get());
	mutex_enter(&sc->sc_lock);
	if (error == 0) {
		b->b_ready = true;
		vmt_wake_worker(sc);
		while (!b->b_canceled && (left = end - vmt_uptime()) > 0)
			(void)cv_timedwait(&sc->sc_thaw, &sc->sc_lock,
			    howmany((int)left * hz, 1000));
		b->b_expired = !b->b_canceled;
	}
	mutex_exit(&sc->sc_lock);
	vfs_resume(mp);

	return error;
}

/*
 * umount(8) or fss(4) may hold the lock of vfs_suspend() for long, and nothing
 * can end the wait for it.  So poll.
 */
static int
vmt_freeze_suspend(struct vmt_softc *sc, struct mount *mp, int64_t end)
{
	struct vmt_backup *b = &sc->sc_backup;
	int error;

	mutex_enter(&sc->sc_lock);
	for (;;) {
		if (b->b_canceled)
			error = EINTR;
		else if (vmt_uptime() >= end)
			error = ETIMEDOUT;
		else {
			mutex_exit(&sc->sc_lock);
			error = vfs_suspend(mp, 1);
			mutex_enter(&sc->sc_lock);
		}
		if (error != EWOULDBLOCK)
			break;
		(void)cv_timedwait(&sc->sc_thaw, &sc->sc_lock,
		    howmany(VMT_SUSPEND_MS * hz, 1000));
	}
	mutex_exit(&sc->sc_lock);
	return error;
}
