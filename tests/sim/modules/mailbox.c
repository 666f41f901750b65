/*
 * A character device that holds one message, for the next reader.  A thread
 * counts its age.  BUG plants a defect that a campaign is to find.
 */
#include <sys/param.h>
#include <sys/condvar.h>
#include <sys/conf.h>
#include <sys/errno.h>
#include <sys/ioctl.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/poll.h>
#include <sys/select.h>
#include <sys/systm.h>
#include <sys/uio.h>
#include <sys/vnode.h>

#ifndef BUG
#define	BUG	0
#endif

#define	MAILBOX_RESIZE	_IOW('m', 1, int)
#define	MAILBOX_LENGTH	_IOR('m', 2, int)
#define	MAILBOX_CLEAR	_IO('m', 3)
#define	MAILBOX_MOST	4096

MODULE(MODULE_CLASS_MISC, mailbox, NULL);

static kmutex_t lock;		/* guards all below */
static kcondvar_t changed;
static struct selinfo pollers;
static char *message;
static size_t room, length;
static int age;
static bool opened, dying;
static lwp_t *ager;

static int
mailbox_open(dev_t dev, int flag, int mode, struct lwp *l)
{
	char *greeting;
	int error = 0;

	if (minor(dev) != 0)
		return ENXIO;
	greeting = kmem_zalloc(16, KM_SLEEP);
	mutex_enter(&lock);
	if (dying)
		error = ENXIO;
	else if (opened)
		error = EBUSY;
	else
		opened = true;
	mutex_exit(&lock);
	if (BUG == 1 && error == EBUSY)
		return error;	/* keeps the greeting */
	kmem_free(greeting, 16);
	return error;
}

static int
mailbox_close(dev_t dev, int flag, int mode, struct lwp *l)
{

	mutex_enter(&lock);
	opened = false;
	mutex_exit(&lock);
	return 0;
}

static int
mailbox_read(dev_t dev, struct uio *uio, int flags)
{
	size_t size;
	int error = 0;

	mutex_enter(&lock);
	while (length == 0 && error == 0) {
		if (flags & IO_NDELAY)
			error = EWOULDBLOCK;
		else if (BUG == 2)
			cv_wait(&changed, &lock);	/* no signal ends it */
		else
			error = cv_wait_sig(&changed, &lock);
	}
	if (error == 0) {
		size = MIN(length, uio->uio_resid);
		error = uiomove(message, size, uio);
		length = 0;
	}
	if (BUG == 3 && error == EFAULT)
		return error;	/* keeps the lock */
	mutex_exit(&lock);
	return error;
}

static int
mailbox_write(dev_t dev, struct uio *uio, int flags)
{
	int error;

	mutex_enter(&lock);
	length = BUG == 4 ? uio->uio_resid : MIN(uio->uio_resid, room);
	error = uiomove(message, length, uio);
	if (error)
		length = 0;
	cv_broadcast(&changed);
	mutex_exit(&lock);
	selnotify(&pollers, POLLIN, 0);
	return error;
}

static int
mailbox_resize(int size)
{
	char *larger;

	if (size <= 0 || size > MAILBOX_MOST)
		return EINVAL;
	larger = kmem_zalloc(size, KM_NOSLEEP);
	if (BUG != 5 && larger == NULL)
		return ENOMEM;
	memcpy(larger, message, MIN((size_t)size, length));
	kmem_free(message, room);
	message = larger;
	room = size;
	length = MIN(length, room);
	return 0;
}

static int
mailbox_ioctl(dev_t dev, u_long command, void *data, int flag, struct lwp *l)
{
	int error = 0;

	if (BUG == 9 && command == MAILBOX_LENGTH) {
		*(int *)data = age;	/* without the lock */
		return 0;
	}
	mutex_enter(&lock);
	switch (command) {
	case MAILBOX_RESIZE:
		error = mailbox_resize(*(int *)data);
		break;
	case MAILBOX_LENGTH:
		*(int *)data = length;
		break;
	case MAILBOX_CLEAR:
		if (BUG == 6)
			kmem_free(message, room);	/* is used further on */
		length = 0;
		break;
	default:
		error = ENOTTY;
	}
	mutex_exit(&lock);
	return error;
}

static int
mailbox_poll(dev_t dev, int events, struct lwp *l)
{
	int revents = events & (POLLOUT | POLLWRNORM);

	mutex_enter(&lock);
	if (length > 0)
		revents |= events & (POLLIN | POLLRDNORM);
	else
		selrecord(l, &pollers);
	mutex_exit(&lock);
	return revents;
}

static const struct cdevsw mailbox_cdevsw = {
	.d_open = mailbox_open, .d_close = mailbox_close,
	.d_read = mailbox_read, .d_write = mailbox_write,
	.d_ioctl = mailbox_ioctl, .d_stop = nostop, .d_tty = notty,
	.d_poll = mailbox_poll, .d_mmap = nommap, .d_kqfilter = nokqfilter,
	.d_discard = nodiscard, .d_flag = D_OTHER | D_MPSAFE,
};

static void
mailbox_ager(void *arg)
{

	mutex_enter(&lock);
	while (!dying) {
		cv_timedwait(&changed, &lock, hz);
		age++;
	}
	mutex_exit(&lock);
	kthread_exit(0);
}

static void
mailbox_free(void)
{

	kmem_free(message, room);
	seldestroy(&pollers);
	cv_destroy(&changed);
	mutex_destroy(&lock);
}

static int
mailbox_init(void)
{
	devmajor_t block = NODEVMAJOR, character = NODEVMAJOR;
	int error;

	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&changed, "mailbox");
	selinit(&pollers);
	opened = dying = false;
	length = age = 0;
	room = 64;
	message = kmem_zalloc(room, KM_SLEEP);
	error = kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN,
	    NULL, mailbox_ager, NULL, &ager, "mailbox");
	if (error) {
		if (BUG != 7)
			mailbox_free();
		return error;
	}
	error = devsw_attach("mailbox", NULL, &block, &mailbox_cdevsw,
	    &character);
	if (error) {
		mutex_enter(&lock);
		dying = true;
		cv_broadcast(&changed);
		mutex_exit(&lock);
		kthread_join(ager);
		mailbox_free();
	}
	return error;
}

static int
mailbox_fini(void)
{

	mutex_enter(&lock);
	if (opened && BUG != 8) {
		mutex_exit(&lock);
		return EBUSY;
	}
	dying = true;
	cv_broadcast(&changed);
	mutex_exit(&lock);
	devsw_detach(NULL, &mailbox_cdevsw);
	kthread_join(ager);
	mailbox_free();
	return 0;
}

static int
mailbox_modcmd(modcmd_t cmd, void *arg)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return mailbox_init();
	case MODULE_CMD_FINI:
		return mailbox_fini();
	default:
		return ENOTTY;
	}
}
