/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests to block devices (NetBSD sys/sys/buf.h).
 */
#ifndef _KPI_SYS_BUF_H_
#define _KPI_SYS_BUF_H_

#include <sys/types.h>
#include <sys/condvar.h>
#include <sys/mutex.h>
#include <sys/queue.h>

struct cpu_info;
struct proc;
struct uio;
struct vnode;

struct buf {
	union {
		struct {
			struct buf	*tqe_next;
			struct buf	**tqe_prev;
		} u_actq;
		void	*u_node[3];
	} b_u;
	void			(*b_iodone)(struct buf *);
	int			b_error;
	int			b_resid;
	u_int			b_flags;
	int			b_prio;
	int			b_bufsize;
	int			b_bcount;
	dev_t			b_dev;
	void			*b_data;
	daddr_t			b_blkno;
	daddr_t			b_rawblkno;
	struct proc		*b_proc;
	void			*b_saveaddr;
	struct cpu_info		*b_ci;
	void			*b_private;
	off_t			b_dcookie;
	kcondvar_t		b_busy;
	void			*b_unused;
	LIST_ENTRY(buf)		b_hash;
	LIST_ENTRY(buf)		b_vnbufs;
	void			*b_freelist[2];
	void			*b_wapbllist[2];
	daddr_t			b_lblkno;
	int			b_freelistindex;
	u_int			b_cflags;
	struct vnode		*b_vp;
	kcondvar_t		b_done;
	u_int			b_oflags;
	kmutex_t		*b_objlock;
};

typedef struct buf	buf_t;

#define	b_actq		b_u.u_actq

#define	B_WRITE		0x00000000
#define	B_ASYNC		0x00000004
#define	B_PHYS		0x00040000
#define	B_RAW		0x00080000
#define	B_READ		0x00100000
#define	BC_BUSY		0x00000010
#define	BO_DONE		0x00000200
#define	BO_DELWRI	0x00000080
#define	BUF_ISREAD(bp)	(((bp)->b_flags & B_READ) == B_READ)
#define	BUF_ISWRITE(bp)	(((bp)->b_flags & B_READ) == B_WRITE)
#define	BPRIO_DEFAULT	1

void	buf_init(buf_t *);
void	buf_destroy(buf_t *);
buf_t	*getiobuf(struct vnode *, bool);
void	putiobuf(buf_t *);
void	biodone(buf_t *);
int	biowait(buf_t *);
void	minphys(buf_t *);
int	physio(void (*)(buf_t *), buf_t *, dev_t, int, void (*)(buf_t *),
	    struct uio *);

#endif	/* !_KPI_SYS_BUF_H_ */
