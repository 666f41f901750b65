/* A disk in memory: a block device, its raw device by physio(9), and events of writes. */
#include <sys/param.h>
#include <sys/buf.h>
#include <sys/conf.h>
#include <sys/disk.h>
#include <sys/dkio.h>
#include <sys/event.h>
#include <sys/kmem.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/select.h>
#include <sys/systm.h>

#ifndef BUG
#define	BUG	0
#endif

MODULE(MODULE_CLASS_MISC, ramdisk, NULL);

#define	BLOCKS	64

static char *content;
static kmutex_t lock;
static struct selinfo changes;
static int writes;

static void
ramdisk_strategy(struct buf *bp)
{
	char *at = content + bp->b_blkno * DEV_BSIZE;

	if (!bounds_check_with_mediasize(bp, DEV_BSIZE, BLOCKS)) {
		if (bp->b_error != 0)
			bp->b_resid = bp->b_bcount;
		if (!BUG)
			biodone(bp);
		return;
	}
	mutex_enter(&lock);
	if (BUF_ISREAD(bp))
		memcpy(bp->b_data, at, bp->b_bcount);
	else {
		memcpy(at, bp->b_data, bp->b_bcount);
		writes++;
		selnotify(&changes, 0, NOTE_SUBMIT);
	}
	mutex_exit(&lock);
	bp->b_resid = 0;
	biodone(bp);
}

static int
ramdisk_read(dev_t dev, struct uio *uio, int flag)
{

	return physio(ramdisk_strategy, NULL, dev, B_READ, minphys, uio);
}

static int
ramdisk_write(dev_t dev, struct uio *uio, int flag)
{

	return physio(ramdisk_strategy, NULL, dev, B_WRITE, minphys, uio);
}

static int
ramdisk_ioctl(dev_t dev, u_long command, void *data, int flag, struct lwp *l)
{

	if (command != DIOCGMEDIASIZE)
		return ENOTTY;
	*(off_t *)data = BLOCKS * DEV_BSIZE;
	return 0;
}

static int
ramdisk_size(dev_t dev)
{

	return BLOCKS;
}

static void
filter_detach(struct knote *kn)
{

	mutex_enter(&lock);
	selremove_knote(&changes, kn);
	mutex_exit(&lock);
}

static int
filter_event(struct knote *kn, long hint)
{

	if (hint != NOTE_SUBMIT)
		mutex_enter(&lock);
	kn->kn_data = writes;
	if (hint != NOTE_SUBMIT)
		mutex_exit(&lock);
	return kn->kn_data != 0;
}

static const struct filterops ramdisk_filter = {
	.f_flags = FILTEROP_ISFD | FILTEROP_MPSAFE, .f_attach = NULL,
	.f_detach = filter_detach, .f_event = filter_event,
};

static int
ramdisk_kqfilter(dev_t dev, struct knote *kn)
{

	if (kn->kn_filter != EVFILT_READ)
		return EINVAL;
	kn->kn_fop = &ramdisk_filter;
	mutex_enter(&lock);
	selrecord_knote(&changes, kn);
	mutex_exit(&lock);
	return 0;
}

static const struct bdevsw ramdisk_bdevsw = {
	.d_open = nullopen, .d_close = nullclose, .d_strategy = ramdisk_strategy,
	.d_ioctl = ramdisk_ioctl, .d_dump = nodump, .d_psize = ramdisk_size,
	.d_discard = nodiscard, .d_flag = D_DISK | D_MPSAFE,
};

static const struct cdevsw ramdisk_cdevsw = {
	.d_open = nullopen, .d_close = nullclose, .d_read = ramdisk_read,
	.d_write = ramdisk_write, .d_ioctl = ramdisk_ioctl, .d_stop = nostop,
	.d_tty = notty, .d_poll = nopoll, .d_mmap = nommap,
	.d_kqfilter = ramdisk_kqfilter, .d_discard = nodiscard,
	.d_flag = D_DISK | D_MPSAFE,
};

static int
ramdisk_modcmd(modcmd_t cmd, void *arg)
{
	devmajor_t block = NODEVMAJOR, character = NODEVMAJOR;
	int error;

	switch (cmd) {
	case MODULE_CMD_INIT:
		content = kmem_zalloc(BLOCKS * DEV_BSIZE, KM_SLEEP);
		mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
		selinit(&changes);
		error = devsw_attach("ramdisk", &ramdisk_bdevsw, &block,
		    &ramdisk_cdevsw, &character);
		if (error == 0)
			return 0;
		break;
	case MODULE_CMD_FINI:
		devsw_detach(&ramdisk_bdevsw, &ramdisk_cdevsw);
		error = 0;
		break;
	default:
		return ENOTTY;
	}
	seldestroy(&changes);
	mutex_destroy(&lock);
	kmem_free(content, BLOCKS * DEV_BSIZE);
	return error;
}
