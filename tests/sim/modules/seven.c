/* The shape of NetBSD's sys/modules/examples: a character device, a number for each read. */
#include <sys/param.h>
#include <sys/conf.h>
#include <sys/ioctl.h>
#include <sys/module.h>
#include <sys/systm.h>
#include <sys/uio.h>

#ifndef BUG
#define	BUG	0
#endif

MODULE(MODULE_CLASS_MISC, seven, NULL);

static int opened, last;

static int
seven_open(dev_t dev, int flag, int mode, struct lwp *l)
{

	if (opened)
		return EBUSY;
	opened = 1;
	return 0;
}

static int
seven_close(dev_t dev, int flag, int mode, struct lwp *l)
{

	opened = 0;
	return 0;
}

static int
seven_read(dev_t dev, struct uio *uio, int flags)
{
	char line[16];
	int length;

	last += 7;
	length = snprintf(line, sizeof(line), "%d\n", last);
	return uiomove(line, MIN(uio->uio_resid, (size_t)length), uio);
}

static int
seven_ioctl(dev_t dev, u_long command, void *data, int flag, struct lwp *l)
{

	if (command != _IOWR('7', 1, int))
		return ENOTTY;
	*(int *)data *= 7;
	return 0;
}

static const struct cdevsw seven_cdevsw = {
	.d_open = seven_open, .d_close = seven_close, .d_read = seven_read,
	.d_write = nowrite, .d_ioctl = seven_ioctl, .d_stop = nostop, .d_tty = notty,
	.d_poll = nopoll, .d_mmap = nommap, .d_kqfilter = nokqfilter,
	.d_discard = nodiscard, .d_flag = D_OTHER,
};

static int
seven_modcmd(modcmd_t cmd, void *arg)
{
	devmajor_t block = NODEVMAJOR, character = NODEVMAJOR;

	switch (cmd) {
	case MODULE_CMD_INIT:
		return devsw_attach("seven", NULL, &block, &seven_cdevsw, &character);
	case MODULE_CMD_FINI:
		if (opened)
			return EBUSY;
#if !BUG
		devsw_detach(NULL, &seven_cdevsw);
#endif
		return 0;
	default:
		return ENOTTY;
	}
}
