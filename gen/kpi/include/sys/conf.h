/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Character and block devices (NetBSD sys/sys/conf.h).
 */
#ifndef _KPI_SYS_CONF_H_
#define _KPI_SYS_CONF_H_

#include <sys/types.h>
#include <sys/device_if.h>
#include <sys/mutex.h>
#include <sys/queue.h>

struct buf;
struct cfdriver;
struct knote;
struct lwp;
struct tty;
struct uio;

#define	D_OTHER		0x0000
#define	D_TAPE		0x0001
#define	D_DISK		0x0002
#define	D_TTY		0x0003
#define	D_TYPEMASK	0x00ff
#define	D_MPSAFE	0x0100

typedef int		dev_open_t(dev_t, int, int, struct lwp *);
typedef int		dev_cancel_t(dev_t, int, int, struct lwp *);
typedef int		dev_close_t(dev_t, int, int, struct lwp *);
typedef int		dev_read_t(dev_t, struct uio *, int);
typedef int		dev_write_t(dev_t, struct uio *, int);
typedef int		dev_ioctl_t(dev_t, u_long, void *, int, struct lwp *);
typedef void		dev_stop_t(struct tty *, int);
typedef struct tty	*dev_tty_t(dev_t);
typedef int		dev_poll_t(dev_t, int, struct lwp *);
typedef paddr_t		dev_mmap_t(dev_t, off_t, int);
typedef void		dev_strategy_t(struct buf *);
typedef int		dev_dump_t(dev_t, daddr_t, void *, size_t);
typedef int		dev_size_t(dev_t);
typedef int		dev_kqfilter_t(dev_t, struct knote *);
typedef int		dev_discard_t(dev_t, off_t, off_t);

#define	dev_type_open(n)	dev_open_t n
#define	dev_type_cancel(n)	dev_cancel_t n
#define	dev_type_close(n)	dev_close_t n
#define	dev_type_read(n)	dev_read_t n
#define	dev_type_write(n)	dev_write_t n
#define	dev_type_ioctl(n)	dev_ioctl_t n
#define	dev_type_stop(n)	dev_stop_t n
#define	dev_type_tty(n)		dev_tty_t n
#define	dev_type_poll(n)	dev_poll_t n
#define	dev_type_mmap(n)	dev_mmap_t n
#define	dev_type_strategy(n)	dev_strategy_t n
#define	dev_type_dump(n)	dev_dump_t n
#define	dev_type_size(n)	dev_size_t n
#define	dev_type_kqfilter(n)	dev_kqfilter_t n
#define	dev_type_discard(n)	dev_discard_t n

struct bdevsw {
	dev_open_t	*d_open;
	dev_cancel_t	*d_cancel;
	dev_close_t	*d_close;
	dev_strategy_t	*d_strategy;
	dev_ioctl_t	*d_ioctl;
	dev_dump_t	*d_dump;
	dev_size_t	*d_psize;
	dev_discard_t	*d_discard;
	int		(*d_devtounit)(dev_t);
	struct cfdriver	*d_cfdriver;
	int		d_flag;
};

struct cdevsw {
	dev_open_t	*d_open;
	dev_cancel_t	*d_cancel;
	dev_close_t	*d_close;
	dev_read_t	*d_read;
	dev_write_t	*d_write;
	dev_ioctl_t	*d_ioctl;
	dev_stop_t	*d_stop;
	dev_tty_t	*d_tty;
	dev_poll_t	*d_poll;
	dev_mmap_t	*d_mmap;
	dev_kqfilter_t	*d_kqfilter;
	dev_discard_t	*d_discard;
	int		(*d_devtounit)(dev_t);
	struct cfdriver	*d_cfdriver;
	int		d_flag;
};

int	devenodev(dev_t, ...);
int	devnullop(dev_t, ...);
void	ttyvenodev(struct tty *, ...);
void	ttyvnullop(struct tty *, ...);
paddr_t	nommap(dev_t, off_t, int);
int	seltrue(dev_t, int, struct lwp *);
int	seltrue_kqfilter(dev_t, struct knote *);

#define	noopen		((dev_open_t *)devenodev)
#define	noclose		((dev_close_t *)devenodev)
#define	noread		((dev_read_t *)devenodev)
#define	nowrite		((dev_write_t *)devenodev)
#define	noioctl		((dev_ioctl_t *)devenodev)
#define	nostop		((dev_stop_t *)ttyvenodev)
#define	notty		NULL
#define	nopoll		seltrue
#define	nokqfilter	seltrue_kqfilter
#define	nodiscard	((dev_discard_t *)devenodev)
#define	nodump		((dev_dump_t *)devenodev)
#define	nosize		NULL

#define	nullopen	((dev_open_t *)devnullop)
#define	nullclose	((dev_close_t *)devnullop)
#define	nullread	((dev_read_t *)devnullop)
#define	nullwrite	((dev_write_t *)devnullop)
#define	nullioctl	((dev_ioctl_t *)devnullop)
#define	nullstop	((dev_stop_t *)ttyvnullop)
#define	nullpoll	((dev_poll_t *)devnullop)
#define	nulldiscard	((dev_discard_t *)devnullop)
#define	nulldump	((dev_dump_t *)devnullop)

int	devsw_attach(const char *, const struct bdevsw *, devmajor_t *,
	    const struct cdevsw *, devmajor_t *);
const struct bdevsw *bdevsw_lookup(dev_t);
const struct cdevsw *cdevsw_lookup(dev_t);
devmajor_t bdevsw_lookup_major(const struct bdevsw *);
devmajor_t cdevsw_lookup_major(const struct cdevsw *);
int	bdev_size(dev_t);
void	bdev_strategy(struct buf *);
void	devsw_detach(const struct bdevsw *, const struct cdevsw *);

#endif	/* !_KPI_SYS_CONF_H_ */
