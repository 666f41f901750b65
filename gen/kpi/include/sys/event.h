/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events of devices for kqueue(2) (NetBSD sys/sys/event.h): what a driver's
 * d_kqfilter and its filter need.
 */
#ifndef _KPI_SYS_EVENT_H_
#define _KPI_SYS_EVENT_H_

#include <sys/types.h>
#include <sys/queue.h>

#define	EVFILT_READ	0U
#define	EVFILT_WRITE	1U
#define	EVFILT_VNODE	3U

struct kevent {
	uintptr_t	ident;
	uint32_t	filter;
	uint32_t	flags;
	uint32_t	fflags;
	int64_t		data;
	void		*udata;
#if __NetBSD_Version__ >= 1099001200
	uint64_t	ext[4];
#endif
};

#define	EV_ADD		0x0001U
#define	EV_DELETE	0x0002U
#define	EV_ENABLE	0x0004U
#define	EV_DISABLE	0x0008U
#define	EV_ONESHOT	0x0010U
#define	EV_CLEAR	0x0020U
#define	EV_DISPATCH	0x0080U
#define	EV_ERROR	0x4000U
#define	EV_EOF		0x8000U

#define	NOTE_SUBMIT	0x01000000U
#define	NOTE_LOWAT	0x0001U

struct knote;
SLIST_HEAD(klist, knote);

#define	KNOTE(list, hint)						\
	do {								\
		if (!SLIST_EMPTY(list))					\
			knote(list, hint);				\
	} while (0)

struct filterops {
	int	f_flags;
	int	(*f_attach)(struct knote *);
	void	(*f_detach)(struct knote *);
	int	(*f_event)(struct knote *, long);
	int	(*f_touch)(struct knote *, struct kevent *, long);
};

#define	FILTEROP_ISFD	0x1U
#define	FILTEROP_MPSAFE	0x2U

struct kfilter;
struct kqueue;

struct knote {
	SLIST_ENTRY(knote)	kn_link;
	SLIST_ENTRY(knote)	kn_selnext;
	TAILQ_ENTRY(knote)	kn_tqe;
	struct kqueue		*kn_kq;
	struct kevent		kn_kevent;
	uint32_t		kn_status;
	uint32_t		kn_sfflags;
	uintptr_t		kn_sdata;
	void			*kn_obj;
	const struct filterops	*kn_fop;
	struct kfilter		*kn_kfilter;
	void			*kn_hook;
	int			kn_hookid;
};

#define	kn_id		kn_kevent.ident
#define	kn_filter	kn_kevent.filter
#define	kn_flags	kn_kevent.flags
#define	kn_fflags	kn_kevent.fflags
#define	kn_data		kn_kevent.data

extern const struct filterops seltrue_filtops;

void	knote(struct klist *, long);
void	knote_set_eof(struct knote *, uint32_t);
void	knote_clear_eof(struct knote *);
int	filt_seltrue(struct knote *, long);
void	klist_init(struct klist *);
void	klist_fini(struct klist *);
void	klist_insert(struct klist *, struct knote *);
bool	klist_remove(struct klist *, struct knote *);

#endif	/* !_KPI_SYS_EVENT_H_ */
