/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linked lists (NetBSD sys/sys/queue.h): the heads and entries that other
 * structures embed, and walking them.
 */
#ifndef _KPI_SYS_QUEUE_H_
#define _KPI_SYS_QUEUE_H_

#define	SLIST_HEAD(name, type)						\
struct name {								\
	struct type *slh_first;						\
}

#define	SLIST_ENTRY(type)						\
struct {								\
	struct type *sle_next;						\
}

#define	SLIST_EMPTY(head)	((head)->slh_first == NULL)

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
#define	TAILQ_HEAD_INITIALIZER(head)	{ NULL, &(head).tqh_first }
#define	TAILQ_INIT(head) do {						\
	(head)->tqh_first = NULL;					\
	(head)->tqh_last = &(head)->tqh_first;				\
} while (0)
#define	TAILQ_EMPTY(head)	((head)->tqh_first == NULL)
#define	TAILQ_FIRST(head)	((head)->tqh_first)
#define	TAILQ_NEXT(elm, field)	((elm)->field.tqe_next)
#define	TAILQ_FOREACH(var, head, field)					\
	for ((var) = TAILQ_FIRST(head); (var) != NULL;			\
	    (var) = TAILQ_NEXT(var, field))
#define	TAILQ_INSERT_TAIL(head, elm, field) do {			\
	(elm)->field.tqe_next = NULL;					\
	(elm)->field.tqe_prev = (head)->tqh_last;			\
	*(head)->tqh_last = (elm);					\
	(head)->tqh_last = &(elm)->field.tqe_next;			\
} while (0)
#define	TAILQ_REMOVE(head, elm, field) do {				\
	if ((elm)->field.tqe_next != NULL)				\
		(elm)->field.tqe_next->field.tqe_prev =			\
		    (elm)->field.tqe_prev;				\
	else								\
		(head)->tqh_last = (elm)->field.tqe_prev;		\
	*(elm)->field.tqe_prev = (elm)->field.tqe_next;			\
} while (0)
#define	TAILQ_CONCAT(head, other, field) do {				\
	if (!TAILQ_EMPTY(other)) {					\
		*(head)->tqh_last = (other)->tqh_first;			\
		(other)->tqh_first->field.tqe_prev = (head)->tqh_last;	\
		(head)->tqh_last = (other)->tqh_last;			\
		TAILQ_INIT(other);					\
	}								\
} while (0)

#endif	/* !_KPI_SYS_QUEUE_H_ */
