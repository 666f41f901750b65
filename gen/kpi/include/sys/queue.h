/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linked lists (NetBSD sys/sys/queue.h): the heads and entries that other
 * structures embed, and walking them.
 */
#ifndef _KPI_SYS_QUEUE_H_
#define _KPI_SYS_QUEUE_H_

#define	LIST_HEAD(name, type)						\
struct name {								\
	struct type *lh_first;						\
}
#define	LIST_ENTRY(type)						\
struct {								\
	struct type *le_next;						\
	struct type **le_prev;						\
}
#define	LIST_FIRST(head)	((head)->lh_first)
#define	LIST_NEXT(elm, field)	((elm)->field.le_next)
#define	LIST_FOREACH(var, head, field)					\
	for ((var) = LIST_FIRST(head); (var) != NULL;			\
	    (var) = LIST_NEXT(var, field))

#define	TAILQ_HEAD(name, type)						\
struct name {								\
	struct type *tqh_first;						\
	struct type **tqh_last;						\
}
#define	TAILQ_ENTRY(type)						\
struct {								\
	struct type *tqe_next;						\
	struct type **tqe_prev;						\
}

#endif	/* !_KPI_SYS_QUEUE_H_ */
