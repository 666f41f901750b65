/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event counters (NetBSD sys/sys/evcnt.h). The kernel keeps the group and
 * name pointers.
 */
#ifndef _KPI_SYS_EVCNT_H_
#define _KPI_SYS_EVCNT_H_

#include <sys/types.h>
#include <sys/queue.h>

struct evcnt {
	uint64_t	ev_count;
	TAILQ_ENTRY(evcnt) ev_list;
	unsigned char	ev_type;
	unsigned char	ev_grouplen;
	unsigned char	ev_namelen;
	char		ev_pad1;
	const struct evcnt *ev_parent;
	const char	*ev_group;
	const char	*ev_name;
};

#define	EVCNT_TYPE_MISC	0
#define	EVCNT_TYPE_INTR	1
#define	EVCNT_TYPE_TRAP	2

#define	EVCNT_INITIALIZER(type, parent, group, name)			\
	{ .ev_type = type, .ev_parent = parent, .ev_group = group,	\
	    .ev_name = name }
#define	EVCNT_ATTACH_STATIC(ev)	__link_set_add_data(evcnts, ev)

void	evcnt_attach_static(struct evcnt *);
void	evcnt_attach_dynamic(struct evcnt *, int, const struct evcnt *,
	    const char *, const char *);
void	evcnt_detach(struct evcnt *);

#endif	/* !_KPI_SYS_EVCNT_H_ */
